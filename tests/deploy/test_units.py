"""The systemd units, checked by systemd itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
PROGRAMS = ("/opt/kidjamo/bin/kidjamo-gateway", "/opt/kidjamo-ingest/bin/kidjamo-ingest", "/usr/bin/bt-agent")
INSTANCES = [f"kidjamo-ingest@{name}.service" for name in ("serve", "recorder", "alarms")]
SERVICES = ["kidjamo-gateway.service", "kidjamo-erase.service", *INSTANCES]
MOST_EXPOSED = "20"
"""Out of 100; `systemd-analyze security` rates this as OK and an unhardened service as 96."""

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")


def analyze(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], cwd=directory, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Copy the units, with their programs replaced by one that exists on every machine."""
    for unit in UNITS.iterdir():
        text = unit.read_text()
        for program in PROGRAMS:
            text = text.replace(f"ExecStart={program}", "ExecStart=/bin/true")
        (tmp_path / unit.name).write_text(text)
    for instance in INSTANCES:
        shutil.copy(tmp_path / "kidjamo-ingest@.service", tmp_path / instance)
    return tmp_path


@pytest.mark.parametrize(
    "unit", [*SERVICES, "kidjamo-erase.timer", "kidjamo-pairing-agent.service"], ids=lambda unit: unit
)
def test_unit_is_valid(installed: Path, unit: str) -> None:
    checked = analyze("verify", "--man=no", f"./{unit}", directory=installed)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES)
def test_service_is_hardened(installed: Path, unit: str) -> None:
    checked = analyze("security", "--offline=yes", f"--threshold={MOST_EXPOSED}", unit, directory=installed)
    assert checked.returncode == 0, checked.stdout[-300:]
