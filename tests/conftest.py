"""Servers that the tests run against, each on a free loopback port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaBroker
from deploy.local.mqtt import MqttBroker
from deploy.local.postgres import PostgresServer

_SERVERS = frozenset(
    {"kafka", "fresh_kafka", "own_kafka", "postgres", "own_postgres", "mqtt_broker", "spark", "system"}
)
"""Fixtures that start a server."""
_SHARED = {"own_kafka": "own servers", "own_postgres": "own servers"}
"""Fixtures that are shared by several modules, which one worker has to run."""
_FOLDERS = {"lakehouse": "spark", "e2e": "demo", "bluez": "guest", "link": "link"}
"""Folders whose tests share an expensive fixture; each is one group for the workers, the longest first."""
_TESTS = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start servers; group tests that share fixtures, so that one worker runs them."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & _SERVERS or _folder(item) in _FOLDERS:
            item.add_marker(pytest.mark.servers)
        item.add_marker(pytest.mark.xdist_group(_group(item, fixtures)))
    longest_first = list(_FOLDERS)
    items.sort(key=lambda item: longest_first.index(f) if (f := _folder(item)) in _FOLDERS else len(_FOLDERS))


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(_TESTS).parts[0]


def _group(item: pytest.Item, fixtures: set[str]) -> str:
    shared = next((group for name, group in _SHARED.items() if name in fixtures), None)
    return shared or _FOLDERS.get(_folder(item)) or str(item.path.relative_to(_TESTS))


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
