"""A denied topic, a dead partition, a slow Kafka and a full disk do not affect other records."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked as re-exported
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from cloud_ingest.delivery.delivery import Delivery
from cloud_ingest.delivery.spool import Spool
from cloud_ingest.kafka.admin import admin_client, create_topics
from cloud_ingest.kafka.producer import Publisher, Ticket
from cloud_ingest.kafka.record import Record
from deploy.local.kafka import KafkaBroker
from tests.cloud_ingest.running import NOWHERE, RunningApi, environment
from tests.cloud_ingest.samples import CRISIS, reading
from tests.cloud_ingest.topic_reader import read_topic
from tests.edge_gateway.small_disk import a_small_disk
from tests.waiting import wait_until
from vitals.topics import ERRORS, MEASUREMENTS

NEVER, ALWAYS = float("inf"), 0.0


class AclBroker(KafkaBroker):
    """A broker with access control lists, which can deny writes to a topic."""

    def deny(self, topic: str) -> None:
        rule = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*")
        denied = AclBinding(*rule, AclOperation.WRITE, AclPermissionType.DENY)
        allowed = AclBinding(*rule, AclOperation.ALL, AclPermissionType.ALLOW)
        client = admin_client(self.bootstrap)
        for done in client.create_acls([denied, allowed]).values():
            done.result(10)

    def allow(self, topic: str) -> None:
        rule = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*")
        denied = AclBindingFilter(*rule, AclOperation.WRITE, AclPermissionType.DENY)
        client = admin_client(self.bootstrap)
        for done in client.delete_acls([denied]).values():
            done.result(10)

    def _properties(self) -> str:
        return super()._properties() + (
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
            "allow.everyone.if.no.acl.found=true\n"
        )


@pytest.fixture
def acl_broker(tmp_path: Path) -> Iterator[AclBroker]:
    broker = AclBroker(tmp_path / "kafka")
    broker.start()
    create_topics(admin_client(broker.bootstrap), 10)
    yield broker
    broker.stop()


def test_denied_topic_does_not_block_the_others(acl_broker: AclBroker, tmp_path: Path) -> None:
    malformed = {"readings": [{"device_id": f"d{number % 7}"} for number in range(510)]}
    with RunningApi(environment(tmp_path, NOWHERE)) as api:
        assert api.post(malformed).json()["rejected"] == 510
        assert set(api.post(reading(CRISIS)).json()["stored"]) == {"spool"}
    acl_broker.deny(ERRORS)
    with RunningApi(environment(tmp_path, acl_broker.bootstrap)) as api:
        assert wait_until(lambda: api.component("spool")["pending"] == 510)
        assert len(read_topic(acl_broker.bootstrap, MEASUREMENTS)) == 1
        assert api.component("kafka")["status"] == "down"
        mixed = api.post({"readings": [reading(CRISIS), {"device_id": "d0"}]}).json()
        assert (mixed["accepted"], mixed["rejected"]) == (1, 1)
        assert api.component("spool")["pending"] == 511
        assert len(read_topic(acl_broker.bootstrap, MEASUREMENTS)) == 2
        acl_broker.allow(ERRORS)
        assert wait_until(lambda: api.component("spool")["pending"] == 0)
        assert wait_until(lambda: api.component("kafka")["status"] == "up")
        reconciliation = api.http.get("/reconciliation").json()
    assert (reconciliation["difference"], reconciliation["in_flight"], reconciliation["refused"]) == (0, 0, 0)
    assert len(read_topic(acl_broker.bootstrap, ERRORS)) == 511


class FakePublisher(Publisher):
    """A publisher without a broker: some keys are never acknowledged, the others after a delay.

    Attributes:
        dead: keys whose records are never acknowledged.
        delay: seconds until records are acknowledged.
        sent: all records sent, in order.
    """

    def __init__(self, *dead: bytes, delay: float = 0) -> None:
        super().__init__(NOWHERE)
        self.dead, self.delay = set(dead), delay
        self.sent: list[Record] = []

    def send(self, records: Sequence[Record]) -> Ticket:
        ticket, loop = Ticket(len(records)), asyncio.get_running_loop()
        self.sent += records
        for index, record in enumerate(records):
            if record.key in self.dead:
                loop.call_later(3, ticket.settle, index, KafkaError(KafkaError._MSG_TIMED_OUT))
            else:
                loop.call_later(self.delay, self._acknowledge, ticket, index)
        return ticket

    def _acknowledge(self, ticket: Ticket, index: int) -> None:
        self.acknowledged += 1
        ticket.settle(index, None)


def record(key: bytes, number: int = 0) -> Record:
    return Record(MEASUREMENTS, key, b'{"message_id": "%d"}' % number)


async def test_dead_partition_blocks_its_own_records_only(tmp_path: Path) -> None:
    spool, kafka, silence = Spool(tmp_path, 2**20), FakePublisher(b"dead"), NEVER
    delivery = Delivery(kafka, spool, lambda: silence)
    await delivery.deliver([record(b"dead", number) for number in range(1200)])
    await delivery.deliver([record(b"well", 1)])
    silence = ALWAYS
    run = asyncio.create_task(delivery.run())
    assert await asyncio.to_thread(wait_until, lambda: spool.state.pending == 1200)
    assert await delivery.deliver([record(b"dead", 1200), record(b"well", 2)]) == ["spool", "kafka"]
    assert len(kafka.sent) == 502  # the first batch, the record of the other key, and the new one
    kafka.dead.clear()
    assert await asyncio.to_thread(wait_until, lambda: spool.state.pending == 0)
    in_order = [record(b"dead", number) for number in range(1201)]
    assert [each for each in kafka.sent if each.key == b"dead"][-1201:] == in_order
    assert await delivery.deliver([record(b"dead")]) == ["kafka"]
    assert (delivery.balance().difference, delivery.accounting.in_flight) == (0, 0)
    run.cancel()
    kafka.close()
    spool.close()


class SlowSpool(Spool):
    """A spool that returns 0.3 s after the records are on disk."""

    async def append(self, records: Sequence[Record]) -> list[int]:
        ids = await super().append(records)
        await asyncio.sleep(0.3)
        return ids


async def test_record_is_not_replayed_before_its_first_attempt_is_settled(tmp_path: Path) -> None:
    spool, kafka = SlowSpool(tmp_path, 2**20), FakePublisher(delay=1)
    delivery = Delivery(kafka, spool, lambda: ALWAYS)
    run = asyncio.create_task(delivery.run())
    assert await delivery.deliver([record(b"p")]) == ["spool"]
    assert await asyncio.to_thread(wait_until, lambda: spool.state.pending == 0)
    await delivery.close()
    assert (len(kafka.sent), delivery.balance().difference, delivery.accounting.in_flight) == (1, 0, 0)
    run.cancel()
    kafka.close()
    spool.close()


async def test_full_disk_causes_no_duplicates(own_kafka: KafkaBroker, tmp_path: Path) -> None:
    create_topics(admin_client(own_kafka.bootstrap), 10)
    kafka, silence = Publisher(own_kafka.bootstrap), NEVER
    with a_small_disk(tmp_path / "disk") as disk, closing(Spool(disk.path / "spool", 2**20)) as spool:
        delivery = Delivery(kafka, spool, lambda: silence)
        await delivery.deliver([record(b"%d" % number, number) for number in range(1200)])
        disk.fill()
        silence = ALWAYS
        run = asyncio.create_task(delivery.run())
        assert await asyncio.to_thread(wait_until, lambda: kafka.acknowledged >= 1200)
        await asyncio.sleep(2)
        assert (kafka.acknowledged, spool.state.pending) == (1200, 1200)
        assert (delivery.balance().difference, delivery.accounting.resent) == (0, 1200)
        assert await delivery.deliver([record(b"1")]) == ["kafka"]
        disk.free()
        assert await asyncio.to_thread(
            wait_until, lambda: spool.state.pending == 0 and delivery.accounting.in_flight == 0
        )
        assert (kafka.acknowledged, delivery.balance().difference, delivery.accounting.resent) == (1201, 0, 0)
        run.cancel()
    await asyncio.to_thread(kafka.close)
