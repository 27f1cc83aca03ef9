"""The processes of the demo, and how each is started, in the order of the data flow."""

from __future__ import annotations

import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from cloud_ingest.postgres.migrations import migrate
from cloud_ingest.privacy.pseudonyms import make_key
from cloud_ingest.settings import Settings
from deploy.local.grafana import Grafana
from deploy.local.kafka import KafkaBroker
from deploy.local.mqtt import MqttBroker
from deploy.local.ports import LOOPBACK, choose_port, is_listening
from deploy.local.postgres import Dsn, PostgresServer
from deploy.local.process import START_LIMIT_S, Service
from deploy.local.stage_counts import StageSources

BLE_BRACELETS = 3
MQTT_BRACELETS = 2
DATABASE = "kidjamo-db"
RESTART_AFTER_S = 20
"""How long an exited service stays down: long enough to observe the effect."""

_GATEWAY_TOML = """\
gateway_id = "gw-demo"
data_dir = "{data_dir}"
accept_unknown_mqtt = true
history_hours = 8760

[api]
url = "{api_url}"

[mqtt]
host = "{host}"
port = {mqtt_port}

[ble]
radio = "bumble:tcp-client:{host}:{hci_port}"

[page]
port = {page_port}
"""
_BRACELET_TOML = """
[[bracelet]]
device_id = "{device_id}"
patient_id = "{patient_id}"
"""
_GENOTYPES = ("ss", "as", "sc")


class Server(Protocol):
    """A third-party server."""

    service: Service

    def start(self) -> None:
        """Start, and wait until clients can connect."""

    def stop(self) -> None:
        """Stop the server."""


class Stack:
    """All processes of the demo; each is a `Service` with its own name.

    Args:
        root: directory of all state; a restart continues with it.
        lake: directory of the Delta tables.
        period_s: seconds between two readings of one bracelet.
    """

    def __init__(self, root: Path, lake: Path, period_s: float = 1.0) -> None:
        self.root, self.lake, self.period_s = root.resolve(), lake.resolve(), period_s
        self.ledger = self.root / "ledger.jsonl"
        self.gateway_dir = self.root / "gateway"
        self.pseudonym_key = Path(os.environ.get("PSEUDONYM_KEY_FILE") or self.root / "pseudonym.key")
        self.api_port = choose_port(int(os.environ.get("API_PORT", "8001")))
        self.hci_port = choose_port(9544)
        self.page_port = choose_port(8080)
        self.kafka = KafkaBroker(self.root / "kafka", choose_port(9092))
        self.postgres = PostgresServer(self.root / "postgres", choose_port(5432))
        self.mqtt = MqttBroker(self.root / "mqtt", choose_port(1883))
        self.grafana = Grafana(self.root / "grafana", choose_port(3000))
        self.services: dict[str, Service] = {}
        self._ended_at: dict[str, float] = {}
        self._started = ExitStack()

    @property
    def api_url(self) -> str:
        """Base URL of the ingestion API."""
        return f"http://{LOOPBACK}:{self.api_port}"

    @property
    def dsn(self) -> Dsn:
        """The demo's database; exists once `start` has returned."""
        return self.postgres.dsn(DATABASE)

    def start(self, report: Callable[[str], None]) -> None:
        """Start all processes, servers first and bracelets last.

        Args:
            report: called with progress messages.

        Raises:
            ServiceError: a process did not start.
        """
        report(f"starting Kafka, PostgreSQL and the MQTT broker ({self.mqtt.kind})")
        servers: dict[str, Server] = {"kafka": self.kafka, "postgresql": self.postgres, "mqtt": self.mqtt}
        # Open until the stack stops: Linux stops a service when the thread that started it exits.
        pool = self._started.enter_context(ThreadPoolExecutor(len(servers)))
        for name, server in servers.items():
            self.services[name] = server.service
            self._started.callback(server.stop)
        list(pool.map(lambda server: server.start(), servers.values()))
        migrate(Settings.from_environment(self.postgres.database(DATABASE).env()))
        if "PSEUDONYM_KEY_FILE" not in os.environ:
            make_key(self.pseudonym_key)

        report("starting the ingestion API, the recorder, the alarms and the lake")
        environment = self._environment()
        self._run("lake", environment, "kidjamo-lake", "run")
        self._run("recorder", environment, "kidjamo-ingest", "recorder")
        self._run("alarms", environment, "kidjamo-ingest", "alarms")
        api = self._run("api", environment, "kidjamo-ingest", "serve")
        api.wait_until(lambda: self.serves(self.api_url), START_LIMIT_S)

        report("starting the bracelets and the gateway")
        bracelets = self._run("bracelets", environment, "kidjamo-sim", "bracelets", *self._bracelet_options())
        bracelets.wait_until(lambda: is_listening(self.hci_port), START_LIMIT_S)
        self._run(
            "gateway", environment, "kidjamo-gateway", "run", "--config", str(self._write_gateway_config())
        )
        if self.grafana.installed:
            report("starting Grafana")
            self._started.callback(self.grafana.stop)
            self.services["grafana"] = self.grafana.start(
                self.postgres.login("grafana", "kidjamo_reader", DATABASE)
            )

    def restart_ended(self) -> list[str]:
        """Restart services that exited at least `RESTART_AFTER_S` ago; return their names.

        The bracelets are not restarted: their memory is lost.
        """
        now = time.monotonic()
        ended = {n for n, service in self.services.items() if n != "bracelets" and not service.running}
        self._ended_at = {name: self._ended_at.get(name, now) for name in ended}
        due = [name for name, since in self._ended_at.items() if now - since >= RESTART_AFTER_S]
        for name in due:
            self.services[name].start()
        return due

    def stop_measuring(self, timeout_s: float = 60) -> None:
        """Stop measuring; the bracelets keep running until all their readings are acknowledged."""
        self.services["bracelets"].signal(signal.SIGTERM)
        self.services["bracelets"].wait(timeout_s)

    def stage_sources(self) -> StageSources:
        """Return where each stage's readings are counted."""
        return StageSources(
            self.ledger, self.gateway_dir / "outbox.sqlite3", self.kafka.bootstrap, self.lake, self.dsn
        )

    def stop(self) -> None:
        """Stop all processes in reverse order."""
        self._started.close()

    @staticmethod
    def serves(url: str) -> bool:
        """Return whether an API responds at this address."""
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:  # refused, timed out, or an HTTP error: URLError is one
            return False

    def _run(self, name: str, environment: Mapping[str, str], command: str, *arguments: str) -> Service:
        service = Service(
            name, [program(command), *arguments], log=self.root / "logs" / f"{name}.log", env=environment
        )
        self.services[name] = service
        self._started.callback(service.stop)
        service.start()
        return service

    def _environment(self) -> dict[str, str]:
        return {
            "API_HOST": LOOPBACK,
            "API_PORT": str(self.api_port),
            "API_PORT_AUTOFALLBACK": "0",
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap,
            "DATA_LAKE_PATH": str(self.lake),
            "SPOOL_PATH": str(self.root / "spool"),
            "PSEUDONYM_KEY_FILE": str(self.pseudonym_key),
            **self.dsn.env(),
        }

    def _bracelet_options(self) -> list[str]:
        return [
            "--ble", str(BLE_BRACELETS), "--mqtt", str(MQTT_BRACELETS), "--period", str(self.period_s),
            "--hci", f"tcp-server:{LOOPBACK}:{self.hci_port}",
            "--mqtt-broker", f"{LOOPBACK}:{self.mqtt.port}",
            "--ledger", str(self.ledger), "--drain-seconds", "40",
        ]  # fmt: skip

    def _write_gateway_config(self) -> Path:
        self.gateway_dir.mkdir(parents=True, exist_ok=True)
        path = self.gateway_dir / "gateway.toml"
        head = _GATEWAY_TOML.format(
            data_dir=self.gateway_dir,
            api_url=self.api_url,
            host=LOOPBACK,
            mqtt_port=self.mqtt.port,
            hci_port=self.hci_port,
            page_port=self.page_port,
        )
        path.write_text(
            head + "".join(_BRACELET_TOML.format(**assigned) for assigned in assigned_bracelets())
        )
        return path


def assigned_bracelets() -> list[dict[str, str]]:
    """Return the made-up children and the bracelets they wear."""
    devices = [f"ble-{n:03d}" for n in range(1, BLE_BRACELETS + 1)]
    devices += [f"mqtt-{n:03d}" for n in range(1, MQTT_BRACELETS + 1)]
    return [
        {"device_id": device, "patient_id": f"patient-{n:03d}-{_GENOTYPES[(n - 1) % len(_GENOTYPES)]}"}
        for n, device in enumerate(devices, start=1)
    ]


def program(name: str) -> str:
    """Return the path of an installed command of this project."""
    return str(Path(sys.executable).with_name(name))
