"""An alarms process that cannot record ends: it never continues without a record."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from uuid import UUID

import pytest

from cloud_ingest.alarms.background import RecordingFailed
from cloud_ingest.alarms.coverage import GatewaySilence
from cloud_ingest.alarms.silence_publisher import SilencePublisher
from cloud_ingest.kafka.producer import Publisher
from tests.cloud_ingest.running import NOWHERE, environment

SILENCE = GatewaySilence("gw-1", UUID(int=1), ())
_PROCESS = """
import sys
from cloud_ingest.alarms.repository import AlarmRepository, PersistedAlarms
from cloud_ingest.alarms.coordinator import AlarmCoordinator
from cloud_ingest.alarms.coverage import GatewaySilence
from cloud_ingest.alarms.silence_publisher import SilencePublisher
from cloud_ingest.cli import main

def fail(*_):
    raise RuntimeError("a bug")

async def broken(*_):
    raise RuntimeError("a bug")

AlarmRepository.load = lambda self: PersistedAlarms()
AlarmRepository.names = lambda self: {}
AlarmRepository.write = lambda self, transaction: []
{fault}
sys.exit(main(["alarms"]))
"""
_FAULTS = {
    "persist alarms": "AlarmRepository.write = fail",
    "publish gateway silences": (
        "AlarmCoordinator.unrecorded_silences = lambda self, now: [GatewaySilence('gw-1', None, ())]\n"
        "SilencePublisher._publish = broken"
    ),
}


class BrokenPublisher:
    """A publisher with a bug."""

    def send(self, _records: object) -> None:
        raise RuntimeError("a bug")


@pytest.mark.parametrize("task", _FAULTS)
def test_process_ends_with_an_error_when_a_recording_task_fails(task: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROCESS.replace("{fault}", _FAULTS[task])],
        env={**os.environ, **environment(tmp_path, NOWHERE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert f"{task} failed, the alarms process ends" in ended.stderr
    assert f"kidjamo-ingest: {task} failed: " in ended.stderr


async def test_unexpected_error_while_publishing_is_raised() -> None:
    silences = SilencePublisher(cast(Publisher, BrokenPublisher()))
    silences.start([SILENCE], datetime.now(UTC))
    assert silences.is_busy
    await asyncio.sleep(0)
    with pytest.raises(RecordingFailed, match="publish gateway silences failed: RuntimeError: a bug"):
        silences.take_published()
