"""The API against its OpenAPI document, by schemathesis with all its checks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloud_ingest.postgres.migrations import migrate
from cloud_ingest.settings import Settings
from deploy.local.postgres import PostgresServer
from tests.cloud_ingest.running import NOWHERE, RunningApi, environment

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[3]


def test_api_conforms_to_its_openapi_document(own_postgres: PostgresServer, tmp_path: Path) -> None:
    variables = environment(tmp_path, NOWHERE, **own_postgres.database("openapi").env())
    migrate(Settings.from_environment(variables))
    with RunningApi(variables) as api:
        arguments = ["run", f"{api.http.base_url}/openapi.json", "--checks", "all", "--seed", "1"]
        bounds = ["--max-examples", "40", "--max-time", "35", "--generation-database", "none", "--no-color"]
        done = subprocess.run(
            [str(Path(sys.executable).with_name("schemathesis")), *arguments, *bounds],
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.cloud_ingest.schemathesis_hooks",
                "PYTHONPATH": str(ROOT),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=150,
        )
        assert done.returncode == 0, "\n".join(line[:300] for line in done.stdout.splitlines())
        assert api.http.get("/reconciliation").json()["balanced"] is True
