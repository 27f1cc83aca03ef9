"""Servers of these tests' own, which they stop and freeze; a database brought up to date for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg2.extensions import connection

from cloud_ingest.postgres.migrations import migrate
from cloud_ingest.settings import Settings
from deploy.local.kafka import KafkaBroker
from deploy.local.postgres import Dsn, PostgresServer


@pytest.fixture(scope="package")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker to stop, freeze and start; each test leaves it running."""
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="package")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A database server to stop and start; each test leaves it running."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def dsn(postgres: PostgresServer, request: pytest.FixtureRequest) -> Dsn:
    """A database of the test's own, up to date."""
    made = postgres.database(request.node.name[:60])
    migrate(Settings.from_environment(made.env()))
    return made


@pytest.fixture
def database(dsn: Dsn) -> Iterator[connection]:
    """A connection to it."""
    made = dsn.connect()
    yield made
    made.close()
