"""The API over HTTP, on a thread of this process or in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from signal import SIGTERM
from typing import Any

import httpx
import uvicorn

from cloud_ingest.access.permissions import GATEWAY_SCOPES, Scope
from cloud_ingest.access.registry import Registry
from cloud_ingest.api.app import create_app
from cloud_ingest.api.http_protocol import BoundedHttpProtocol
from cloud_ingest.api.server import listen, url_of
from cloud_ingest.settings import Settings
from tests.waiting import PATIENCE_S, wait_until

NOWHERE = "127.0.0.1:1"
"""An address without a Kafka."""


def environment(directory: Path, bootstrap: str, **more: str) -> dict[str, str]:
    """Return settings that store everything inside a directory."""
    key = directory / "pseudonym.key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_text("1:" + bytes(range(32)).hex() + "\n")
    return {
        "API_PORT": "0",
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "SPOOL_PATH": str(directory / "spool"),
        "METRICS_CSV": str(directory / "metrics.csv"),
        "PSEUDONYM_KEY_FILE": str(key),
        "API_GATEWAYS_FILE": str(directory / "gateways.json"),
        "API_KEYS_DIR": str(directory / "token-keys"),
        "API_AUDIT_FILE": str(directory / "audit.jsonl"),
        **more,
    }


def register(
    variables: dict[str, str],
    gateway_id: str,
    *devices: str,
    scopes: frozenset[Scope] = GATEWAY_SCOPES,
) -> str:
    """Register a gateway and return its secret; no devices means all devices."""
    registry = Registry.open(Path(variables["API_GATEWAYS_FILE"]))
    return registry.add(gateway_id, scopes, frozenset(devices) or None)[1]


class RunningApi:
    """An API on a thread of this process."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.settings = Settings.from_environment(variables)
        self.app = create_app(self.settings)
        listener = listen(self.settings)
        config = uvicorn.Config(
            self.app,
            http=BoundedHttpProtocol,
            log_config=None,
            access_log=False,
            lifespan="on",
            proxy_headers=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._thread.start()
        self.http = httpx.Client(base_url=url_of(self.settings, listener), timeout=PATIENCE_S)
        wait_until(lambda: self._server.started or not self._thread.is_alive())

    def __enter__(self) -> RunningApi:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)

    def post(self, document: Any, path: str = "/iot/measurements") -> httpx.Response:
        return self.http.post(path, json=document)

    def component(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = self.http.get("/health").json()["components"][name]
        return state


class ServedApi:
    """The command `kidjamo-ingest serve` as a process."""

    def __init__(self, variables: dict[str, str], directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cloud_ingest.cli", "serve"],
            env={**os.environ, **variables},
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=(directory / "api.log").open("a"),
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.url = line.split()[-1] if line else ""
        self.http = httpx.Client(base_url=self.url or "http://unknown", timeout=PATIENCE_S)

    def __enter__(self) -> ServedApi:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def stop(self) -> int:
        self.process.send_signal(SIGTERM)
        return self.process.wait(PATIENCE_S)
