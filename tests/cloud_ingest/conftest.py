"""Kafka and PostgreSQL servers that tests may stop; a migrated database for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg2.extensions import connection

from cloud_ingest.postgres.migrations import migrate
from cloud_ingest.settings import Settings
from deploy.local.kafka import KafkaBroker
from deploy.local.postgres import Dsn, PostgresServer
from tests.cloud_ingest.running import NOWHERE, RunningApi, environment, register
from tests.cloud_ingest.secured_api import SecuredApi


@pytest.fixture(scope="package")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker that tests may stop and start; each test leaves it running."""
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="package")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A database server that tests may stop and start; each test leaves it running."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def dsn(postgres: PostgresServer, request: pytest.FixtureRequest) -> Dsn:
    """A migrated database for one test."""
    dsn = postgres.database(request.node.name[:60])
    migrate(Settings.from_environment(dsn.env()))
    return dsn


@pytest.fixture
def database(dsn: Dsn) -> Iterator[connection]:
    """A connection to the database of the test."""
    connected = dsn.connect()
    yield connected
    connected.close()


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[SecuredApi]:
    """An API with authentication on, without Kafka."""
    variables = environment(tmp_path, NOWHERE, API_AUTH="on")
    secret = register(variables, "gw-1", "bracelet-001", "bracelet-002")
    with RunningApi(variables) as api:
        yield SecuredApi(api, secret, variables)
