from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.group_commit import GroupCommit
from runtime.sqlite_file import SqliteFile
from tests.waiting import PATIENCE_S, wait_for

Statement = Callable[[sqlite3.Connection], Any]


class ClosedError(Exception):
    pass


class RecordedCommits:
    """A writer that runs statements, and what it reports.

    Attributes:
        groups: sizes of the groups executed.
        commits: how many groups were committed.
        troubles: values of `trouble`, in order.
    """

    def __init__(self, path: Path, **settings: Any) -> None:
        self.file = SqliteFile(path, create_rows)
        self.groups: list[int] = []
        self.commits = 0
        self.troubles: list[str] = []
        self.writer: GroupCommit[Statement] = GroupCommit(
            "store",
            self.file,
            self._execute,
            ClosedError,
            on_commit=self._on_commit,
            on_trouble=self.troubles.append,
            **{"max_group": 100} | settings,
        )

    def _execute(self, db: sqlite3.Connection, group: Sequence[Statement]) -> list[Any]:
        self.groups.append(len(group))
        return [statement(db) for statement in group]

    def _on_commit(self) -> None:
        self.commits += 1

    def values(self) -> list[str]:
        """The values that another connection finds in the file."""
        with closing(sqlite3.connect(self.file.path)) as db:
            return [value for (value,) in db.execute("SELECT value FROM rows ORDER BY rowid")]

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the thread busy, so that what is submitted meanwhile becomes one group."""
        started, release = threading.Event(), threading.Event()

        def wait(_: sqlite3.Connection) -> None:
            started.set()
            release.wait(PATIENCE_S)

        self.writer.submit(wait, hurry=True)
        assert started.wait(PATIENCE_S)
        self.groups.clear()
        self.commits = 0
        try:
            yield
        finally:
            release.set()


Start = Callable[..., RecordedCommits]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def started(**settings: Any) -> RecordedCommits:
            store = RecordedCommits(tmp_path / "store.sqlite3", **settings)
            store.writer.start()
            stack.callback(store.writer.close)
            return store

        yield started


def create_rows(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE IF NOT EXISTS rows (value TEXT)")


def insert(value: str) -> Statement:
    return lambda db: db.execute("INSERT INTO rows VALUES (?)", (value,)).lastrowid


def limit_pages(pages: int) -> Statement:
    return lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall()


def broken(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO rows VALUES ('rolled back')")
    db.execute("SELECT nonsense")


LARGE = "x" * 200_000


def test_future_resolves_after_its_commit(start: Start) -> None:
    store = start()
    seen: list[list[str]] = []
    future = store.writer.submit(insert("a"))
    future.add_done_callback(lambda _: seen.append(store.values()))
    assert future.result(10) == 1
    assert store.commits == 1
    wait_for(lambda: seen)
    assert seen == [["a"]]


def test_work_submitted_during_a_commit_shares_the_next_one(start: Start) -> None:
    store = start(max_group=10)
    with store.busy():
        futures = [store.writer.submit(insert(str(number))) for number in range(25)]
    assert [future.result(10) for future in futures] == list(range(1, 26))
    assert store.groups == [10, 10, 5]
    assert store.values() == [str(number) for number in range(25)]


def test_work_without_hurry_gathers(start: Start) -> None:
    store = start(gather_s=0.3)
    first = store.writer.submit(insert("a"))
    time.sleep(0.1)
    assert not first.done()
    second = store.writer.submit(insert("b"))
    assert (first.result(10), second.result(10)) == (1, 2)
    assert store.groups == [2]


def test_work_in_a_hurry_does_not_gather(start: Start) -> None:
    store = start(gather_s=60.0)
    first = store.writer.submit(insert("a"))
    second = store.writer.submit(insert("b"), hurry=True)
    assert (first.result(10), second.result(10)) == (1, 2)


def test_much_work_does_not_gather(start: Start) -> None:
    store = start(gather_s=60.0, max_group=1000)
    futures = [store.writer.submit(insert(str(number))) for number in range(250)]
    assert futures[0].result(10) == 1


def test_failing_work_fails_only_its_caller(start: Start) -> None:
    store = start(retry_s=0.05)
    with store.busy():
        before, failing, after = map(store.writer.submit, (insert("a"), broken, insert("b")))
    before.result(10)
    with pytest.raises(sqlite3.OperationalError, match="nonsense"):
        failing.result(10)
    after.result(10)
    assert store.values() == ["a", "b"]
    assert store.troubles == []


def test_cancelled_work_is_not_executed(start: Start) -> None:
    store = start()
    with store.busy():
        cancelled, other = store.writer.submit(insert("a")), store.writer.submit(insert("b"))
        assert cancelled.cancel()
    other.result(10)
    assert store.values() == ["b"]


def test_full_disk_without_retry_fails_the_caller(start: Start) -> None:
    store = start()
    store.writer.submit(limit_pages(12)).result(10)
    with store.busy():
        small, large = store.writer.submit(insert("small")), store.writer.submit(insert(LARGE))
    small.result(10)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        large.result(10)
    assert store.writer.trouble == "database or disk is full"
    store.writer.submit(insert("after")).result(10)
    assert store.values() == ["small", "after"]
    assert store.troubles == ["database or disk is full", ""]


def test_full_disk_with_retry_is_waited_for(start: Start) -> None:
    store = start(retry_s=0.05)
    store.writer.submit(limit_pages(12)).result(10)
    pages = [12]

    def insert_large(db: sqlite3.Connection) -> None:
        limit_pages(pages[0])(db)
        insert(LARGE)(db)

    with store.busy():
        failing, waiting = store.writer.submit(broken), store.writer.submit(insert_large)
    with pytest.raises(sqlite3.OperationalError, match="nonsense"):
        failing.result(10)
    wait_for(lambda: store.writer.trouble)
    behind = store.writer.submit(insert("behind"))
    assert not waiting.done()
    pages[0] = 1000
    waiting.result(10)
    behind.result(10)
    assert store.values() == [LARGE, "behind"]
    assert store.troubles == ["database or disk is full", ""]


def test_file_that_turns_corrupt_is_replaced_with_retry(start: Start) -> None:
    store = start(retry_s=0.05)
    store.writer.submit(insert("lost")).result(10)
    corrupt_pages(store)
    store.writer.submit(insert("a")).result(10)
    assert store.values() == ["a"]
    assert len(store.file.set_aside) == 1
    assert store.troubles == []


def test_file_that_turns_corrupt_is_left_alone_without_retry(start: Start) -> None:
    store = start()
    store.writer.submit(insert("a")).result(10)
    corrupt_pages(store)
    with pytest.raises(sqlite3.DatabaseError):
        store.writer.submit(insert("b")).result(10)
    assert store.file.set_aside == []
    assert store.writer.trouble


def corrupt_pages(store: RecordedCommits) -> None:
    with closing(sqlite3.connect(store.file.path)) as other:
        other.execute("INSERT INTO rows VALUES ('other')")  # the writer's page cache becomes invalid
        other.commit()
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = store.file.path.stat().st_size
    with store.file.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


def test_close_commits_what_was_submitted(start: Start) -> None:
    store = start(gather_s=60.0, max_group=10)
    futures = [store.writer.submit(insert(str(number))) for number in range(25)]
    store.writer.close()
    assert all(future.done() for future in futures)
    assert store.values() == [str(number) for number in range(25)]


def test_submit_after_close_fails(start: Start) -> None:
    store = start()
    store.writer.close()
    store.writer.close()
    with pytest.raises(ClosedError, match="the store is closed"):
        store.writer.submit(insert("a")).result(10)


def test_close_while_the_disk_is_full_fails_the_caller(start: Start) -> None:
    store = start(retry_s=60.0)
    store.writer.submit(limit_pages(12)).result(10)
    waiting = store.writer.submit(insert(LARGE))
    wait_for(lambda: store.writer.trouble)
    store.writer.close()
    with pytest.raises(ClosedError, match="closed while the disk had trouble: database or disk is full"):
        waiting.result(10)


def test_start_with_trouble_reports_it_until_the_first_commit(tmp_path: Path) -> None:
    store = RecordedCommits(tmp_path / "store.sqlite3", retry_s=0.05)
    store.writer.start(trouble="read-only")
    assert store.writer.trouble == "read-only"
    store.writer.submit(insert("a")).result(10)
    store.writer.close()
    assert store.troubles == ["read-only", ""]
