"""After a restart the last hours are restored, and restored readings raise no alarm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from edge_gateway.alarms import history_restore
from edge_gateway.alarms.history_restore import restore_history
from edge_gateway.alarms.monitor import AlarmMonitor
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import NewReading
from tests.edge_gateway.commands.test_bracelets import a_gateway
from tests.edge_gateway.commands.test_operations import a_config
from tests.waiting import eventually
from vitals.reading import Measurements, Reading

PATIENT = "patient-001-ss"


def measured(ago: timedelta, **values: float) -> Reading:
    return Reading(
        patient_id=PATIENT,
        device_id="mqtt-001",
        timestamp=datetime.now(UTC) - ago,
        measurements=Measurements(**values),
        message_id=uuid4(),
    )


def keep(outbox: Outbox, *readings: Reading) -> None:
    rows = [NewReading(each.message_id or uuid4(), "mqtt-001", each.model_dump_json()) for each in readings]
    outbox.append(rows).result()


def a_monitor(outbox: Outbox) -> AlarmMonitor:
    return AlarmMonitor("gw", {PATIENT: "Awa"}, {"mqtt-001": PATIENT}, outbox, lambda _monitor, _now: ())


async def test_last_hours_are_restored_and_raise_no_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_restore, "_PAGE_SIZE", 7)
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        keep(outbox, *(measured(timedelta(minutes=180 - number), spo2_pct=97.0) for number in range(30)))
        keep(outbox, measured(timedelta(minutes=20), spo2_pct=80.0, freq_card=90.0))
        keep(outbox, measured(timedelta(minutes=10), spo2_pct=95.0))
        pending = await outbox.peek_live(0, 100)
        await outbox.settle([entry.id for entry in pending[:15]], [])  # delivered readings are restored, too
        monitor = a_monitor(outbox)
        await monitor.load()
        notifications: list[object] = []
        monitor.listeners.append(notifications.append)
        await restore_history(monitor, outbox)
    child = monitor.children[PATIENT]
    assert len(child.trends["spo2_pct"].minutes) == 32
    assert child.trends["spo2_pct"].range(datetime.now(UTC)) == (80.0, 97.0)
    assert (child.values["spo2_pct"].number, child.values["freq_card"].number) == (95.0, 90.0)
    age = datetime.now(UTC) - child.values["spo2_pct"].measured
    assert timedelta(minutes=10) <= age < timedelta(minutes=11)
    monitor.tick()
    assert (notifications, child.episodes.open) == ([], ())


async def test_newer_value_is_not_replaced(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        keep(outbox, measured(timedelta(minutes=1), spo2_pct=97.0))
        monitor = a_monitor(outbox)
        monitor.observe(measured(timedelta(), spo2_pct=91.0), ())
        await restore_history(monitor, outbox)
    assert monitor.children[PATIENT].values["spo2_pct"].number == 91.0


async def test_only_the_last_hours_are_read(tmp_path: Path) -> None:
    clock = [datetime.now(UTC).timestamp() - 5 * 3600]
    with Outbox(tmp_path / "outbox.sqlite3", now=lambda: clock[0]) as outbox:
        keep(outbox, *(measured(timedelta(hours=5), freq_card=70.0) for _ in range(300)))
        clock[0] += 5 * 3600
        keep(outbox, measured(timedelta(), spo2_pct=97.0))
        monitor = a_monitor(outbox)
        await restore_history(monitor, outbox)
    assert list(monitor.children[PATIENT].values) == ["spo2_pct"]


async def test_restarted_gateway_draws_stored_trends(tmp_path: Path) -> None:
    config, url = a_config(tmp_path)
    with Outbox(tmp_path / "data" / "outbox.sqlite3") as outbox:
        keep(outbox, *(measured(timedelta(minutes=40 - number), spo2_pct=93.0) for number in range(30)))
    async with a_gateway(config), httpx.AsyncClient() as client:

        async def drawn() -> bool:
            try:
                page = (await client.get(url, params={"lang": "en"})).text
            except httpx.HTTPError:
                return False
            return "93" in page and "<path" in page

        await eventually(drawn)
