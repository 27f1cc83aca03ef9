"""Committed data survives a kill, a full disk and a corrupt file."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from edge_gateway.errors import OutboxUnavailable
from edge_gateway.outbox import reading_queries
from edge_gateway.outbox.device_queries import ClockEra, Progress
from edge_gateway.outbox.outbox import Outbox, read_counts
from edge_gateway.outbox.reading_queries import OutboxCounts
from tests.edge_gateway.helpers import a_row
from tests.waiting import PATIENCE_S, eventually

_WRITER = """
import sys
from pathlib import Path
from edge_gateway.outbox.outbox import Outbox
from tests.edge_gateway.helpers import a_row

with Outbox(Path(sys.argv[1])) as outbox:
    while True:
        row = a_row()
        def acknowledged(_, row=row):
            sys.stdout.write(f"{row.message_id}\\n")
            sys.stdout.flush()
        last = outbox.append([row])
        last.add_done_callback(acknowledged)
        if int(row.message_id) % 40 == 0:
            last.result()
"""


def identities(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        return {row[0] for row in db.execute("SELECT message_id FROM readings")}


async def test_append_keeps_order_and_counts_each_identity_once(tmp_path: Path) -> None:
    rows = [a_row() for _ in range(50)]
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        outbox.append(rows).result()
        outbox.append(rows[:10]).result()
        pending = await outbox.peek_live(0, 100)
        assert [entry.identity for entry in pending] == [str(row.message_id) for row in rows]
        assert await outbox.counts() == OutboxCounts(committed=50, pending=50)


async def test_settle_changes_only_the_given_rows(tmp_path: Path) -> None:
    rows = [a_row() for _ in range(3)]
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        outbox.append(rows).result()
        first, second, third = await outbox.peek_live(0, 10)
        await outbox.settle([first.id], [(second.id, "timestamp: quarantined")])
        await outbox.settle([second.id, first.id], [(first.id, "too late")])
        assert [entry.id for entry in await outbox.peek_live(0, 10)] == [third.id]
        assert await outbox.counts() == OutboxCounts(committed=3, pending=1, delivered=1, rejected=1)
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite3")) as db:
        assert db.execute("SELECT rejected_reason FROM readings WHERE id = ?", (second.id,)).fetchone() == (
            "timestamp: quarantined",
        )


async def test_history_is_purged_after_its_time_and_counters_stay(tmp_path: Path) -> None:
    clock = [1000.0]
    with Outbox(tmp_path / "outbox.sqlite3", now=lambda: clock[0]) as outbox:
        outbox.append([a_row() for _ in range(3)]).result()
        delivered, *_ = await outbox.peek_live(0, 3)
        await outbox.settle([delivered.id], [])
        clock[0] += 3599
        assert await outbox.purge(3600) == 0
        clock[0] += 2
        assert await outbox.purge(3600) == 1
        assert await outbox.counts() == OutboxCounts(committed=3, pending=2, delivered=1)
    assert read_counts(tmp_path / "outbox.sqlite3") == OutboxCounts(committed=3, pending=2, delivered=1)


async def test_dead_letter_is_stored_once_and_pending_until_acknowledged(tmp_path: Path) -> None:
    identity = uuid4()
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        outbox.append_dead_letter(identity, "{}").result()
        outbox.append_dead_letter(identity, "{}").result()
        (entry,) = await outbox.peek_dead_letters(10)
        await outbox.acknowledge_dead_letters([entry.id])
        assert await outbox.peek_dead_letters(10) == []
        assert await outbox.counts() == OutboxCounts(dead_letters=1, dead_letters_pending=0)


async def test_progress_survives_a_restart(tmp_path: Path) -> None:
    progress = Progress(boot=3, seq=41, message_id=uuid4())
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        assert await outbox.progress("b") is None
        await outbox.save_progress("b", progress)
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        assert await outbox.progress("b") == progress


async def test_clock_eras_last_until_their_records_are_committed(tmp_path: Path) -> None:
    clock_eras = [ClockEra(1, 100, 5000, 1_756_031_400_000), ClockEra(1, 300, -7000, 1_756_031_600_000)]
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        for era in clock_eras:
            await outbox.add_clock_era("ble-001", era)
        await outbox.add_clock_era("ble-002", clock_eras[0])
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        assert await outbox.clock_eras("ble-001") == tuple(clock_eras)
        await outbox.save_progress("ble-001", Progress(1, 120, uuid4()))
        assert await outbox.clock_eras("ble-001") == (clock_eras[1],)
        assert await outbox.clock_eras("ble-002") == (clock_eras[0],)


async def test_clock_that_counts_from_a_restart_ends_the_eras_from_before_it(tmp_path: Path) -> None:
    """The restart counter has wrapped around, or it is another bracelet of that name."""
    of_before = ClockEra(1, 80_000, 3_600_000, 1_756_000_000_000)
    started_ms, now_ms = 1_756_031_000_000, 1_756_031_400_000
    fresh = ClockEra(1, 400, started_ms, now_ms, was_set=False)
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        await outbox.add_clock_era("ble-001", of_before)
        await outbox.add_clock_era("ble-001", fresh)
        assert await outbox.clock_eras("ble-001") == (fresh,)


async def test_outbox_of_an_earlier_version_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TABLE clock_eras (id INTEGER PRIMARY KEY, device_id TEXT NOT NULL, boot INTEGER NOT NULL,"
            " before_seq INTEGER NOT NULL, offset_ms INTEGER NOT NULL, set_ms INTEGER NOT NULL)"
        )
        db.execute("INSERT INTO clock_eras VALUES (1, 'ble-001', 1, 100, 5000, 1756031400000)")
        db.commit()
    with Outbox(path) as outbox:
        assert await outbox.clock_eras("ble-001") == (ClockEra(1, 100, 5000, 1_756_031_400_000),)


def test_outbox_killed_at_a_random_moment_has_all_acknowledged_readings(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    acknowledged: set[str] = set()
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout
        acknowledged.add(writer.stdout.readline().strip())
        time.sleep(random.uniform(0.4, 1.0))
        writer.kill()
        acknowledged |= {line.strip() for line in writer.stdout if line.endswith("\n")}
        writer.wait()
    assert len(acknowledged) > 100
    assert acknowledged - identities(path) == set()


@pytest.mark.parametrize("where", [0, 4096])
async def test_corrupt_file_is_set_aside_and_replaced(tmp_path: Path, where: int) -> None:
    path = tmp_path / "outbox.sqlite3"
    with Outbox(path) as outbox:
        outbox.append([a_row() for _ in range(500)]).result()
    damaged = bytearray(path.read_bytes())
    damaged[where : where + 8192] = random.Random(1).randbytes(8192)
    path.write_bytes(damaged)
    with Outbox(path) as outbox:
        (aside,) = outbox.set_aside
        assert aside.read_bytes() == damaged
        outbox.append([a_row()]).result()
        assert await outbox.counts() == OutboxCounts(committed=1, pending=1)


async def test_file_that_turns_corrupt_while_in_use_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    row = a_row()
    with Outbox(path) as outbox:
        outbox.append([a_row() for _ in range(2000)]).result()
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        outbox.append([a_row()]).exception()
        outbox.append([row]).result(timeout=PATIENCE_S)
        assert len(outbox.set_aside) == 1
    assert str(row.message_id) in identities(path)


async def test_full_disk_is_a_state_and_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    troubles: list[str] = []
    max_pages = [12]
    append = reading_queries.append

    def append_within_limit(db: sqlite3.Connection, readings: Any, now: float) -> None:
        db.execute(f"PRAGMA max_page_count = {max_pages[0]}")
        append(db, readings, now)

    monkeypatch.setattr(reading_queries, "append", append_within_limit)
    with Outbox(tmp_path / "outbox.sqlite3", on_trouble=troubles.append) as outbox:
        waiting = outbox.append([a_row() for _ in range(200)])
        await eventually(lambda: outbox.trouble)
        assert not waiting.done()
        max_pages[0] = 100_000
        await asyncio.wait_for(asyncio.wrap_future(waiting), 10)
        assert (await outbox.counts()).committed == 200
        assert outbox.trouble == ""
    assert troubles == ["database or disk is full", ""]


async def test_closing_while_the_disk_is_full_fails_pending_writes(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite3").open()
    await outbox._ask(lambda db: db.execute("PRAGMA max_page_count = 12").fetchall())
    waiting = outbox.append([a_row() for _ in range(200)])
    await eventually(lambda: outbox.trouble)
    await asyncio.to_thread(outbox.close)
    with pytest.raises(OutboxUnavailable):
        waiting.result()
    with pytest.raises(OutboxUnavailable):
        outbox.append([a_row()]).result()


async def test_failing_statement_fails_only_its_caller(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        works = [outbox._writer.submit(lambda _db: time.sleep(0.1), hurry=True)]
        works += [outbox.append([a_row()])]
        broken = outbox._writer.submit(lambda db: db.execute("SELECT nonsense"), hurry=True)
        good = outbox.append([a_row()])
        with pytest.raises(sqlite3.OperationalError):
            broken.result()
        good.result()
        assert (await outbox.counts()).committed == 2


async def test_error_names_a_directory_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxUnavailable, match="file"):
        Outbox(tmp_path / "file" / "outbox.sqlite3").open()
