"""The recorder's lag with a real Kafka."""

from __future__ import annotations

from kafka import KafkaProducer
from psycopg2.extensions import connection

from cloud_ingest.kafka.admin import admin_client, create_topics
from cloud_ingest.recorder.status import RecorderView
from cloud_ingest.settings import Settings
from deploy.local.kafka import KafkaBroker
from deploy.local.postgres import Dsn
from tests.waiting import wait_until
from vitals.topics import MEASUREMENTS


def test_lag_is_known_soon_after_a_restart_of_the_broker(
    fresh_kafka: KafkaBroker, dsn: Dsn, database: connection
) -> None:
    create_topics(admin_client(fresh_kafka.bootstrap), 10)
    producer = KafkaProducer(bootstrap_servers=fresh_kafka.bootstrap, acks="all")
    for _ in range(3):
        producer.send(MEASUREMENTS, b"{}", partition=0).get(10)
    producer.close()
    with database, database.cursor() as cursor:
        cursor.execute("INSERT INTO recorder_offsets VALUES (%s, 0, 1)", (MEASUREMENTS,))
    view = RecorderView(
        Settings.from_environment({"KAFKA_BOOTSTRAP_SERVERS": fresh_kafka.bootstrap, **dsn.env()})
    )
    assert wait_until(lambda: view()["lag"] == 2)
    fresh_kafka.stop()
    assert view()["lag"] is None
    fresh_kafka.start()
    assert wait_until(lambda: view()["lag"] == 2)
