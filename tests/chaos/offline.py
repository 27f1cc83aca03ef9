"""Three days without internet: 20 bracelets, a reading per second, 5.2 million readings, a bounded outbox.

When the internet is back, new readings must arrive at once while the backlog is delivered as well.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from edge_gateway.config import ApiConfig
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import NewReading
from edge_gateway.state import GatewayState
from edge_gateway.uplink.client import ApiClient
from edge_gateway.uplink.uplink import Uplink
from tests.link.upstream import Upstream, an_upstream

BRACELETS = 20
HOURS = 72
BOUND = 2**30
_CRITICAL_SHARE = 0.01
_SEED = 7
_UPKEEP_EVERY_S = 60
"""Simulated seconds between two checks of the outbox's size; the gateway checks every ten."""


class _SimulatedClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def run() -> dict[str, object]:
    """Run the test; the contract defines the names of the figures."""
    with tempfile.TemporaryDirectory(prefix="kidjamo-chaos-") as scratch:
        return asyncio.run(days_offline(Path(scratch), HOURS, BOUND))


async def days_offline(directory: Path, hours: float, bound: int) -> dict[str, object]:
    """Fill the outbox, then deliver it."""
    clock, path = _SimulatedClock(), directory / "outbox.sqlite3"
    with Outbox(path, clock) as outbox:
        began = time.monotonic()
        committed, criticals = await _pass(outbox, clock, hours, bound)
        filled_s = time.monotonic() - began
        largest = _size(directory)
        async with an_upstream() as upstream:
            figures = await _back_online(outbox, clock, upstream)
        counts = await outbox.counts()
    missing = len({str(each) for each in criticals} - upstream.accepted.keys())
    return {
        "lost": missing,
        "duplicated": upstream.duplicated,
        "faults": 1,
        "committed": committed,
        "critical": len(criticals),
        "thinned": counts.thinned,
        "bytes_at_most": largest,
        "seconds_to_fill": round(filled_s),
        **figures,
    }


async def _pass(outbox: Outbox, clock: _SimulatedClock, hours: float, bound: int) -> tuple[int, list[UUID]]:
    chance = random.Random(_SEED)
    start = datetime.now(UTC) - timedelta(hours=hours)
    criticals, committed = [], 0
    for first in range(0, int(hours * 3600), _UPKEEP_EVERY_S):
        rows = []
        for second in range(first, first + _UPKEEP_EVERY_S):
            at = start + timedelta(seconds=second)
            for device in range(BRACELETS):
                rows.append(_row(f"ble-{device:03d}", second, at, chance.random() < _CRITICAL_SHARE))
        clock.now = at.timestamp()
        criticals += [row.message_id for row in rows if row.critical]
        committed += len(rows)
        await asyncio.wrap_future(outbox.append(rows))
        while await outbox.enforce_bound(bound):
            pass
    return committed, criticals


async def _back_online(outbox: Outbox, clock: _SimulatedClock, upstream: Upstream) -> dict[str, object]:
    """Deliver the backlog while twenty bracelets continue to measure."""
    api, state = ApiClient(ApiConfig(url=upstream.url)), GatewayState("gw")
    uplink = Uplink(api, outbox, state, 1000)
    backlog = (await outbox.counts()).pending
    running = asyncio.create_task(uplink.run())
    began, live = time.monotonic(), []
    while (await outbox.counts()).pending > BRACELETS:
        now = datetime.now(UTC)
        clock.now = now.timestamp()
        rows = [_row(f"ble-{device:03d}", 0, now, False) for device in range(BRACELETS)]
        await asyncio.wrap_future(outbox.append(rows))
        uplink.news.set()
        live += [str(row.message_id) for row in rows]
        await asyncio.sleep(1)
    took = time.monotonic() - began
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await api.close()
    waits = [
        accepted - datetime.fromisoformat(timestamp).timestamp()
        for accepted, timestamp in (upstream.accepted[each] for each in live if each in upstream.accepted)
    ]
    return {
        "drain_readings_per_s": round(backlog / took),
        "live_p95_s_during_drain": round(statistics.quantiles(waits, n=20)[18], 2),
    }


def _size(directory: Path) -> int:
    """Return the bytes of the outbox on disk, including its write-ahead log."""
    return sum(each.stat().st_size for each in directory.glob("outbox.sqlite3*"))


def _row(device_id: str, seq: int, at: datetime, critical: bool) -> NewReading:
    identity = uuid4()
    body = {
        "patient_id": f"patient-of-{device_id}",
        "device_id": device_id,
        "timestamp": at.isoformat(),
        "measurements": {
            "spo2_pct": 85.0 if critical else 97.2,
            "freq_card": 82.0,
            "freq_resp": 18.0,
            "temp_corp": 36.8,
        },
        "message_id": str(identity),
        "seq": seq,
        "boot": 1,
        "gateway_id": "gw",
        "source": "ble",
        "signal": {"contact": True, "motion": False, "low_perfusion": False, "battery_pct": 80},
    }
    return NewReading(identity, device_id, json.dumps(body, separators=(",", ":")), critical)
