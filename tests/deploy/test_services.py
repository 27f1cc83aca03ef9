"""The servers used by the demo and the tests: they start, keep their data, and stop."""

from __future__ import annotations

import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from kafka import KafkaConsumer, KafkaProducer
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local.kafka import KafkaBroker
from deploy.local.mqtt import MqttBroker
from deploy.local.ports import is_listening
from deploy.local.postgres import PostgresServer
from deploy.local.process import Service, ServiceError
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.servers


def test_kafka_killed_keeps_what_it_acknowledged(fresh_kafka: KafkaBroker) -> None:
    producer = KafkaProducer(bootstrap_servers=fresh_kafka.bootstrap, acks="all")
    producer.send("kept", b"value").get(timeout=PATIENCE_S)
    producer.close()
    fresh_kafka.kill()
    assert not is_listening(fresh_kafka.port)
    fresh_kafka.start()
    consumer = KafkaConsumer(
        "kept",
        bootstrap_servers=fresh_kafka.bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=20_000,
    )
    assert next(consumer).value == b"value"
    consumer.close()


def test_postgres_restarted_keeps_rows_and_refuses_a_wrong_password(postgres: PostgresServer) -> None:
    dsn = postgres.database("kept")
    with dsn.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT 7 AS seven")
    connection.close()
    postgres.stop()
    postgres.start()
    with postgres.database("kept").connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT seven FROM kept")
        assert cursor.fetchone() == (7,)
    connection.close()
    stranger = type(dsn)(dsn.host, dsn.port, dsn.user, "guess", dsn.dbname)
    with pytest.raises(Exception, match="password authentication failed"):
        stranger.connect()


def test_mqtt_broker_keeps_retained_messages(mqtt_broker: MqttBroker) -> None:
    received: list[bytes] = []
    sender = mqtt.Client(CallbackAPIVersion.VERSION2)
    sender.connect(mqtt_broker.host, mqtt_broker.port)
    sender.loop_start()
    sender.publish("test/retained", b"still here", qos=1, retain=True).wait_for_publish(PATIENCE_S)
    reader = mqtt.Client(CallbackAPIVersion.VERSION2)
    reader.on_message = lambda _client, _data, message: received.append(bytes(message.payload))
    reader.connect(mqtt_broker.host, mqtt_broker.port)
    reader.subscribe("test/retained", qos=1)
    for _ in range(100):
        reader.loop(0.1)
        if received:
            break
    sender.loop_stop()
    assert received == [b"still here"]


def test_service_that_exits_at_once_reports_its_log(tmp_path: Path) -> None:
    service = Service("thing", ["sh", "-c", "echo no such disk; exit 3"], log=tmp_path / "thing.log")
    service.start()
    with pytest.raises(ServiceError, match=r"thing exited with code 3:\nno such disk"):
        service.wait_until(lambda: False, 10)


def test_service_stop_also_stops_its_children(tmp_path: Path) -> None:
    service = Service("parent", ["sh", "-c", "sleep 1000 & echo $!; wait"], log=tmp_path / "parent.log")
    service.start()
    service.wait_until(lambda: bool(service.tail().strip()), PATIENCE_S)
    child = int(service.tail())
    service.stop()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()
