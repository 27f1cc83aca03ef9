"""Sessions with a bracelet in memory that loses notifications, sends malformed data or stays silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from edge_gateway.ble import clock_sync, record_access
from edge_gateway.ble import session as module
from edge_gateway.ble.assignment import DeviceAssignment
from edge_gateway.ble.peripheral import OnData
from edge_gateway.ble.session import BraceletSession
from edge_gateway.errors import LinkLost, OutboxUnavailable, RequestRefused
from edge_gateway.inbox import DeadLetter, Inbox, InboxItem
from edge_gateway.outbox.device_queries import ClockEra, Progress
from edge_gateway.state import GatewayState
from tests.waiting import eventually
from vitals.absence import Absence
from vitals.gatt.bracelet import (
    LIVE_RECORD,
    RECORD_ACCESS,
    STATUS,
    STORED_RECORD,
    BraceletRecord,
    BraceletStatus,
    RecordFlag,
    StatusFlag,
)
from vitals.gatt.current_time import CURRENT_TIME, CurrentTime
from vitals.gatt.record_access import OpCode, Request, Response, ResponseCode
from vitals.reading import Measurements, Reading

BOOT, NOW_MS = 3, 1_756_031_400_000


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RELEASE_EVERY_S", 0.02)


def a_record(seq: int, spo2: float | None = 97.0, boot: int = BOOT) -> bytes:
    values = Measurements(spo2_pct=spo2) if spo2 is not None else None
    return bytes(BraceletRecord(seq, boot, NOW_MS + 1000 * seq, RecordFlag.CLOCK_SET, values))


@dataclass
class FakeBracelet:
    """A bracelet in memory.

    Attributes:
        drops: stored records whose first notification is lost.
        ahead_ms: how far its clock is ahead of the true time; None if it is unset and counts from
            `started_ms`.
    """

    flash: dict[int, bytes] = field(default_factory=dict)
    drops: set[int] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)
    answers: bool = True
    outcome: ResponseCode = ResponseCode.SUCCESS
    boot: int = BOOT
    listeners: dict[str, OnData] = field(default_factory=dict)
    status_bytes: bytes | None = None
    ahead_ms: int | None = 0
    started_ms: int = 0
    settable: bool = True
    services: frozenset[str] = frozenset()

    def clock_ms(self) -> int:
        now = time.time_ns() // 1_000_000
        return now - self.started_ms if self.ahead_ms is None else now + self.ahead_ms

    def status(self) -> bytes:
        oldest, newest = (min(self.flash), max(self.flash)) if self.flash else (1, 0)
        flags = StatusFlag(0) if self.ahead_ms is None else StatusFlag.CLOCK_SET
        return bytes(BraceletStatus(self.boot, flags, 70, self.clock_ms(), oldest, newest))

    async def read(self, uuid: str) -> bytes:
        assert uuid == STATUS
        return self.status_bytes if self.status_bytes is not None else self.status()

    async def subscribe(self, uuid: str, on_data: OnData) -> None:
        self.listeners[uuid] = on_data

    async def write(self, uuid: str, data: bytes) -> None:
        if uuid == CURRENT_TIME:
            if not self.settable:
                raise RequestRefused("no such characteristic")
            shown = CurrentTime.from_bytes(data).moment()
            assert shown is not None
            self.ahead_ms = round(shown.timestamp() * 1000) - time.time_ns() // 1_000_000
            return
        assert uuid == RECORD_ACCESS
        request = Request.from_bytes(data)
        self.requests.append(request)
        if self.answers:
            asyncio.get_running_loop().call_soon(self._execute, request)

    def _execute(self, request: Request) -> None:
        seq = request.seq or 0
        if request.op_code is OpCode.REPORT:
            for number in sorted(n for n in self.flash if n >= seq):
                if number in self.drops:
                    self.drops.remove(number)
                else:
                    self.listeners[STORED_RECORD](self.flash[number])
        else:
            self.flash = {number: raw for number, raw in self.flash.items() if number > seq}
        self.listeners[RECORD_ACCESS](bytes(Response(request.op_code, self.outcome)))

    def measure(self, seq: int, *, notified: bool = True, spo2: float | None = 97.0) -> None:
        self.flash[seq] = a_record(seq, spo2)
        if notified and LIVE_RECORD in self.listeners:
            self.listeners[LIVE_RECORD](self.flash[seq])


class FakeProgressStore:
    """Stores progress and clock eras in memory."""

    def __init__(self, known: Progress | None = None) -> None:
        self.known = known
        self.saved_eras: list[ClockEra] = []

    async def clock_eras(self, _device_id: str) -> tuple[ClockEra, ...]:
        return tuple(self.saved_eras)

    async def add_clock_era(self, _device_id: str, era: ClockEra) -> None:
        self.saved_eras.append(era)

    async def progress(self, _device_id: str) -> Progress | None:
        return self.known

    async def save_progress(self, _device_id: str, progress: Progress) -> None:
        self.known = progress


class SessionHarness:
    """A running session and the items it put into its inbox."""

    def __init__(
        self, bracelet: FakeBracelet, store: FakeProgressStore | None = None, *, confirm: bool = True
    ) -> None:
        self.bracelet, self.store, self.confirm = bracelet, store or FakeProgressStore(), confirm
        self.inbox, self.state = Inbox(), GatewayState("gw")
        self.arrivals: list[InboxItem] = []
        self.completed = self.data_count = 0
        self.session = BraceletSession(
            DeviceAssignment("ble-001", "patient-1"),
            bracelet,
            self.store,
            self.inbox,
            self.state,
            on_data=self._count_data,
            on_complete=self._complete,
        )
        self.task: asyncio.Task[None]

    def _count_data(self) -> None:
        self.data_count += 1

    def _complete(self) -> None:
        self.completed += 1

    async def _commit(self) -> None:
        while True:
            (arrival,) = await self.inbox.take(1)
            self.arrivals.append(arrival)
            if self.confirm:
                arrival.confirm()

    @asynccontextmanager
    async def running_session(self) -> AsyncIterator[None]:
        self.task = asyncio.create_task(self.session.run())
        committer = asyncio.create_task(self._commit())
        try:
            yield
        finally:
            self.task.cancel()
            committer.cancel()
            await asyncio.gather(self.task, committer, return_exceptions=True)

    @property
    def seqs(self) -> list[int | None]:
        return [
            each.content.seq
            for each in self.arrivals
            if isinstance(each.content, Reading) and not each.duplicate
        ]


async def test_session_fetches_flash_then_receives_live_records_and_releases_them() -> None:
    bracelet = FakeBracelet()
    for seq in range(5):
        bracelet.measure(seq)
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: harness.completed)
        bracelet.measure(5, spo2=80.0)
        await eventually(lambda: not bracelet.flash)
    assert harness.seqs == [0, 1, 2, 3, 4, 5]
    assert bracelet.requests[0] == Request.report_from(0)
    assert harness.store.known is not None
    assert (harness.store.known.boot, harness.store.known.seq) == (BOOT, 5)
    first = harness.arrivals[0].content
    assert isinstance(first, Reading)
    assert (first.patient_id, first.device_id, first.late) == ("patient-1", "ble-001", True)


async def test_session_releases_nothing_that_is_not_durable() -> None:
    bracelet = FakeBracelet({seq: a_record(seq) for seq in range(3)})
    harness = SessionHarness(bracelet, confirm=False)
    async with harness.running_session():
        await eventually(lambda: len(harness.arrivals) == 3)
        await asyncio.sleep(0.1)
        assert len(bracelet.flash) == 3
        for arrival in harness.arrivals:
            arrival.confirm()
        await eventually(lambda: not bracelet.flash)
    assert bracelet.requests == [Request.report_from(0), Request.release_up_to(2)]


async def test_session_fetches_a_lost_live_record_when_the_next_one_comes() -> None:
    bracelet = FakeBracelet()
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: RECORD_ACCESS in bracelet.listeners)
        bracelet.measure(0, notified=False)
        bracelet.measure(1)
        await eventually(lambda: not bracelet.flash)
    assert sorted(harness.seqs) == [0, 1]  # type: ignore[type-var]


async def test_session_reads_the_status_of_a_quiet_bracelet_and_fetches_its_last_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_QUIET_S", 0.05)
    bracelet = FakeBracelet()
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: harness.completed)
        bracelet.measure(0)
        bracelet.measure(1, notified=False)  # and nothing after it
        await eventually(lambda: harness.seqs == [0, 1])
        await eventually(lambda: not bracelet.flash)


async def test_status_reveals_a_record_whose_notification_was_lost() -> None:
    bracelet = FakeBracelet()
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: harness.completed)
        bracelet.measure(0, notified=False)
        bracelet.listeners[STATUS](bracelet.status())
        await eventually(lambda: harness.seqs == [0])


async def test_session_fetches_stored_records_with_lost_notifications_again() -> None:
    bracelet = FakeBracelet({seq: a_record(seq) for seq in range(20)}, drops={3, 4, 11, 19})
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: not bracelet.flash)
    assert sorted(harness.seqs) == list(range(20))  # type: ignore[type-var]
    assert harness.state.counters.records_missing == 0
    assert [request.seq for request in bracelet.requests if request.op_code is OpCode.REPORT] == [0, 3]


async def test_session_marks_a_repeated_record_as_repeated() -> None:
    bracelet = FakeBracelet({0: a_record(0), 1: a_record(1)}, drops={0})
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: not bracelet.flash)
    assert sorted(harness.seqs) == [0, 1]  # type: ignore[type-var]
    assert [each.duplicate for each in harness.arrivals] == [False, False, True]


async def test_record_without_values_is_counted_and_released() -> None:
    bracelet = FakeBracelet({0: a_record(0, None), 1: a_record(1)})
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: not bracelet.flash)
    assert harness.seqs == [1]
    assert harness.state.counters.no_value == {"not_given": 1}


async def test_malformed_record_becomes_a_dead_letter_and_later_records_arrive() -> None:
    bad = bytearray(a_record(1))
    bad[10] = 0xF0  # unknown flags
    bracelet = FakeBracelet({0: a_record(0), 1: bytes(bad), 2: a_record(2)})
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: not bracelet.flash)
    letters = {
        each.content.error_id: each.content
        for each in harness.arrivals
        if isinstance(each.content, DeadLetter)
    }
    (letter,) = letters.values()
    assert letter.original == bytes(bad)
    assert "unknown flags" in letter.reason
    assert harness.seqs == [0, 2]
    assert harness.state.counters.records_missing == 1


async def test_records_of_an_earlier_restart_are_fetched_and_released() -> None:
    bracelet = FakeBracelet({0: a_record(0, boot=2), 1: a_record(1, boot=2), 2: a_record(2)})
    harness = SessionHarness(bracelet, FakeProgressStore(Progress(2, 0, uuid4())))
    async with harness.running_session():
        await eventually(lambda: not bracelet.flash)
    assert harness.seqs == [0, 1, 2]
    assert harness.state.counters.records_missing == 0


async def test_malformed_status_ends_the_link_and_becomes_a_dead_letter() -> None:
    harness = SessionHarness(FakeBracelet(status_bytes=b"\x00\x01"))
    async with harness.running_session():
        with pytest.raises(LinkLost, match="status"):
            await harness.task
        await eventually(lambda: harness.arrivals)
    assert isinstance(harness.arrivals[0].content, DeadLetter)


async def test_bracelet_that_does_not_answer_a_request_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_access, "_ANSWER_S", 0.2)
    harness = SessionHarness(FakeBracelet({0: a_record(0)}, answers=False))
    async with harness.running_session():
        with pytest.raises(LinkLost, match="no answer to REPORT"):
            await harness.task


async def test_bracelet_that_cannot_report_is_lost() -> None:
    harness = SessionHarness(FakeBracelet({0: a_record(0)}, outcome=ResponseCode.NOT_COMPLETED))
    async with harness.running_session():
        with pytest.raises(LinkLost, match="NOT_COMPLETED"):
            await harness.task


async def test_each_session_subscribes_to_every_characteristic() -> None:
    bracelet = FakeBracelet()
    for _ in range(2):
        bracelet.listeners.clear()
        harness = SessionHarness(bracelet)
        async with harness.running_session():
            await eventually(lambda: len(bracelet.listeners) == 4)


DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS


def stamped(seq: int, device_ms: int, *, is_set: bool = True) -> bytes:
    flags = RecordFlag.CLOCK_SET if is_set else RecordFlag(0)
    return bytes(BraceletRecord(seq, BOOT, device_ms, flags, Measurements(spo2_pct=97.0)))


def ages_s(harness: SessionHarness) -> dict[int | None, float]:
    """Return how long ago each reading was measured, by its sequence number."""
    now = datetime.now(UTC)
    readings = [each.content for each in harness.arrivals if isinstance(each.content, Reading)]
    return {reading.seq: (now - reading.timestamp).total_seconds() for reading in readings}


@pytest.mark.parametrize(("ahead_ms", "words"), [(-YEAR_MS, "365 days behind"), (YEAR_MS, "365 days ahead")])
async def test_clock_a_year_off_is_set_and_its_records_are_dated(ahead_ms: int, words: str) -> None:
    bracelet = FakeBracelet(ahead_ms=ahead_ms)
    bracelet.flash = {seq: stamped(seq, bracelet.clock_ms() - 1000 * (60 - seq)) for seq in (29, 30)}
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: len(harness.arrivals) == 2)
        assert bracelet.ahead_ms is not None
        assert abs(bracelet.ahead_ms) < 100
        bracelet.listeners[LIVE_RECORD](stamped(31, bracelet.clock_ms()))
        await eventually(lambda: len(harness.arrivals) == 3)
    assert {seq: round(age) for seq, age in ages_s(harness).items()} == {29: 31, 30: 30, 31: 0}
    assert harness.state.links["ble-001"].notice == f"its clock was {words}: it is set now"
    device_times = [
        each.content.device_time for each in harness.arrivals if isinstance(each.content, Reading)
    ]
    assert device_times[0] is not None
    assert round((datetime.now(UTC) - device_times[0]).total_seconds() - 31) == -ahead_ms // 1000


async def test_clock_never_set_dates_by_the_restart_and_is_set() -> None:
    started = time.time_ns() // 1_000_000 - 100_000
    bracelet = FakeBracelet({0: stamped(0, 40_000, is_set=False)}, ahead_ms=None, started_ms=started)
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: harness.arrivals)
    assert round(ages_s(harness)[0]) == 60
    assert bracelet.ahead_ms is not None
    assert harness.state.links["ble-001"].notice == "its clock was not set: it is set now"


async def test_era_is_kept_after_the_link_that_set_the_clock() -> None:
    """The clock is set, then the link is lost before any record is fetched."""
    bracelet = FakeBracelet(ahead_ms=-YEAR_MS, answers=False)
    bracelet.flash = {0: stamped(0, bracelet.clock_ms() - 60_000)}
    store = FakeProgressStore()
    first = SessionHarness(bracelet, store)
    async with first.running_session():
        await eventually(lambda: bracelet.requests)
    bracelet.answers = True
    second = SessionHarness(bracelet, store)
    async with second.running_session():
        await eventually(lambda: second.arrivals)
    assert round(ages_s(second)[0]) == 60


async def test_clock_that_cannot_be_set_is_corrected_and_tried_once() -> None:
    bracelet = FakeBracelet(ahead_ms=-YEAR_MS, settable=False)
    bracelet.flash = {0: stamped(0, bracelet.clock_ms() - 60_000)}
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: harness.arrivals)
        bracelet.listeners[LIVE_RECORD](stamped(1, bracelet.clock_ms()))
        await eventually(lambda: len(harness.arrivals) == 2)
    assert {seq: round(age) for seq, age in ages_s(harness).items()} == {0: 60, 1: 0}
    notice = harness.state.links["ble-001"].notice
    assert notice == "its clock was 365 days behind: it cannot be set, times are corrected"
    assert len(harness.store.saved_eras) == 1


async def test_clock_is_left_while_the_gateways_own_is_not_synchronised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock_sync, "is_synchronised", lambda: False)
    bracelet = FakeBracelet(ahead_ms=YEAR_MS)
    bracelet.flash = {0: stamped(0, bracelet.clock_ms() - 60_000)}
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: harness.arrivals)
    assert bracelet.ahead_ms == YEAR_MS
    assert harness.store.saved_eras == []
    assert {seq: round(age) for seq, age in ages_s(harness).items()} == {0: 60}
    assert harness.state.links["ble-001"].notice == (
        "its clock is 365 days ahead of the gateway's and is left so, times are corrected:"
        " this gateway's own clock is not synchronised"
    )


@pytest.mark.parametrize(("synchronised", "ahead_ms"), [(False, None), (None, YEAR_MS)])
async def test_clock_is_set_if_unset_or_if_the_gateways_synchronisation_is_unknown(
    monkeypatch: pytest.MonkeyPatch, synchronised: bool | None, ahead_ms: int | None
) -> None:
    monkeypatch.setattr(clock_sync, "is_synchronised", lambda: synchronised)
    bracelet = FakeBracelet(ahead_ms=ahead_ms, started_ms=time.time_ns() // 1_000_000 - 60_000)
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: bracelet.ahead_ms is not None and abs(bracelet.ahead_ms) < 100)


async def test_failing_disk_leaves_the_clock_and_keeps_the_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(*_: object) -> None:
        raise OutboxUnavailable("the disk takes nothing at the moment")

    bracelet = FakeBracelet(ahead_ms=YEAR_MS)
    bracelet.flash = {0: stamped(0, bracelet.clock_ms() - 60_000)}
    harness = SessionHarness(bracelet)
    monkeypatch.setattr(harness.store, "add_clock_era", refuse)
    monkeypatch.setattr(harness.store, "save_progress", refuse)
    async with harness.running_session():
        await eventually(lambda: harness.arrivals)
        harness.arrivals[0].confirm()
        bracelet.listeners[LIVE_RECORD](stamped(1, bracelet.clock_ms()))
        await eventually(lambda: len(harness.arrivals) == 2)
    assert bracelet.ahead_ms == YEAR_MS
    assert {seq: round(age) for seq, age in ages_s(harness).items()} == {0: 60, 1: 0}
    assert harness.state.links["ble-001"].notice.endswith("this cannot be noted on the disk now")


async def test_clock_that_jumps_during_a_connection_is_set_again() -> None:
    bracelet = FakeBracelet()
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: LIVE_RECORD in bracelet.listeners)
        bracelet.ahead_ms = YEAR_MS
        bracelet.listeners[LIVE_RECORD](stamped(0, bracelet.clock_ms()))
        await eventually(lambda: bracelet.ahead_ms is not None and abs(bracelet.ahead_ms) < 100)
        bracelet.listeners[LIVE_RECORD](stamped(1, bracelet.clock_ms()))
        await eventually(lambda: len(harness.arrivals) == 2)
    assert {seq: round(age) for seq, age in ages_s(harness).items()} == {0: 0, 1: 0}
    assert harness.state.links["ble-001"].notice == "its clock was 365 days ahead: it is set now"


async def test_restart_during_a_connection_starts_a_new_sequence_and_loses_nothing() -> None:
    bracelet = FakeBracelet({seq: a_record(seq) for seq in range(5)})
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: not bracelet.flash)
        bracelet.boot, bracelet.flash = BOOT + 1, {}
        for seq in range(3):
            bracelet.flash[seq] = a_record(seq, 95.0 - seq, boot=BOOT + 1)
            bracelet.listeners[LIVE_RECORD](bracelet.flash[seq])
        await eventually(lambda: not bracelet.flash)
    fresh = {each.content.message_id for each in harness.arrivals if not each.duplicate}  # type: ignore[union-attr]
    assert len(fresh) == 8
    assert harness.state.counters.records_missing == 0
    assert harness.state.links["ble-001"].notice == "it restarted"
    assert harness.store.known is not None
    assert (harness.store.known.boot, harness.store.known.seq) == (BOOT + 1, 2)


async def test_restart_seen_only_in_the_status_starts_a_new_sequence() -> None:
    bracelet = FakeBracelet({seq: a_record(seq) for seq in range(5)})
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: not bracelet.flash)
        bracelet.boot = BOOT + 1
        bracelet.flash = {seq: a_record(seq, boot=BOOT + 1) for seq in range(3)}
        bracelet.listeners[STATUS](bracelet.status())
        await eventually(lambda: not bracelet.flash)
    assert len(harness.seqs) == 8
    assert harness.state.counters.records_missing == 0


async def test_late_confirmation_from_before_a_restart_releases_nothing() -> None:
    """After the restart its numbers belong to other records, which are not durable."""
    bracelet = FakeBracelet()
    harness = SessionHarness(bracelet, confirm=False)
    async with harness.running_session():
        await eventually(lambda: harness.completed == 1)
        for seq in range(3):
            bracelet.measure(seq)
        await eventually(lambda: len(harness.arrivals) == 3)
        bracelet.boot, bracelet.flash = BOOT + 1, {}
        for seq in range(3):
            bracelet.flash[seq] = a_record(seq, boot=BOOT + 1)
            bracelet.listeners[LIVE_RECORD](bracelet.flash[seq])
        await eventually(lambda: harness.completed >= 2 and len(harness.seqs) == 6)
        for arrival in harness.arrivals[:3]:
            arrival.confirm()
        await asyncio.sleep(0.1)
        assert sorted(bracelet.flash) == [0, 1, 2]
        for arrival in harness.arrivals[3:]:
            arrival.confirm()
        await eventually(lambda: not bracelet.flash)


async def test_restart_while_its_records_are_fetched_is_no_loss() -> None:
    bracelet = FakeBracelet({seq: a_record(seq) for seq in range(5)}, answers=False)
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: bracelet.requests)
        bracelet.boot = BOOT + 1
        bracelet.measure(5)
        bracelet.flash[5] = a_record(5, boot=BOOT + 1)
        bracelet.listeners[LIVE_RECORD](bracelet.flash[5])
        bracelet.answers = True
        bracelet.listeners[RECORD_ACCESS](bytes(Response(OpCode.REPORT, ResponseCode.NO_RECORDS)))
        await eventually(lambda: not bracelet.flash)
    assert harness.state.counters.records_missing == 0


async def test_malformed_data_does_not_count_as_data() -> None:
    bracelet = FakeBracelet()
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: LIVE_RECORD in bracelet.listeners)
        for _ in range(3):
            bracelet.listeners[LIVE_RECORD](b"\x01\x02")
        assert harness.session.consecutive_malformed == 3
        assert harness.data_count == 0
        bracelet.listeners[LIVE_RECORD](a_record(0))
        assert harness.session.consecutive_malformed == 0
        assert harness.data_count == 1
    notice = harness.state.links["ble-001"].notice
    assert notice == "what it sent could not be understood, 3 times: 20 bytes expected, 2 found"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (RecordFlag.NO_CONTACT | RecordFlag.MOTION, Absence.NOT_WORN),
        (RecordFlag.MOTION, Absence.MOTION),
        (RecordFlag.LOW_PERFUSION, Absence.LOW_PERFUSION),
        (RecordFlag(0), Absence.NOT_GIVEN),
    ],
)
async def test_reason_for_a_missing_value_is_shown_until_there_is_one(
    flags: RecordFlag, reason: Absence
) -> None:
    bracelet = FakeBracelet()
    harness = SessionHarness(bracelet)
    async with harness.running_session():
        await eventually(lambda: LIVE_RECORD in bracelet.listeners)
        nothing = BraceletRecord(0, BOOT, NOW_MS, flags | RecordFlag.CLOCK_SET, None)
        bracelet.listeners[LIVE_RECORD](bytes(nothing))
        assert harness.state.links["ble-001"].absence is reason
        assert harness.state.counters.no_value == {reason.value: 1}
        bracelet.listeners[LIVE_RECORD](a_record(1))
        assert harness.state.links["ble-001"].absence is None
