"""A Raspberry Pi installs the gateway from wheels, without compiling."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
_RASPBERRY_PI_OS = "aarch64-manylinux_2_36"
"""Raspberry Pi OS 12, 64 bit, has glibc 2.36."""


def resolve(requirements: list[str], python: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    platform = ["--python-platform", _RASPBERRY_PI_OS, "--python-version", python]
    return subprocess.run(
        [*command, *platform, "--only-binary", ":all:", *requirements],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_edge_resolves_to_wheels_for_aarch64(python: str) -> None:
    resolved = resolve(["pyproject.toml", "--extra", "edge", "-c", "constraints.txt"], python)
    assert resolved.returncode == 0, resolved.stderr
    names = {line.partition("==")[0] for line in resolved.stdout.splitlines()}
    assert {"bleak", "dbus-fast", "pydantic-core", "starlette"} <= names


def test_package_without_wheels_is_detected(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("systemd-python==235\n")
    refused = resolve([str(tmp_path / "in.txt")], "3.13")
    assert refused.returncode != 0
    assert "systemd-python" in refused.stderr
