"""The alarms process: Kafka in, people told, PostgreSQL the memory. Wiring and one loop.

A turn: hear, decide, keep, tell. What was decided is told once it is kept, or after half a second: a database
that is slow or away holds no alarm up. Then the process goes on from its own memory, says that the database
is away, and keeps everything as soon as it can; only then does Kafka's position move. A notification that was
kept and not told before a crash is told after it; one that was told is not told again, unless the crash came
within the quarter of a second it takes to write that down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import TypeVar
from uuid import UUID

from cloud_ingest.acknowledgement import Acknowledgement
from cloud_ingest.alarm_book import AlarmBook, Entry, Kept, Notification, Position, Told
from cloud_ingest.alarm_feed import Feed, Heard, Observation
from cloud_ingest.contacts import Contact, load_contacts
from cloud_ingest.errors import DatabaseAway
from cloud_ingest.kafka_watch import KafkaProbe
from cloud_ingest.probes import Probe
from cloud_ingest.publisher import Publisher
from cloud_ingest.record import Record, utc_text
from cloud_ingest.settings import Settings
from cloud_ingest.ward import SERVICE_KEY, Ward
from vitals.conditions import Condition, ConditionKind, Priority
from vitals.desk import Desk
from vitals.message import Message
from vitals.topics import ALERTS

log = logging.getLogger(__name__)

T = TypeVar("T")
TICK = timedelta(seconds=1)
KEPT_WITHIN_S = 0.5
"""How long what is to be told waits for the database."""
_RECALLED_WITHIN_S = 5.0
_AGAIN_AFTER = timedelta(seconds=1)
_REFRESH_EVERY = timedelta(seconds=60)
_SHOWN_EVERY = timedelta(seconds=5)
_HANGS_AFTER = timedelta(seconds=5)
_FAILS_AFTER_S = 60.0
_AWAY_AFTER = ((timedelta(minutes=10), Priority.HIGH), (timedelta(minutes=2), Priority.MEDIUM))


@dataclass(slots=True)
class Tally:
    """What desks count."""

    notified: int = 0
    notifier_failures: int = 0
    alerts_not_notified: int = 0


@dataclass(slots=True)
class Unkept:
    """What changed since the last step that was kept."""

    notifications: list[Notification] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    applied: dict[UUID, list[str]] = field(default_factory=dict)

    def followed_by(self, later: Unkept) -> Unkept:
        """Both together."""
        return Unkept(
            self.notifications + later.notifications, self.told + later.told, self.applied | later.applied
        )


class Alarms:
    """The process.

    Args:
        stop: set from outside to end it after the turn in hand.
    """

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings, self._stop = settings, stop
        self._contacts = load_contacts(settings.alarm_contacts_file)
        self._ward = Ward(_now())
        self._book = AlarmBook(settings)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="alarm-book")
        self._desks: dict[str, Desk[Notification]] = {}
        self._unkept = Unkept()
        self._positions: dict[Position, int] = {}
        self._kept_positions: dict[Position, int] = {}
        self._keeping: asyncio.Task[None] | None = None
        self._recording: asyncio.Task[None] | None = None
        self._recalled, self._names_due = False, True
        self._away_since: datetime | None = None
        self._ticked = self._refreshed = self._shown = self._kept_at = _now()

    async def run(self) -> None:
        """Run until told to stop.

        Raises:
            TakenOver: another alarms process has taken this one's place.
        """
        if not self._contacts:
            log.warning("no ALARM_CONTACTS_FILE: alarms are judged and kept, and nobody is told")
        else:
            await asyncio.to_thread(import_module, "apprise")  # takes a second: not at the first alarm
        tally = Tally()
        self._desks = {
            each.name: Desk(each.name, partial(self._tell, each), tally) for each in self._contacts
        }
        await self._begin_keeping()
        publisher = Publisher(self._settings.kafka)
        kafka = Probe("Kafka", KafkaProbe(self._settings.kafka))
        kafka.start()
        feed = Feed(self._settings, self._positions)
        desks = [
            asyncio.create_task(desk.run(), name=f"contact {name}") for name, desk in self._desks.items()
        ]
        try:
            while not self._stop.is_set():
                await self._turn(feed, publisher, kafka)
            await self._keep_last(feed)
        finally:
            for task in desks:
                task.cancel()
            await asyncio.gather(*desks, return_exceptions=True)
            for close in (feed.close, kafka.stop, publisher.close):
                await asyncio.to_thread(close)
            self._worker.submit(self._book.close)
            self._worker.shutdown(wait=False)

    async def _turn(self, feed: Feed, publisher: Publisher, kafka: Probe) -> None:
        for heard in await asyncio.to_thread(feed.read):
            self._hear(heard)
        self._positions = dict(feed.positions)
        now = _now()
        if now - self._ticked >= TICK or now < self._ticked:
            self._ticked = now
            self._ward.hearing.note(kafka.up, now)
            self._ward.tick(now, self._conditions(now))
            self._remember(now)
            if self._recording is None or self._recording.done():
                self._recording = asyncio.create_task(self._record_silences(publisher, now))
        await self._keep_and_tell(feed, now)

    def _hear(self, heard: Heard) -> None:
        try:
            if isinstance(heard, Observation):
                self._ward.observe(heard.reading, heard.alerts, _now())
            else:
                self._ward.hear(heard.heartbeat, heard.heard, _now())
        except Exception:
            log.exception("a message was passed over")

    def _remember(self, now: datetime) -> None:
        """Have kept from time to time what is not worth a transaction of its own."""
        if now - self._refreshed >= _REFRESH_EVERY:
            self._ward.refresh(self._refreshed - _REFRESH_EVERY)
            self._refreshed, self._names_due = now, True
        if now - self._shown >= _SHOWN_EVERY:
            self._ward.changed.add(SERVICE_KEY)  # its time of change shows that this process lives
            self._shown = now

    def _conditions(self, now: datetime) -> Iterator[Condition]:
        away = {
            ConditionKind.KAFKA_DOWN: self._ward.hearing.deaf_since,
            ConditionKind.DATABASE_DOWN: self._database_away_since(now),
        }
        for kind, since in away.items():
            for after, priority in _AWAY_AFTER:
                if since and now - since >= after:
                    yield Condition(kind, priority)
                    break
        for desk in self._desks.values():
            if desk.failing_s >= _FAILS_AFTER_S:
                yield Condition(ConditionKind.NOTIFIER_FAILING, Priority.HIGH, desk.name)

    def _database_away_since(self, now: datetime) -> datetime | None:
        """Since when it has refused or, as a frozen one does, not answered; None while it works."""
        hangs = self._keeping is not None and now - self._kept_at >= _HANGS_AFTER
        return self._away_since or (self._kept_at if hangs else None)

    async def _record_silences(self, publisher: Publisher, now: datetime) -> None:
        """Put the silence of gateways on the alerts topic; what Kafka does not take now is tried again."""
        for gateway_id, alerts in self._ward.silences(now).items():
            extra = {"gateway_id": gateway_id, "ingestion_timestamp": utc_text(now)}
            records = [
                Record.of(ALERTS, alert.patient_id, alert.model_dump(mode="json") | extra) for alert in alerts
            ]
            status_id = self._ward.gateways[gateway_id].heartbeat.status_id
            ticket = publisher.send(records)
            await ticket.done
            if not ticket.missing():
                self._ward.announced(gateway_id, status_id)

    # --- keeping and telling -------------------------------------------------------------------------------

    async def _keep_and_tell(self, feed: Feed, now: datetime) -> None:
        fresh = [
            Notification(contact.name, said)
            for said in self._ward.said
            for contact in self._contacts
            if contact.wants(said)
        ]
        self._ward.said.clear()
        self._unkept.notifications += fresh
        await self._wait_for_keeping(bool(fresh))
        if self._keeping is None and self._keep_is_due(bool(fresh), now):
            self._kept_at = now
            self._keeping = asyncio.create_task(self._keep(feed), name="keep")
            await self._wait_for_keeping(bool(fresh))
        for notification in fresh:
            self._desks[notification.contact].add(notification)

    async def _wait_for_keeping(self, urgent: bool) -> None:
        if self._keeping is None:
            return
        await asyncio.wait({self._keeping}, timeout=KEPT_WITHIN_S if urgent else 0.01)
        if self._keeping.done():
            self._keeping.result()
            self._keeping = None

    def _keep_is_due(self, urgent: bool, now: datetime) -> bool:
        if self._away_since or not self._recalled:
            return not timedelta() <= now - self._kept_at < _AGAIN_AFTER
        pressing = urgent or bool(self._unkept.applied) or bool(self._unkept.told)
        return pressing or not timedelta() <= now - self._kept_at < TICK

    async def _keep(self, feed: Feed) -> None:
        """Keep what changed, and take up acknowledgements."""
        try:
            await self._recall()
            new, applied = await self._step()
        except DatabaseAway as error:
            level = logging.DEBUG if self._away_since else logging.WARNING
            log.log(level, "alarms cannot be kept now, they go on from memory: %s", error)
            self._away_since = self._away_since or _now()
            return
        if self._away_since:
            log.warning("PostgreSQL is there again: alarms are kept")
        self._away_since = None
        feed.commit(self._kept_positions)
        for made in new:
            if made.acknowledgement_id not in applied:
                found = self._ward.acknowledge(made, _now())
                self._unkept.applied[made.acknowledgement_id] = found
                log.info("acknowledged: %s", ", ".join(found) or "nothing was open")

    async def _step(self) -> tuple[list[Acknowledgement], Mapping[UUID, Sequence[str]]]:
        """One transaction; what it could not keep is to be kept by the next one."""
        changed, unkept, positions = self._ward.changed, self._unkept, self._positions
        self._ward.changed, self._unkept = set(), Unkept()
        states = self._ward.states(changed)
        entry = Entry(states, positions, unkept.notifications, unkept.told, unkept.applied)
        try:
            new = await self._in_book(partial(self._book.keep, entry))
        except DatabaseAway:
            self._ward.changed |= changed
            self._unkept = unkept.followed_by(self._unkept)
            raise
        self._kept_positions = positions
        return new, entry.applied

    async def _recall(self) -> None:
        """Take up where alarms were, once; and from time to time what children are called."""
        if self._names_due:
            self._ward.names = await self._in_book(self._book.names)
            self._names_due = False
        if not self._recalled:
            kept = await self._in_book(self._book.recall)
            self._ward.recall(kept.states)
            self._positions = {**kept.positions, **self._positions}
            self._recalled = True
            self._resume(kept)

    def _resume(self, kept: Kept) -> None:
        """Tell what was decided before a crash and nobody was told of."""
        for identity, contact, patient_id, about, text in kept.waiting:
            if desk := self._desks.get(contact):
                name = self._ward.about(patient_id) if patient_id else about or ""
                desk.add(Notification(contact, Message.from_json(text, name), UUID(identity)))

    async def _begin_keeping(self) -> None:
        """Wait a little for the database: who begins without it may tell people twice."""
        recalling = asyncio.create_task(self._recall())
        try:
            async with asyncio.timeout(_RECALLED_WITHIN_S):
                await asyncio.shield(recalling)
        except (DatabaseAway, TimeoutError) as error:
            log.warning("alarms begin without what was kept: %s", error or "PostgreSQL does not answer")
            self._away_since = _now()
            with contextlib.suppress(DatabaseAway, asyncio.CancelledError):
                recalling.cancel()
                await recalling

    async def _keep_last(self, feed: Feed) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RECALLED_WITHIN_S):
                if self._keeping is not None:
                    await self._keeping
                await self._keep(feed)

    async def _tell(self, contact: Contact, notification: Notification) -> None:
        await contact.tell(notification.message)
        self._unkept.told.append(Told(notification, _now()))

    async def _in_book(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)


def _now() -> datetime:
    return datetime.now(UTC)
