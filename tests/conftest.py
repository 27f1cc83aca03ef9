"""Servers that the tests run against, each on a free loopback port."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from deploy.local.kafka import KafkaBroker
from deploy.local.mqtt import MqttBroker
from deploy.local.postgres import PostgresServer

_SERVERS = frozenset(
    {
        "kafka",
        "fresh_kafka",
        "own_kafka",
        "postgres",
        "own_postgres",
        "mqtt_broker",
        "spark",
        "system",
    }
)
"""Fixtures that start a server."""
_SERVER_FOLDERS = ("bluez/", "e2e/", "link/")
"""Folders in which every test starts several processes."""
_HEAVY = ("lakehouse/", *_SERVER_FOLDERS)
"""Tests that keep a processor busy (Spark, the whole stack, an emulated machine): one worker runs all."""
_TESTS = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Undo in workers what execnet does there: ignore SIGINT. Processes started by tests would inherit it."""
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before `-m` selects by the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start servers, and move the heavy ones to the front."""
    for item in items:
        starts_server = _SERVERS & set(getattr(item, "fixturenames", ()))
        if starts_server or _path(item).startswith(_SERVER_FOLDERS):
            item.add_marker(pytest.mark.servers)
    items.sort(key=_rank)


def _path(item: pytest.Item) -> str:
    return str(item.path.relative_to(_TESTS))


def _rank(item: pytest.Item) -> int:
    path = _path(item)
    return next((rank for rank, folder in enumerate(_HEAVY) if path.startswith(folder)), len(_HEAVY))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Give each worker whole files, and one worker all heavy tests."""
    return _HeavyTestsOnOneWorker(config, log)


class _HeavyTestsOnOneWorker(LoadScopeScheduling):  # type: ignore[misc] # xdist is untyped
    """`--dist loadgroup` would do the same, but xdist 3.8 does not find its groups under pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0].removeprefix("tests/")
        return "heavy" if path.startswith(_HEAVY) else path


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
