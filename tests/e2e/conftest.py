"""The whole system, shared by all end-to-end tests, and the report they write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.ports import LOOPBACK, free_port
from deploy.local.process import Service
from deploy.local.stack import Stack, program
from deploy.local.stage_counts import StageSources
from tests.e2e.report import Check, write
from tests.house.glucose import python_path
from tests.jvm import QUICK_JVM
from tests.waiting import PATIENCE_S

REPORTS = Path(__file__).parents[2] / "evidence" / "test_reports"
_checks: dict[str, Check] = {}
_mode = "full"


@dataclass(frozen=True, slots=True)
class SystemUnderTest:
    """The system that the integration checks run against.

    Attributes:
        api_url: base URL of the API.
        stack: all processes; None in API-only mode.
    """

    api_url: str
    stack: Stack | None

    def whole(self) -> Stack:
        """Return all processes; skip the test in API-only mode."""
        if self.stack is None:
            pytest.skip("API-only mode: no Kafka and no PostgreSQL on this machine")
        return self.stack

    def stage_sources(self) -> StageSources:
        """Return where each stage's readings are counted."""
        return self.whole().stage_sources()


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemUnderTest]:
    """Run the demo's stack in a separate directory, or the API alone if Kafka cannot run.

    Every process of the stack knows a fifth vital, so that all these tests also show that a vital is data.
    The database is migrated by a process that does not know it.

    The API runs alone with INTEGRATION_MODE=api-only or without Java: readings stay in its durable spool.
    """
    root = tmp_path_factory.mktemp("stack")
    if os.environ.get("INTEGRATION_MODE") == "api-only" or shutil.which("java") is None:
        yield from _api_only(root)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", python_path(tmp_path_factory.mktemp("startup")))
        for name, value in QUICK_JVM.items():
            patch.setenv(name, value)
        stack = Stack(root / "data", root / "data_lake", period_s=0.5)
        try:
            stack.start(print)
            yield SystemUnderTest(stack.api_url, stack)
        finally:
            stack.stop()


def _api_only(root: Path) -> Iterator[SystemUnderTest]:
    global _mode
    _mode = "api-only"
    port = free_port()
    environment = {
        "API_PORT": str(port),
        "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{free_port()}",
        "SPOOL_PATH": str(root / "spool"),
        "METRICS_CSV": str(root / "metrics.csv"),
    }
    command = [program("kidjamo-ingest"), "serve"]
    with Service("API", command, log=root / "api.log", env=environment, directory=root) as api:
        url = f"http://{LOOPBACK}:{port}"
        api.wait_until(lambda: Stack.serves(url), PATIENCE_S)
        yield SystemUnderTest(url, None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record the result of each integration check."""
    report = yield
    marker = item.get_closest_marker("integration_check")
    if marker and (report.when == "call" or report.outcome != "passed"):
        _checks[marker.args[0]] = Check(
            marker.args[0], report.outcome, round(report.duration, 3), _reason(report)
        )
    return report


def _reason(report: pytest.TestReport) -> str:
    """Return why a check failed or was skipped, in one line; empty if it passed."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return "" if report.passed else str(report.longrepr).strip().splitlines()[-1]


def pytest_sessionfinish() -> None:
    """Write the report of this run."""
    if _checks:
        write(REPORTS, _mode, list(_checks.values()))
