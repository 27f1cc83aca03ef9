"""Accounting of the API: balanced while nothing is lost, and a difference for each lost record."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cloud_ingest.delivery.accounting import DeliveryAccounting
from cloud_ingest.delivery.delivery import Delivery
from cloud_ingest.delivery.spool import Spool, SpoolState
from cloud_ingest.errors import NotDurable
from cloud_ingest.kafka.producer import Publisher, Ticket
from cloud_ingest.kafka.record import Record
from deploy.local.kafka import KafkaBroker
from deploy.local.postgres import Dsn, PostgresServer
from tests.cloud_ingest.running import NOWHERE, RunningApi, environment
from tests.cloud_ingest.samples import CRISIS, reading
from tests.waiting import wait_until

RECORDS = [Record("kidjamo-iot-measurements", b"p", b'{"message_id": "lossy"}') for _ in range(5)]
NEVER, ALWAYS = float("inf"), 0.0


def reconciliation(api: RunningApi) -> dict[str, Any]:
    answer = api.http.get("/reconciliation")
    assert answer.status_code == 200
    report: dict[str, Any] = answer.json()
    return report


def gauge(api: RunningApi) -> str:
    text = api.http.get("/metrics", headers={"Accept": "text/plain"}).text
    name = "kidjamo_ingest_reconciliation_difference "
    return next(line.removeprefix(name) for line in text.splitlines() if line.startswith(name))


@pytest.mark.parametrize(
    ("acknowledged", "pending", "in_flight", "difference"),
    [(7, 3, 0, 0), (6, 3, 0, 1), (6, 3, 2, 1), (8, 3, 1, 0), (8, 3, 0, -1), (10, 3, 1, -2)],
)
def test_balance_reports_missing_and_surplus_records(
    acknowledged: int, pending: int, in_flight: int, difference: int
) -> None:
    accounting = DeliveryAccounting(opening=2, accepted=8, in_flight=in_flight)
    assert accounting.balance(acknowledged, SpoolState(pending)).difference == difference


def test_balance_ignores_records_refused_before_the_start() -> None:
    accounting = DeliveryAccounting(opening_refused=4, accepted=3)
    assert accounting.balance(2, SpoolState(pending=0, refused=5)).difference == 0


def test_balanced_while_kafka_is_unavailable_and_after_a_restart(
    own_kafka: KafkaBroker, tmp_path: Path
) -> None:
    with RunningApi(environment(tmp_path, NOWHERE)) as api:
        for _ in range(3):
            assert api.post(reading(CRISIS)).status_code == 200
        away = reconciliation(api)
        assert (away["opening"], away["accepted"], away["spooled"], away["pending"]) == (0, 12, 12, 12)
        assert (away["produced"], away["difference"], away["balanced"]) == (0, 0, True)
        assert away["recorder"] == {"status": "not_configured"}
        assert gauge(api) == "0.0"
    with RunningApi(environment(tmp_path, own_kafka.bootstrap)) as api:
        assert wait_until(lambda: bool(reconciliation(api)["pending"] == 0))
        assert api.post(reading()).json()["stored"] == ["kafka"]
        back = reconciliation(api)
    assert (back["opening"], back["accepted"], back["produced"], back["replayed"]) == (12, 1, 13, 12)
    assert (back["in_flight"], back["difference"], back["balanced"]) == (0, 0, True)


def test_record_deleted_from_the_spool_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "spool" / "spool.sqlite3"
    with RunningApi(environment(tmp_path, NOWHERE)) as api:
        for _ in range(4):
            api.post(reading())
        delete_one(file)
        assert (
            reconciliation(api)["pending"],
            reconciliation(api)["difference"],
            reconciliation(api)["balanced"],
        ) == (3, 1, False)
        assert gauge(api) == "1.0"
    delete_one(file)
    with RunningApi(environment(tmp_path, NOWHERE)) as api:
        report = reconciliation(api)
        assert (report["opening"], report["pending"], report["difference"]) == (4, 2, 2)
    with RunningApi(environment(tmp_path, NOWHERE)) as api:
        assert (reconciliation(api)["opening"], reconciliation(api)["difference"]) == (2, 0)


def delete_one(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("DELETE FROM records WHERE id = (SELECT min(id) FROM records)")


def test_not_balanced_with_a_spool_set_aside(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "spool.sqlite3").write_bytes(b"no database at all" * 500)
    with RunningApi(environment(tmp_path, NOWHERE)) as api:
        report = reconciliation(api)
    assert (report["spools_set_aside"], report["difference"], report["balanced"]) == (1, 0, False)


def test_api_role_can_read_the_recorders_counters(postgres: PostgresServer, dsn: Dsn, tmp_path: Path) -> None:
    login = postgres.login(f"api_{uuid4().hex[:8]}", "kidjamo_api", dsn.dbname)
    with RunningApi(environment(tmp_path, NOWHERE, **login.env())) as api:
        report = reconciliation(api)
    assert (report["recorder"]["status"], report["recorder"]["consumed"]) == ("known", 0)
    assert report["balanced"] is True


def test_balanced_is_unknown_where_the_recorder_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "spool" / "spool.sqlite3"
    with RunningApi(environment(tmp_path, NOWHERE, PGHOST="127.0.0.1", PGPORT="1")) as api:
        api.post(reading())
        report = reconciliation(api)
        assert (report["recorder"]["status"], report["difference"], report["balanced"]) == (
            "unknown",
            0,
            None,
        )
        delete_one(file)
        assert reconciliation(api)["balanced"] is False


class LossyPublisher(Publisher):
    """A publisher that reports every record as acknowledged, and sends all but the first."""

    def send(self, records: Sequence[Record]) -> Ticket:
        super().send(records[1:])
        ticket = Ticket(len(records))
        for index in range(len(records)):
            ticket.settle(index, None)
        return ticket


async def test_record_dropped_by_the_publisher_is_reported(own_kafka: KafkaBroker, tmp_path: Path) -> None:
    spool, publisher = Spool(tmp_path, 2**20), LossyPublisher(own_kafka.bootstrap)
    delivery = Delivery(publisher, spool, lambda: ALWAYS)
    assert await delivery.deliver(RECORDS) == ["kafka"] * 5
    await asyncio.to_thread(publisher.close)
    assert delivery.balance().difference == 1
    spool.close()


async def test_record_of_a_request_answered_503_is_not_missing(tmp_path: Path) -> None:
    spool, publisher = Spool(tmp_path, 2**20), Publisher(NOWHERE)
    delivery = Delivery(publisher, spool, lambda: ALWAYS)
    giant = Record("kidjamo-iot-measurements", b"p", b"x" * 2**21)
    with pytest.raises(NotDurable):
        await delivery.deliver([giant])
    away = Delivery(publisher, spool, lambda: NEVER)
    with pytest.raises(NotDurable):
        await away.deliver([giant])
    assert (delivery.balance().difference, away.balance().difference) == (0, 0)
    assert (delivery.accounting.in_flight, away.accounting.in_flight) == (0, 0)
    await asyncio.to_thread(publisher.close)
    spool.close()
