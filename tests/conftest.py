"""Servers that the tests run against, each on a free loopback port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaBroker
from deploy.local.mqtt import MqttBroker
from deploy.local.postgres import PostgresServer


@pytest.fixture(autouse=True)
def _separate_bonds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own Bluetooth bonds."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """Start a broker shared by the whole run: use your own keys."""
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def fresh_kafka(tmp_path: Path) -> Iterator[KafkaBroker]:
    """Start an empty broker for one test, which may stop and start it."""
    broker = KafkaBroker(tmp_path / "kafka")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Start a database server shared by the whole run: create your own database."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mqtt_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MqttBroker]:
    """Start an MQTT broker shared by the whole run: use your own device id."""
    broker = MqttBroker(tmp_path_factory.mktemp("mqtt"))
    broker.start()
    yield broker
    broker.stop()
