"""An API with a real Kafka for each module."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from deploy.local.kafka import KafkaBroker
from tests.cloud_ingest.running import RunningApi, environment
from tests.cloud_ingest.samples import reading
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def api(kafka: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    directory = tmp_path_factory.mktemp("api")
    with RunningApi(environment(directory, kafka.bootstrap)) as running:
        assert wait_until(lambda: running.component("kafka") == {"status": "up"})
        running.post(reading(device_id="first-of-all"))  # the first producer of a new broker takes longer
        assert wait_until(lambda: running.http.get("/health").json()["status"] == "healthy")
        yield running


@pytest.fixture
def device() -> str:
    return f"bracelet-{uuid4().hex[:12]}"
