"""What the spool acknowledged is there: after a kill, a full disk, a corrupt file."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cloud_ingest.delivery.spool import Spool
from cloud_ingest.errors import SpoolUnavailable
from cloud_ingest.kafka.record import Record

MB = 2**20


def record(number: int, size: int = 100) -> Record:
    return Record("kidjamo-iot-measurements", b"p1", f"{number:08}".encode().ljust(size, b"."))


async def test_append_peek_discard_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MB)
    ids = await spool.append([record(1), record(2)]) + await spool.append([Record("t", None, b"3")])
    assert [(s.id, s.record) for s in await spool.peek(10)] == [
        (ids[0], record(1)),
        (ids[1], record(2)),
        (ids[2], Record("t", None, b"3")),
    ]
    assert [s.id for s in await spool.peek(1, skip=ids[:1])] == [ids[1]]
    await spool.discard(ids[:2])
    assert (await spool.peek(10))[0].record.value == b"3"
    assert spool.state.pending == 1
    spool.close()


async def test_peek_skips_held_lanes_beyond_one_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_ingest.delivery.spool._SCAN_ROWS", 2)
    spool = Spool(tmp_path, MB)
    ids = await spool.append([record(1)] * 5 + [Record("t", None, b"2"), record(3), Record("t", None, b"4")])
    held = {record(1).lane}
    assert [s.id for s in await spool.peek(10, held=held)] == [ids[5]]
    assert [s.id for s in await spool.peek(10, held=held, after=ids[5])] == [ids[7]]
    assert await spool.peek(10, held=held, after=ids[7]) == []
    spool.close()


async def test_peek_limits_the_bytes_returned(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 32 * MB)
    ids = await spool.append([record(1, 3 * MB), record(2, 3 * MB), record(3, 3 * MB), record(4, 9 * MB)])
    assert [s.id for s in await spool.peek(10)] == ids[:2]
    assert [s.id for s in await spool.peek(10, after=ids[1])] == ids[2:3]
    assert [s.id for s in await spool.peek(10, after=ids[2])] == ids[3:]
    spool.close()


async def test_records_survive_a_restart(tmp_path: Path) -> None:
    first = Spool(tmp_path, MB)
    await first.append([record(1)])
    first.close()
    second = Spool(tmp_path, MB)
    assert second.state.pending == 1
    assert [s.record for s in await second.peek(10)] == [record(1)]
    second.close()


async def test_spool_of_a_version_without_counters_opens_with_what_it_holds(tmp_path: Path) -> None:
    first = Spool(tmp_path, MB)
    await first.discard((await first.append([record(1), record(2)]))[:1])
    first.close()
    with closing(sqlite3.connect(first.path)) as database, database:
        database.execute("DROP TABLE removed")
    second = Spool(tmp_path, MB)
    assert (second.opening, second.state.pending) == (1, 1)
    second.close()


async def test_simultaneous_appends_are_all_stored(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 8 * MB)
    ids = await asyncio.gather(*(spool.append([record(n), record(n)]) for n in range(300)))
    assert len({each for pair in ids for each in pair}) == 600
    assert spool.state.pending == 600
    spool.close()


async def test_full_spool_refuses_until_records_are_discarded(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MB)
    stored: list[int] = []
    with pytest.raises(SpoolUnavailable, match="full"):  # noqa: PT012 - one of them fails
        for number in range(1000):
            stored += await spool.append([record(number, 5000)])
    assert 100 < len(stored) < 210
    assert spool.state.pending == len(stored)
    assert "full" in spool.state.error
    assert spool.path.stat().st_size <= MB
    await spool.discard([s.id for s in await spool.peek(100)])
    await spool.append([record(1, 5000)])
    assert spool.state.error == ""
    spool.close()


async def test_record_that_is_too_large_fails_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MB)
    small, large, other = await asyncio.gather(
        spool.append([record(1)]),
        spool.append([record(2, 2 * MB)]),
        spool.append([record(3)]),
        return_exceptions=True,
    )
    assert isinstance(large, SpoolUnavailable)
    assert isinstance(small, list)
    assert isinstance(other, list)
    assert [s.record for s in await spool.peek(10)] == [record(1), record(3)]
    assert spool.state.pending == 2
    spool.close()


async def test_refuse_moves_a_record_to_the_refused_ones(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MB)
    (row,) = await spool.append([record(1)])
    await spool.refuse(row, "too large")
    assert await spool.peek(10) == []
    assert (spool.state.pending, spool.state.refused) == (0, 1)
    spool.close()


def test_two_processes_cannot_share_a_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MB)
    with pytest.raises(SpoolUnavailable, match="another process"):
        Spool(tmp_path, MB)
    spool.close()
    Spool(tmp_path, MB).close()


def test_corrupt_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "spool.sqlite3").write_bytes(b"not a database" * 1000)
    spool = Spool(tmp_path, MB)
    (aside,) = tmp_path.glob("spool.sqlite3.corrupt-*")
    assert aside.read_bytes().startswith(b"not a database")
    assert spool.state.set_aside == 1
    spool.close()


def test_files_set_aside_by_earlier_versions_are_counted(tmp_path: Path) -> None:
    for name in ("corrupt-1756036800", "corrupt-1756036800-wal", "corrupt-20250824T120000.250000Z"):
        (tmp_path / f"spool.sqlite3.{name}").touch()
    spool = Spool(tmp_path, MB)
    assert spool.state.set_aside == 2
    spool.close()


async def test_file_that_turns_corrupt_refuses_and_is_set_aside_at_the_next_start(tmp_path: Path) -> None:
    first = Spool(tmp_path, 8 * MB)
    await first.append([record(number, 1000) for number in range(1000)])
    with closing(sqlite3.connect(first.path)) as other:
        other.execute("INSERT INTO refused VALUES (0, 't', NULL, x'', 0, '')")  # invalidates its page cache
        other.commit()
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(first.path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    first.path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(SpoolUnavailable, match="malformed"):
            await first.append([record(1)])
    assert "malformed" in first.state.error
    assert first.state.pending == 1000
    first.close()
    second = Spool(tmp_path, MB)
    assert (second.state.pending, second.state.set_aside, second.state.error) == (0, 1, "")
    second.close()


async def test_closed_spool_refuses(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MB)
    spool.close()
    with pytest.raises(SpoolUnavailable, match="the spool is closed"):
        await spool.append([record(1)])


WRITER = """
import asyncio, sys
from pathlib import Path
from cloud_ingest.kafka.record import Record
from cloud_ingest.delivery.spool import Spool

async def write():
    spool = Spool(Path(sys.argv[1]), 2**24)
    for number in range(10**6):
        await spool.append([Record("t", None, str(number).encode())])
        print(number, flush=True)

asyncio.run(write())
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(50)][-1]
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    writer.wait()
    writer.stdout.close()
    spool = Spool(tmp_path, 2**24)
    values = [int(s.record.value) for s in asyncio.run(spool.peek(10**6))]
    assert values[: acknowledged + 1] == list(range(acknowledged + 1))
    spool.close()
