from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from runtime.sqlite_file import SqliteFile, is_corrupt, is_temporary, set_aside_files, used_bytes

NOON = 1_756_036_800.25
ASIDE = "data.sqlite3.corrupt-20250824T120000.250000Z"


def create_rows(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE IF NOT EXISTS rows (value TEXT)")


def a_file(directory: Path, check_limit: int | None = None) -> SqliteFile:
    return SqliteFile(directory / "data.sqlite3", create_rows, check_limit=check_limit, now=lambda: NOON)


def fill(file: SqliteFile, rows: int = 500) -> None:
    with closing(file.connect()) as db:
        db.executemany("INSERT INTO rows VALUES (?)", [("x" * 100,)] * rows)


def damage(path: Path, start: int) -> bytes:
    damaged = bytearray(path.read_bytes())
    damaged[start : start + 8192] = random.Random(1).randbytes(8192)
    path.write_bytes(damaged)
    return bytes(damaged)


def count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM rows").fetchone()[0])


def test_connection_flushes_every_commit(tmp_path: Path) -> None:
    with closing(a_file(tmp_path).connect()) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_settings_are_applied(tmp_path: Path) -> None:
    settings = ("page_size=8192", "max_page_count=20")
    with closing(SqliteFile(tmp_path / "data.sqlite3", create_rows, settings=settings).connect()) as db:
        assert db.execute("PRAGMA page_size").fetchone() == (8192,)
        assert db.execute("PRAGMA max_page_count").fetchone() == (20,)


@pytest.mark.parametrize("start", [0, 4096])
def test_corrupt_file_is_kept_under_another_name_and_replaced(tmp_path: Path, start: int) -> None:
    fill(a_file(tmp_path))
    damaged = damage(tmp_path / "data.sqlite3", start)
    file = a_file(tmp_path)
    with closing(file.connect()) as db:
        assert count(db) == 0
    assert file.set_aside == set_aside_files(file.path) == [tmp_path / ASIDE]
    assert file.set_aside[0].read_bytes() == damaged


def test_wal_of_a_corrupt_file_is_not_replayed_into_the_new_one(tmp_path: Path) -> None:
    file = a_file(tmp_path)
    with closing(file.connect()) as db:
        db.execute("INSERT INTO rows VALUES ('in the WAL')")
        file.replace(sqlite3.DatabaseError("damaged"))
        with closing(a_file(tmp_path).connect()) as fresh:
            assert count(fresh) == 0
    assert (tmp_path / f"{ASIDE}-wal").exists()
    assert set_aside_files(file.path) == [tmp_path / ASIDE]


def test_large_file_is_not_checked_when_it_is_opened(tmp_path: Path) -> None:
    fill(a_file(tmp_path))
    damage(tmp_path / "data.sqlite3", 8192)
    file = a_file(tmp_path, check_limit=4096)
    with closing(file.connect()) as db, pytest.raises(sqlite3.DatabaseError) as error:
        db.execute("SELECT sum(length(value)) FROM rows").fetchone()
    assert is_corrupt(error.value)
    assert file.set_aside == []


def test_file_that_cannot_be_opened_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data.sqlite3").mkdir()
    file = a_file(tmp_path)
    with pytest.raises(sqlite3.OperationalError) as error:
        file.connect()
    assert is_temporary(error.value)
    assert file.set_aside == []


def test_set_aside_files_lists_those_of_earlier_versions(tmp_path: Path) -> None:
    names = ["data.sqlite3.corrupt-1756036800", ASIDE, f"{ASIDE}-wal", f"{ASIDE}-shm", "data.sqlite3"]
    for name in names:
        (tmp_path / name).touch()
    assert [each.name for each in set_aside_files(tmp_path / "data.sqlite3")] == names[:2]


def test_used_bytes_counts_no_free_pages(tmp_path: Path) -> None:
    file = a_file(tmp_path)
    fill(file)
    with closing(file.connect()) as db:
        full = used_bytes(db)
        db.execute("DELETE FROM rows")
        assert full > 50_000
        assert used_bytes(db) == 2 * 4096


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError(30, "Read-only file system"), True),
        (PermissionError(13, "Permission denied"), False),
        (sqlite3.OperationalError("no code"), False),
        (ValueError(), False),
    ],
)
def test_is_temporary(error: Exception, temporary: bool) -> None:
    assert is_temporary(error) is temporary
    assert not is_corrupt(error)
