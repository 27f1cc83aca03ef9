"""Grafana with our provisioning, if a Grafana server is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.local.ports import LOOPBACK, is_listening
from deploy.local.postgres import Dsn
from deploy.local.process import START_LIMIT_S, Service

PROVISIONING = Path(__file__).parents[1] / "grafana" / "provisioning"
DASHBOARDS = Path(__file__).parents[2] / "dashboards" / "generated"
INSTALL_HINT = "not installed: see grafana.com/grafana/download, then restart the demo"


class Grafana:
    """A Grafana server on loopback, viewable without a login.

    Args:
        directory: its database, configuration and log.
        port: loopback port.
    """

    def __init__(self, directory: Path, port: int) -> None:
        self.directory, self.port = directory, port
        self._home = Path("/usr/share/grafana")
        self._program = shutil.which(
            "grafana", path="/usr/sbin:/usr/bin:/usr/local/bin:/usr/share/grafana/bin"
        )

    @property
    def installed(self) -> bool:
        """Whether a Grafana server is installed."""
        return self._program is not None

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{LOOPBACK}:{self.port}"

    def start(self, dsn: Dsn) -> Service:
        """Start with our data source and dashboards.

        Args:
            dsn: the database that the panels read.

        Raises:
            ServiceError: it did not start.
        """
        environment = {
            "GF_SERVER_HTTP_ADDR": LOOPBACK,
            "GF_SERVER_HTTP_PORT": str(self.port),
            "GF_PATHS_DATA": str(self.directory / "data"),
            "GF_PATHS_LOGS": str(self.directory / "logs"),
            "GF_PATHS_PROVISIONING": str(PROVISIONING),
            "GF_AUTH_ANONYMOUS_ENABLED": "true",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "PGSSLMODE": "disable",
            "KIDJAMO_DASHBOARDS": str(DASHBOARDS),
            **dsn.env(),
        }
        self._service = Service(
            "Grafana",
            [str(self._program), "server", "--homepath", str(self._home)],
            log=self.directory / "grafana.log",
            env=environment,
        )
        self._service.start()
        self._service.wait_until(lambda: is_listening(self.port), START_LIMIT_S)
        return self._service

    def stop(self) -> None:
        """Stop the server."""
        self._service.stop()
