"""The gateway: appends compared with raw SQLite, bytes written, an MQTT flood, a backlog, page and contact.

The gateway runs in its own process, with its page enabled. Broker, upstream and contact are sockets on
loopback; upstream and contact only record what they receive, so that the figures are the gateway's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.async_api import async_playwright

from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import NewReading
from tests.bench.gateway_bench import PATIENCE_S, GatewayBench, a_reading, gateway_bench
from tests.edge_gateway.alarms.night import night
from tests.edge_gateway.page.chromium import launched
from vitals.topics import measurements_of

APPENDS, GROUP, HANDED = 20_000, 1000, 100
STEADY_S = 30
FLOOD = 60_000
BACKLOG = 50_000
SHOWN, TOLD = 36, 40


def run() -> dict[str, float]:
    """Run the benchmark; the contract defines the names and goals."""
    with tempfile.TemporaryDirectory(prefix="kidjamo-bench-") as scratch:
        for name in ("steady", "flood", "drain", "contact"):
            (Path(scratch) / name).mkdir()
        return asyncio.run(_measure(Path(scratch)))


async def _measure(scratch: Path) -> dict[str, float]:
    figures = {"outbox_ratio_to_sqlite": round(_appends(scratch) / _raw_appends(scratch), 2)}
    figures |= await _steady(scratch / "steady")
    figures |= await _flood(scratch / "flood")
    figures |= await _drain(scratch / "drain")
    figures |= await _page_and_contact(scratch / "contact")
    figures |= await _night()
    figures["lost_readings"] = figures.pop("lost_in_flood") + figures.pop("lost_in_drain")
    return figures


def _rows(count: int) -> list[tuple[str, str, str]]:
    bodies = (a_reading(number, datetime.now(UTC)) for number in range(count))
    return [(body["message_id"], body["device_id"], json.dumps(body)) for body in bodies]


def _appends(scratch: Path) -> float:
    """Return the durable readings per second of the outbox, with a hundred per call like the intake."""
    rows = [NewReading(*row) for row in _rows(APPENDS)]  # type: ignore[arg-type]
    with Outbox(scratch / "appends.sqlite3") as outbox:
        began = time.perf_counter()
        under_way = [outbox.append(rows[first : first + HANDED]) for first in range(0, APPENDS, HANDED)]
        for future in under_way:
            future.result()
        return APPENDS / (time.perf_counter() - began)


def _raw_appends(scratch: Path) -> float:
    """Return the same for plain sqlite3 and the same table, with a thousand per transaction."""
    rows = _rows(APPENDS)
    with Outbox(scratch / "raw.sqlite3"):
        pass
    with closing(sqlite3.connect(scratch / "raw.sqlite3", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        began = time.perf_counter()
        for first in range(0, APPENDS, GROUP):
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO readings (message_id, device_id, body, committed_at) VALUES (?, ?, ?, 0)",
                rows[first : first + GROUP],
            )
            db.execute("COMMIT")
        return APPENDS / (time.perf_counter() - began)


async def _steady(directory: Path) -> dict[str, float]:
    """Run twenty bracelets at one reading per second."""
    async with gateway_bench(directory) as bench:
        before, sent = bench.written(), set()
        for second in range(STEADY_S):
            for device in range(20):
                sent.add(bench.publish(a_reading(second, datetime.now(UTC), f"mqtt-{device:03d}")))
                await asyncio.sleep(0.05)
        await bench.arrived(sent)
        written = bench.written() - before
        return {
            "bytes_written_per_reading": round(written / len(sent)),
            "gateway_rss_mb": round(bench.resident_mb(), 1),
        }


async def _flood(directory: Path) -> dict[str, float]:
    """Publish as fast as possible for twenty bracelets (mosquitto_pub, QoS 1) until upstream has all."""
    async with gateway_bench(directory) as bench:
        sent, files = set(), {}
        for device in (f"mqtt-{number:03d}" for number in range(20)):
            bodies = [a_reading(number, datetime.now(UTC), device) for number in range(FLOOD // 20)]
            sent |= {body["message_id"] for body in bodies}
            files[device] = directory / f"{device}.jsonl"
            files[device].write_text("".join(json.dumps(body) + "\n" for body in bodies))
        began, cpu_before = time.monotonic(), bench.cpu_s()
        for device, file in files.items():
            with file.open("rb") as lines:
                command = [
                    "mosquitto_pub",
                    "-p",
                    str(bench.port),
                    "-q",
                    "1",
                    "-l",
                    "-t",
                    measurements_of(device),
                ]
                await asyncio.create_subprocess_exec(*command, stdin=lines)
        missing = await bench.arrived(sent)
        took, cpu_s = time.monotonic() - began, bench.cpu_s() - cpu_before
        return {
            "mqtt_sustained_readings_per_s": round(FLOOD / took),
            "gateway_cpu_us_per_reading": round(cpu_s / FLOOD * 1e6),
            "lost_in_flood": len(missing),
        }


async def _drain(directory: Path) -> dict[str, float]:
    """Deliver a backlog while twenty bracelets continue to measure."""
    (directory / "data").mkdir()
    with Outbox(directory / "data" / "outbox.sqlite3") as outbox:
        began = datetime.now(UTC) - timedelta(hours=20)
        bodies = [a_reading(number, began + timedelta(seconds=number / 2)) for number in range(BACKLOG)]
        for first in range(0, BACKLOG, GROUP):
            chunk = bodies[first : first + GROUP]
            outbox.append(
                [NewReading(b["message_id"], b["device_id"], json.dumps(b)) for b in chunk]
            ).result()
    backlog = {body["message_id"] for body in bodies}
    async with gateway_bench(directory) as bench:
        started, live = time.monotonic(), set()
        already = len(backlog & bench.upstream.accepted.keys())
        while len(backlog) - len(backlog & bench.upstream.accepted.keys()) > 0:
            if time.monotonic() - started > PATIENCE_S:
                break
            for device in range(20):
                live.add(bench.publish(a_reading(0, datetime.now(UTC), f"mqtt-{device:03d}")))
                await asyncio.sleep(0.05)
        took = time.monotonic() - started
        missing = await bench.arrived(backlog | live)
        waits = [_wait(*bench.upstream.accepted[each]) for each in live - missing]
        return {
            "drain_readings_per_s": round((BACKLOG - already) / took),
            "live_p95_s_during_drain": round(_p95(waits), 2),
            "lost_in_drain": len(missing),
        }


async def _page_and_contact(directory: Path) -> dict[str, float]:
    """Measure from a bracelet's publish to the page in a browser, and to a contact's service."""
    notified: dict[str, float] = {}

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line
        )
        body = json.loads(await reader.readexactly(length))
        notified[body["title"].rpartition(" ")[2]] = time.time()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(service, "127.0.0.1", 0)
    (directory / "contact.url").write_text(f"json://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with (
        server,
        gateway_bench(directory, '[[contact]]\nname = "c"\nurl_file = "contact.url"\n') as bench,
    ):
        shown = await _shown(bench)
        sent: dict[str, float] = {}
        for number in range(TOLD):
            body = a_reading(0, datetime.now(UTC), f"ill-{number:03d}")
            body["measurements"]["spo2_pct"] = 80.0
            sent[body["patient_id"]] = time.time()
            bench.publish(body)
            await asyncio.sleep(0.25)
        await asyncio.sleep(5)
    waits = [notified[patient] - at for patient, at in sent.items() if patient in notified]
    return {
        "reading_to_page_p95_s": round(_p95(shown), 2),
        "reading_to_notifier_p95_s": round(_p95(waits), 2),
        "notified_of": len(waits),
    }


async def _night() -> dict[str, float]:
    """Run eight hours of three simulated children with a carer who acknowledges after a minute."""
    logging.disable(logging.WARNING)  # thousands of alerts are expected
    passed = await night(8)
    logging.disable(logging.NOTSET)
    return {
        "night_missed_critical": passed.missed,
        "night_critical_readings": passed.critical,
        "night_notifications": len(passed.notifications),
        "night_records_per_notification": round(passed.records / max(1, len(passed.notifications)), 1),
        "night_time_to_notify_p95_s": round(_p95(passed.delays_s), 2),
    }


async def _shown(bench: GatewayBench) -> list[float]:
    """Return the seconds from publishing some values to their display on the page."""
    async with async_playwright() as playwright, launched(playwright) as browser:
        page = await browser.new_page()
        await page.goto(f"{bench.page_url}/?lang=en")
        sent: dict[str, float] = {}
        await page.evaluate(
            "() => { window.seen = {}; new MutationObserver(() => {"
            " const shown = document.querySelector('#values-0 .number');"
            " if (shown) window.seen[shown.textContent] ??= Date.now() / 1000;"
            "}).observe(document.body, {subtree: true, childList: true, characterData: true}); }"
        )
        for number in range(SHOWN):
            body = a_reading(number, datetime.now(UTC), "warm-up")
            body["measurements"] = {"spo2_pct": 60.0 + number}
            sent[f"{60 + number}"] = time.time()
            bench.publish(body)
            await asyncio.sleep(1.1)
        seen: dict[str, float] = await page.evaluate("() => window.seen")
    return [seen[text] - at for text, at in sent.items() if text in seen]


def _wait(accepted: float, timestamp: str) -> float:
    return accepted - datetime.fromisoformat(timestamp).timestamp()


def _p95(waits: list[float]) -> float:
    return statistics.quantiles(waits, n=20)[18]
