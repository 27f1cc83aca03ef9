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
    {"kafka", "fresh_kafka", "own_kafka", "postgres", "own_postgres", "mqtt_broker", "spark", "system"}
)
"""Fixtures that start a server."""
_FOLDERS = ("lakehouse", "e2e", "bluez", "link")
"""Folders whose tests share a server or run many processes: each on one worker, the longest first."""
_TESTS = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Undo in workers what execnet does there: ignore SIGINT. Processes started by tests would inherit it."""
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start servers, and move the longest groups to the front."""
    for item in items:
        if _SERVERS & set(getattr(item, "fixturenames", ())) or _folder(item) in _FOLDERS:
            item.add_marker(pytest.mark.servers)
    items.sort(key=lambda item: _FOLDERS.index(f) if (f := _folder(item)) in _FOLDERS else len(_FOLDERS))


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(_TESTS).parts[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Give each worker whole files, or whole folders where the tests share a server."""
    return _FileOrFolderScheduling(config, log)


class _FileOrFolderScheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist is untyped
    """`--dist loadgroup` would do the same, but xdist 3.8 does not find its groups under pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        folder = path.removeprefix("tests/").partition("/")[0]
        return folder if folder in _FOLDERS else path


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
