"""The radio link with 20 bracelets at one reading per second: latency, reconnection, back-fill, memory.

The bracelets run in this process and the gateway in its own, connected by an HCI socket: its memory includes
no simulator code except the plug-in for the Bluetooth adapter.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from tests.link.rig import LinkOutcome, LinkRig, absence, running

BRACELETS = 20
STEADY_S = 60.0
ABSENCE_S = 5.0
EVERY_S = 30.0
ROUNDS = 3
STORED = 3000


def run() -> dict[str, float]:
    """Run the benchmark; the contract defines the names and goals."""
    with tempfile.TemporaryDirectory(prefix="kidjamo-bench-") as scratch:
        for name in ("steady", "lossy", "stored"):
            (Path(scratch) / name).mkdir()
        return asyncio.run(_measure(Path(scratch)))


async def _measure(scratch: Path) -> dict[str, float]:
    steady, megabytes = await _steady(scratch / "steady")
    lossy, waits = await _lossy(scratch / "lossy")
    stored, per_s = await _stored(scratch / "stored")
    latencies = _latencies(steady, scratch / "steady" / "notes")
    return {
        "notify_to_rule_p50_ms": round(1000 * statistics.median(latencies), 1),
        "notify_to_rule_p99_ms": round(1000 * _percentile(latencies, 99), 1),
        "readvertise_to_live_p50_s": round(statistics.median(waits), 2),
        "readvertise_to_live_p95_s": round(_percentile(waits, 95), 2),
        "gateway_rss_mb": round(megabytes, 1),
        "backfill_records_per_s": round(per_s),
        "lost_readings": sum(outcome.lost for outcome in (steady, lossy, stored)),
        "readings": sum(len(outcome.measured) for outcome in (steady, lossy, stored)),
        "links_lost": len(waits),
    }


async def _steady(directory: Path) -> tuple[LinkOutcome, float]:
    """Run without faults; also return the gateway's resident memory at the end, MB."""
    rig = LinkRig(directory, BRACELETS, directory / "notes")
    async with running(rig):
        await asyncio.sleep(STEADY_S)
        megabytes = _resident_mb(rig.gateway.pid or 0)
    return rig.outcome(), megabytes


async def _lossy(directory: Path) -> tuple[LinkOutcome, list[float]]:
    """Take each bracelet out of range; also return the seconds from each return to its first live reading."""
    rig = LinkRig(directory, BRACELETS, directory / "notes")
    returns: list[tuple[str, float]] = []

    async def away(number: int) -> None:
        peripheral = rig.peripherals[number]
        await absence(peripheral, ABSENCE_S)
        returns.append((peripheral.bracelet.device_id, time.time()))

    async with running(rig):
        async with asyncio.TaskGroup() as absences:
            for _ in range(ROUNDS):
                for number in range(BRACELETS):
                    absences.create_task(away(number))
                    await asyncio.sleep(EVERY_S / BRACELETS)
        await asyncio.sleep(5)
    outcome = rig.outcome()
    return outcome, _waits(outcome, directory / "notes", returns)


async def _stored(directory: Path) -> tuple[LinkOutcome, float]:
    """Run one bracelet with stored readings; also return how many of them are evaluated per second."""
    rig = LinkRig(directory, 1, directory / "notes")
    async with running(rig, stored=STORED):
        await asyncio.sleep(STORED / 100)
    outcome = rig.outcome()
    early = {each.message_id for each in outcome.measured[:STORED]}
    times = sorted(at for identity, (at, _) in _evaluated(directory / "notes").items() if identity in early)
    return outcome, (len(times) - 1) / (times[-1] - times[0])


def _evaluated(notes: Path) -> dict[str, tuple[float, bool]]:
    """Return when each reading was evaluated and whether it was live, by message id."""
    rows = (line.split() for line in notes.read_text().splitlines())
    return {identity: (float(at), live == "1") for identity, at, live in rows}


def _latencies(outcome: LinkOutcome, notes: Path) -> list[float]:
    """Return the seconds from the notification of each live reading to its evaluation."""
    evaluated = _evaluated(notes)
    times = ((each.at, *evaluated.get(each.message_id, (0.0, False))) for each in outcome.measured)
    return [at - notified for notified, at, live in times if live]


def _waits(outcome: LinkOutcome, notes: Path, returns: list[tuple[str, float]]) -> list[float]:
    evaluated = _evaluated(notes)
    live: dict[str, list[float]] = defaultdict(list)
    for each in outcome.measured:
        at, was_live = evaluated.get(each.message_id, (0.0, False))
        if was_live:
            live[each.device_id].append(at)
    return [min(at for at in live[device] if at > returned) - returned for device, returned in returns]


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("the gateway ended early")
