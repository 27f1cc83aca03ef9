"""The systemd units, as systemd itself reads them."""

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
"""Of 100: what `systemd-analyze security` calls OK; it gives an unhardened service 96."""

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd's own checker")


def analyze(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], cwd=directory, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, their programs where a machine without them has some program at least."""
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
def test_systemd_understands_every_line(installed: Path, unit: str) -> None:
    checked = analyze("verify", "--man=no", f"./{unit}", directory=installed)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES)
def test_services_may_do_little_beyond_their_work(installed: Path, unit: str) -> None:
    checked = analyze("security", "--offline=yes", f"--threshold={MOST_EXPOSED}", unit, directory=installed)
    assert checked.returncode == 0, checked.stdout[-300:]
