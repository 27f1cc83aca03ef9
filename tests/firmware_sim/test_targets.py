"""The targets against the real services."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import httpx
import pytest

from deploy.local.kafka import KafkaBroker
from deploy.local.mqtt import MqttBroker
from deploy.local.ports import free_port
from firmware_sim.errors import TargetRefused, TargetUnavailable
from firmware_sim.feed import readings
from firmware_sim.targets import ApiTarget, CombinedTarget, KafkaTarget, MqttTarget
from firmware_sim.timeline import milliseconds
from tests.cloud_ingest.running import NOWHERE, RunningApi, environment, register
from tests.cloud_ingest.topic_reader import TopicMessage, read_topic
from tests.firmware_sim.air import until
from tests.firmware_sim.mqtt.test_bracelet import subscriber
from vitals import topics
from vitals.pseudonym import Pseudonymiser
from vitals.reading import Reading

KEY = Pseudonymiser({1: bytes(range(32))})


def some(count: int, boot: int) -> list[Reading]:
    """Return readings of this minute."""
    return list(islice(readings(3, 7, boot, milliseconds(datetime.now(UTC)) - 60_000, 0.1), count))


def identities(sent: Sequence[Reading]) -> set[str]:
    return {str(reading.message_id) for reading in sent}


def published(kafka: KafkaBroker, topic: str, sent: Sequence[Reading]) -> list[TopicMessage]:
    """Return the messages of a topic that belong to these readings."""
    wanted = identities(sent)
    return [seen for seen in read_topic(kafka.bootstrap, topic) if seen.value["message_id"] in wanted]


async def test_api_target_delivers_and_repeats_safely(tmp_path: Path) -> None:
    with RunningApi(environment(tmp_path, NOWHERE)) as api:
        target = ApiTarget(str(api.http.base_url))
        sent = some(60, 1)
        await target.send(sent)
        await target.send(sent)
        await target.close()
        assert api.http.get("/metrics").json()["processed_messages"] >= 60


async def test_api_target_unreachable_is_unavailable() -> None:
    target = ApiTarget(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TargetUnavailable, match="API at"):
        await target.send(some(1, 2))
    await target.close()


async def test_api_target_fetches_a_token_with_the_right_secret_only(tmp_path: Path) -> None:
    variables = environment(tmp_path, NOWHERE, API_AUTH="on")
    secret = register(variables, "simulator")
    with RunningApi(variables) as api:
        url = str(api.http.base_url)
        right, wrong = ApiTarget(url, ("simulator", secret)), ApiTarget(url, ("simulator", "wrong"))
        await right.send(some(1, 3))
        right._client.auth._token = "expired"  # type: ignore[union-attr]
        await right.send(some(1, 3))
        assert api.app.state.services.ingest.metrics.accepted == 2
        for refused in (wrong, ApiTarget(url)):
            with pytest.raises(TargetRefused, match="401"):
                await refused.send(some(1, 3))
            await refused.close()
        await right.close()


async def test_api_target_503_is_unavailable() -> None:
    target = ApiTarget("http://api.test")
    target._client = httpx.AsyncClient(
        base_url="http://api.test", transport=httpx.MockTransport(lambda _: httpx.Response(503))
    )
    with pytest.raises(TargetUnavailable, match="503"):
        await target.send(some(1, 4))


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, TargetUnavailable), (429, TargetUnavailable), (401, TargetRefused), (200, TargetRefused)],
)
async def test_api_target_without_token_is_unavailable_or_refused_by_status(
    status: int, error: type[Exception]
) -> None:
    target = ApiTarget("http://api.test", ("simulator", "secret"))
    target._client = httpx.AsyncClient(
        base_url="http://api.test",
        auth=target._client.auth,
        transport=httpx.MockTransport(lambda _: httpx.Response(status)),
    )
    with pytest.raises(error, match=r"API at .*: no token"):
        await target.send(some(1, 4))


async def test_kafka_target_publishes_like_the_api(kafka: KafkaBroker) -> None:
    target = KafkaTarget(kafka.bootstrap, KEY)
    sent = some(180, 5)
    await target.send(sent)
    found = published(kafka, topics.MEASUREMENTS, sent)
    assert len(found) == 180
    assert all(seen.key == seen.value["patient_id"] for seen in found)
    assert all(seen.value["patient_id"].startswith("p1_") for seen in found)
    assert found[0].value.keys() >= {"ingestion_timestamp", "api_version", "invalid_fields", "quality_score"}
    assert "patient-00" not in json.dumps([seen.value for seen in found])
    alerts = published(kafka, topics.ALERTS, sent)
    assert alerts
    assert all(alert.value["patient_id"].startswith("p1_") for alert in alerts)


async def test_kafka_target_unreachable_is_unavailable() -> None:
    target = KafkaTarget(f"127.0.0.1:{free_port()}", KEY, timeout_s=0.5)
    with pytest.raises(TargetUnavailable, match="Kafka at"):
        await target.send(some(1, 6))


async def test_combined_api_and_kafka_get_the_same_readings(kafka: KafkaBroker, tmp_path: Path) -> None:
    with RunningApi(environment(tmp_path, kafka.bootstrap)) as api:
        combined = CombinedTarget([ApiTarget(str(api.http.base_url)), KafkaTarget(kafka.bootstrap, KEY)])
        sent = some(30, 8)
        await combined.send(sent)
        await combined.close()
    found = [seen.value["message_id"] for seen in published(kafka, topics.MEASUREMENTS, sent)]
    assert set(found) == identities(sent)
    assert len(found) == 60


async def test_mqtt_target_waits_for_acknowledgements(mqtt_broker: MqttBroker) -> None:
    with subscriber(mqtt_broker.port, "kidjamo/bracelets/+/measurements") as received:
        await until(lambda: received.subscribed)
        target = MqttTarget("127.0.0.1", mqtt_broker.port)
        sent = some(200, 9)
        await target.send(sent)
        await target.close()
        await until(lambda: len(received.messages) == 200)
    assert {json.loads(payload)["message_id"] for _, payload in received.messages} == identities(sent)
