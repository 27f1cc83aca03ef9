"""An MQTT broker on loopback: mosquitto if it is installed, else amqtt."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from deploy.local.ports import LOOPBACK, free_port, is_listening
from deploy.local.process import START_LIMIT_S, Service


class MqttBroker:
    """One broker; retained messages and sessions survive a restart with mosquitto.

    Args:
        directory: configuration, persistence and log.
        port: loopback port; by default any free one.
    """

    host = LOOPBACK

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory, self.port = directory, port or free_port()
        mosquitto = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        self.kind = "mosquitto" if mosquitto else "amqtt"
        self._config = directory / f"{self.kind}.conf"
        command = (
            [mosquitto, "-c", str(self._config)]
            if mosquitto
            else [sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(self._config)]
        )
        self.service = Service("MQTT broker", command, log=directory / "mqtt.log")

    def start(self) -> None:
        """Start, and wait until clients can connect.

        Raises:
            ServiceError: it did not start.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._config.write_text(self._mosquitto() if self.kind == "mosquitto" else self._amqtt())
        self.service.start()
        self.service.wait_until(lambda: is_listening(self.port), START_LIMIT_S)

    def stop(self) -> None:
        """Stop the broker."""
        self.service.stop()

    def kill(self) -> None:
        """Kill the process, like a power cut."""
        self.service.kill()

    def _mosquitto(self) -> str:
        settings = [
            f"listener {self.port} {LOOPBACK}",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {self.directory.resolve()}/",
            "max_queued_messages 0",
            "log_type error",
            "log_type warning",
        ]
        if account := _account_if_root():
            settings.append(f"user {account}")
        return "\n".join(settings) + "\n"

    def _amqtt(self) -> str:
        return (
            f"listeners:\n  default:\n    type: tcp\n    bind: {LOOPBACK}:{self.port}\n"
            "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
        )


def _account_if_root() -> str | None:
    """Return the account to run as: by default mosquitto drops root for one that cannot write here."""
    return "root" if os.geteuid() == 0 else None
