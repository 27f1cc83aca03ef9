"""Keeps what the alarms decide, one transaction after the other, and never makes an alarm wait for long.

Whatever could not be kept is part of the next attempt; Kafka's position moves only with what was kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from cloud_ingest.alarms.acknowledgement import Acknowledgement
from cloud_ingest.alarms.coordinator import SERVICE_KEY, Ward
from cloud_ingest.alarms.repository import AlarmBook, Entry, Kept, Notification, Position, Told
from cloud_ingest.errors import DatabaseUnavailable
from cloud_ingest.privacy.identities import IdentitiesChanged
from vitals.message import Message

log = logging.getLogger(__name__)

T = TypeVar("T")
KEPT_WITHIN_S = 0.5
"""How long what is to be told waits for the database."""
_RECALLED_WITHIN_S = 5.0
_EVERY = timedelta(seconds=1)
_HANGS_AFTER = timedelta(seconds=5)
_REFRESH_EVERY = timedelta(seconds=60)
_SHOWN_EVERY = timedelta(seconds=5)


@dataclass(slots=True)
class _Unkept:
    """What happened since the last step that was kept."""

    notifications: list[Notification] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    applied: dict[UUID, list[str]] = field(default_factory=dict)

    def followed_by(self, later: _Unkept) -> _Unkept:
        """Both together."""
        return _Unkept(
            self.notifications + later.notifications, self.told + later.told, self.applied | later.applied
        )


class Keeper:
    """The ward's memory.

    Args:
        commit: told the positions that are kept.
        resume: given each notification that was decided before a crash and not told.

    Attributes:
        positions: up to where Kafka has been read and taken in.
    """

    def __init__(
        self,
        ward: Ward,
        book: AlarmBook,
        commit: Callable[[Mapping[Position, int]], None],
        resume: Callable[[Notification], None],
    ) -> None:
        self._ward, self._book, self._commit, self._resume = ward, book, commit, resume
        self.positions: dict[Position, int] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="alarm-book")
        self._unkept = _Unkept()
        self._keeping: asyncio.Task[None] | None = None
        self._recalled, self._names_due = False, True
        self._away_since: datetime | None = None
        self._refreshed = self._shown = self._kept_at = datetime.now(UTC)

    async def begin(self) -> None:
        """Take up what was kept; waits a little: who begins without it may tell people twice."""
        recalling = asyncio.create_task(self._recall())
        done, _ = await asyncio.wait({recalling}, timeout=_RECALLED_WITHIN_S)
        error = recalling.exception() if done else TimeoutError("PostgreSQL does not answer")
        if error is None:
            return
        if not isinstance(error, DatabaseUnavailable | TimeoutError):
            raise error
        log.warning("alarms begin without what was kept: %s", error)
        self._away_since = datetime.now(UTC)
        recalling.cancel()

    def away_since(self, now: datetime) -> datetime | None:
        """Since when the database has refused or, as a frozen one does, not answered; None while it works."""
        hangs = self._keeping is not None and now - self._kept_at >= _HANGS_AFTER
        return self._away_since or (self._kept_at if hangs else None)

    def told(self, notification: Notification) -> None:
        """A contact's service has taken a notification."""
        self._unkept.told.append(Told(notification, datetime.now(UTC)))

    async def keep(self, decided: Sequence[Notification], now: datetime) -> None:
        """Keep what changed where it is time to; what was decided is not held up for longer than a second."""
        self._remember(now)
        self._unkept.notifications += decided
        await self._wait(bool(decided))
        if self._keeping is None and self._is_due(bool(decided), now):
            self._kept_at = now
            self._keeping = asyncio.create_task(self._step(), name="keep alarms")
            await self._wait(bool(decided))

    async def end(self) -> None:
        """Keep the rest, as far as that is possible within a few seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RECALLED_WITHIN_S):
                if self._keeping is not None:
                    await self._keeping
                await self._step()

    def close(self) -> None:
        """Let go of the database."""
        self._worker.submit(self._book.close)
        self._worker.shutdown(wait=False)

    def _remember(self, now: datetime) -> None:
        """Have kept from time to time what is not worth a transaction of its own."""
        if now - self._refreshed >= _REFRESH_EVERY:
            self._ward.refresh(self._refreshed - _REFRESH_EVERY)
            self._refreshed, self._names_due = now, True
        if now - self._shown >= _SHOWN_EVERY:
            self._ward.changed.add(SERVICE_KEY)  # its time of change shows that this process lives
            self._shown = now

    async def _wait(self, urgent: bool) -> None:
        if self._keeping is None:
            return
        await asyncio.wait({self._keeping}, timeout=KEPT_WITHIN_S if urgent else 0.01)
        if self._keeping.done():
            self._keeping.result()
            self._keeping = None

    def _is_due(self, urgent: bool, now: datetime) -> bool:
        pressing = urgent or bool(self._unkept.applied) or bool(self._unkept.told)
        if pressing and self._recalled and not self._away_since:
            return True
        return not timedelta() <= now - self._kept_at < _EVERY

    async def _step(self) -> None:
        try:
            await self._recall()
            new, applied = await self._keep_under_current_pseudonyms()
        except DatabaseUnavailable as error:
            level = logging.DEBUG if self._away_since else logging.WARNING
            log.log(level, "alarms cannot be kept now, they go on from memory: %s", error)
            self._away_since = self._away_since or datetime.now(UTC)
            return
        if self._away_since:
            log.warning("PostgreSQL is there again: alarms are kept")
        self._away_since = None
        self._apply(made for made in new if made.acknowledgement_id not in applied)

    def _apply(self, new: Iterable[Acknowledgement]) -> None:
        for made in new:
            found = self._ward.acknowledge(made, datetime.now(UTC))
            self._unkept.applied[made.acknowledgement_id] = found
            log.info("acknowledged: %s", ", ".join(found) or "nothing was open that it means")

    async def _keep_under_current_pseudonyms(
        self,
    ) -> tuple[list[Acknowledgement], Mapping[UUID, Sequence[str]]]:
        while True:
            try:
                return await self._keep()
            except IdentitiesChanged as changed:
                self._ward.follow(changed.identities)
                log.info("children were erased, or have new pseudonyms")

    async def _keep(self) -> tuple[list[Acknowledgement], Mapping[UUID, Sequence[str]]]:
        changed, unkept, positions = self._ward.changed, self._unkept, self.positions
        self._ward.changed, self._unkept = set(), _Unkept()
        states = self._ward.states(changed)
        entry = Entry(
            states,
            changed - states.keys(),
            positions,
            unkept.notifications,
            unkept.told,
            unkept.applied,
            self._ward.patients(),
            self._ward.identities,
        )
        try:
            new = await self._in_book(partial(self._book.keep, entry))
        except (DatabaseUnavailable, IdentitiesChanged):
            self._ward.changed |= changed
            self._unkept = unkept.followed_by(self._unkept)
            raise
        self._commit(positions)
        return new, entry.applied

    async def _recall(self) -> None:
        """Take up where alarms were, once; and from time to time what children are called."""
        if self._names_due:
            self._ward.names = await self._in_book(self._book.names)
            self._names_due = False
        if not self._recalled:
            kept = await self._in_book(self._book.recall)
            self._ward.recall(kept.states)
            # before anything newer is heard, which nobody has seen; a pseudonym may have to be followed first
            self._apply(made for made in kept.new if made.condition or made.patient_id in self._ward.children)
            self.positions = {**kept.positions, **self.positions}
            self._recalled = True
            self._resume_waiting(kept)

    def _resume_waiting(self, kept: Kept) -> None:
        for identity, contact, patient_id, about, text in kept.waiting:
            name = self._ward.about(patient_id) if patient_id else about or ""
            self._resume(Notification(contact, Message.from_json(text, name), UUID(identity)))

    async def _in_book(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)
