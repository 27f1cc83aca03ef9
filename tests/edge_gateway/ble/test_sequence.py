"""Which records are fetched and which may be released, with gaps and restarts."""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from edge_gateway.ble.sequence import Sequence
from edge_gateway.outbox.device_queries import Progress
from vitals.gatt.bracelet import BraceletStatus, StatusFlag


def status(oldest: int, newest: int, boot: int = 7) -> BraceletStatus:
    return BraceletStatus(boot, StatusFlag.WORN, 80, 1000, oldest, newest)


def identity(seq: int) -> UUID:
    return UUID(int=seq)


def take(sequence: Sequence, *seqs: int, commit: bool = True) -> None:
    for seq in seqs:
        sequence.receive(seq, identity(seq))
        if commit:
            sequence.commit(seq, identity(seq))


def test_new_bracelet_is_fetched_from_its_oldest_record() -> None:
    sequence = Sequence.begin(status(10, 12), None)
    assert (sequence.must_fetch, sequence.fetch_from) == (True, 10)
    take(sequence, 10, 11, 12)
    sequence.report_complete()
    assert not sequence.must_fetch
    assert sequence.progress == Progress(7, 12, identity(12))


def test_empty_flash_needs_no_fetch_and_live_records_advance_the_progress() -> None:
    sequence = Sequence.begin(status(5, 4), None)
    assert not sequence.must_fetch
    take(sequence, 5, 6)
    assert not sequence.must_fetch
    assert sequence.progress == Progress(7, 6, identity(6))


def test_bracelet_that_has_measured_nothing_begins_with_record_0() -> None:
    sequence = Sequence.begin(status(1, 0), None)
    assert not sequence.must_fetch
    take(sequence, 1)
    assert (sequence.must_fetch, sequence.fetch_from) == (True, 0), "the first notification was lost"
    take(sequence, 0, 1)
    assert sequence.progress == Progress(7, 1, identity(1))


def test_nothing_is_released_before_it_is_durable() -> None:
    sequence = Sequence.begin(status(0, 2), None)
    take(sequence, 0, 1, 2, commit=False)
    assert sequence.progress is None
    sequence.commit(1, identity(1))
    assert sequence.progress is None
    sequence.commit(0, identity(0))
    assert sequence.progress == Progress(7, 1, identity(1))


def test_live_records_ahead_of_the_backlog_do_not_hide_it() -> None:
    sequence = Sequence.begin(status(0, 3), None)
    take(sequence, 4, 5)
    assert (sequence.must_fetch, sequence.fetch_from) == (True, 0)
    assert sequence.progress is None
    take(sequence, 0, 1, 2, 3)
    assert not sequence.must_fetch
    assert sequence.progress == Progress(7, 5, identity(5))


def test_lost_notification_is_fetched_when_the_next_one_shows_the_gap() -> None:
    sequence = Sequence.begin(status(5, 4), None)
    take(sequence, 5, 8)
    assert (sequence.must_fetch, sequence.fetch_from) == (True, 6)
    take(sequence, 6, 7, 8)
    sequence.report_complete()
    assert not sequence.must_fetch
    assert sequence.missing == 0


def test_restarted_gateway_fetches_from_the_last_committed_record_on() -> None:
    sequence = Sequence.begin(status(40, 60), Progress(7, 50, identity(50)))
    assert sequence.fetch_from == 50
    assert sequence.progress is None, "not before the last committed record is verified"
    take(sequence, *range(50, 61))
    sequence.report_complete()
    assert sequence.progress == Progress(7, 60, identity(60))
    assert sequence.missing == 0


def test_bracelet_that_restarts_its_numbering_is_fetched_completely() -> None:
    sequence = Sequence.begin(status(0, 60), Progress(7, 50, UUID(int=999)))
    take(sequence, *range(50, 61))
    sequence.report_complete()
    assert (sequence.must_fetch, sequence.fetch_from) == (True, 0)
    take(sequence, *range(61))
    sequence.report_complete()
    assert not sequence.must_fetch
    assert sequence.progress == Progress(7, 60, identity(60))


def test_bracelet_with_fewer_records_than_were_committed_is_fetched_completely() -> None:
    sequence = Sequence.begin(status(0, 3), Progress(7, 50, identity(50)))
    assert (sequence.must_fetch, sequence.fetch_from) == (True, 0)


def test_restarted_bracelet_is_fetched_completely() -> None:
    sequence = Sequence.begin(status(0, 3, boot=8), Progress(7, 50, identity(50)))
    assert (sequence.must_fetch, sequence.fetch_from) == (True, 0)


def test_records_overwritten_in_the_ring_buffer_are_counted_as_missing() -> None:
    sequence = Sequence.begin(status(100, 120), Progress(7, 50, identity(50)))
    assert (sequence.fetch_from, sequence.missing) == (100, 49)


def test_record_missing_from_two_reports_is_lost_and_releases_continue() -> None:
    sequence = Sequence.begin(status(0, 4), None)
    for _ in range(2):
        assert sequence.must_fetch
        take(sequence, 0, 1, 3, 4)
        sequence.report_complete()
    assert not sequence.must_fetch
    assert sequence.missing == 1
    assert sequence.progress == Progress(7, 4, identity(4))


def test_huge_sequence_number_neither_blocks_nor_loses_later_records() -> None:
    sequence = Sequence.begin(status(0, -1 + 1), None)
    take(sequence, 0, 2**32 - 1)
    for _ in range(2):
        sequence.report_complete()
    assert not sequence.must_fetch
    take(sequence, 1)
    assert not sequence.must_fetch


@pytest.mark.parametrize("seed", range(50))
def test_any_order_of_loss_commit_and_repetition_ends_complete(seed: int) -> None:
    chance = random.Random(seed)
    sequence = Sequence.begin(status(3, 40), None)
    uncommitted: list[int] = []
    durable: set[int] = set()
    rounds = 0
    while sequence.must_fetch:
        first = sequence.fetch_from
        # each report loses some notifications, but never the first, so every round makes progress
        for seq in range(first, 41):
            if seq == first or chance.random() < 0.7:
                sequence.receive(seq, identity(seq))
                uncommitted.append(seq)
            if uncommitted and chance.random() < 0.5:
                done = uncommitted.pop(0)
                durable.add(done)
                sequence.commit(done, identity(done))
            if progress := sequence.progress:
                assert set(range(3, progress.seq + 1)) <= durable
        sequence.report_complete()
        rounds += 1
        assert rounds < 50
    for done in uncommitted:
        sequence.commit(done, identity(done))
    assert sequence.missing == 0
    assert sequence.progress == Progress(7, 40, identity(40))
