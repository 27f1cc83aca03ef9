"""The alarms process: Kafka in, people told, PostgreSQL the memory. Wiring and one loop.

One process works; it stands by where another was started, and goes on when that one is gone.

A turn: hear, decide, keep, tell. What was decided is told once it is kept, or after half a second: a database
that is slow or away holds no alarm up. Then the process goes on from its own memory, says that the database
is away, and keeps everything as soon as it can; only then does Kafka's position move. A notification that was
kept and not told before a crash is told after it; one that was told is not told again, unless the crash came
within the quarter of a second it takes to write that down.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module

from cloud_ingest.alarms.consumer import Feed, Heard, Observation
from cloud_ingest.alarms.contacts import load_contacts
from cloud_ingest.alarms.coordinator import Ward
from cloud_ingest.alarms.persister import Keeper
from cloud_ingest.alarms.repository import AlarmBook, Notification, Position
from cloud_ingest.alarms.standby import stand_by
from cloud_ingest.errors import TakenOver
from cloud_ingest.kafka.admin import KafkaProbe
from cloud_ingest.kafka.producer import Publisher
from cloud_ingest.kafka.record import Record, utc_text
from cloud_ingest.metrics.probes import Probe
from cloud_ingest.settings import Settings
from runtime.apprise_contact import AppriseContact
from runtime.notification_queue import THREADS_PER_CONTACT, NotificationQueue
from vitals.conditions import Condition, ConditionKind, Priority
from vitals.topics import ALERTS

log = logging.getLogger(__name__)

TICK = timedelta(seconds=1)
_FAILS_AFTER_S = 60.0
_AWAY_AFTER = ((timedelta(minutes=10), Priority.HIGH), (timedelta(minutes=2), Priority.MEDIUM))


@dataclass(slots=True)
class Tally:
    """What notification queues count."""

    notified: int = 0
    notifier_failures: int = 0
    alerts_not_notified: int = 0


async def watch(settings: Settings, stop: threading.Event) -> None:
    """Be the alarms process until told to stop; stand by while another has taken over.

    Raises:
        InvalidSettings: the contacts' file cannot be read, or says something impossible.
    """
    contacts = load_contacts(settings.alarm_contacts_file)
    if contacts:
        await asyncio.to_thread(import_module, "apprise")  # takes a second: not at the first alarm
    else:
        log.warning("no ALARM_CONTACTS_FILE: alarms are judged and kept, and nobody is told")
    while not stop.is_set():
        try:
            await Alarms(settings, contacts, stop).run()
        except TakenOver as error:
            log.warning("%s: this one stands by", error)
            await stand_by(AlarmBook(settings), stop)


class Alarms:
    """The process while it works: what it knows, from taking the book until it is told to stop or taken over.

    Args:
        stop: set from outside to end it after the turn in hand.
    """

    def __init__(self, settings: Settings, contacts: Sequence[AppriseContact], stop: threading.Event) -> None:
        self._settings, self._contacts, self._stop = settings, contacts, stop
        self._ward, tally = Ward(_now()), Tally()
        self._keeper = Keeper(self._ward, AlarmBook(settings), self._commit, self._tell_soon)
        self._queues = {
            each.name: NotificationQueue(
                each.name, partial(self._tell, each), tally, max_concurrency=THREADS_PER_CONTACT
            )
            for each in self._contacts
        }
        self._feed: Feed | None = None
        self._recording: asyncio.Task[None] | None = None
        self._ticked = _now()

    async def run(self) -> None:
        """Run until told to stop.

        Raises:
            TakenOver: another alarms process has taken this one's place.
        """
        await self._keeper.begin()
        publisher = Publisher(self._settings.kafka)
        kafka = Probe("Kafka", KafkaProbe(self._settings.kafka))
        kafka.start()
        feed = self._feed = Feed(self._settings, self._keeper.positions)
        tasks = [
            asyncio.create_task(queue.run(), name=f"contact {name}") for name, queue in self._queues.items()
        ]
        try:
            while not self._stop.is_set():
                await self._turn(feed, publisher, kafka)
            await self._keeper.end()
        finally:
            tasks += [self._recording] if self._recording else []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for close in (feed.close, kafka.stop, publisher.close, self._keeper.close):
                await asyncio.to_thread(close)

    async def _turn(self, feed: Feed, publisher: Publisher, kafka: Probe) -> None:
        for heard in await asyncio.to_thread(feed.read):
            self._hear(heard)
        self._keeper.positions = dict(feed.positions)
        now = _now()
        if now - self._ticked >= TICK or now < self._ticked:
            self._ticked = now
            self._ward.gateways.hearing.note(kafka.up, now)
            self._ward.tick(now, self._conditions(now))
            if self._recording is None or self._recording.done():
                self._recording = asyncio.create_task(self._record_silences(publisher, now))
        decided = self._decided()
        await self._keeper.keep(decided, now)
        for notification in decided:
            if notification.message.patient_id not in self._ward.identities.erased:
                self._tell_soon(notification)

    def _hear(self, heard: Heard) -> None:
        try:
            if isinstance(heard, Observation):
                self._ward.observe(heard.reading, heard.alerts, _now())
            else:
                self._ward.hear(heard.heartbeat, heard.heard, _now())
        except Exception:  # one message must not end the alarms of all other children
            log.exception("a message was passed over")

    def _conditions(self, now: datetime) -> Iterator[Condition]:
        failing = [queue.name for queue in self._queues.values() if queue.failing_s >= _FAILS_AFTER_S]
        hearing = self._ward.gateways.hearing
        return of_service(hearing.deaf_since, self._keeper.away_since(now), failing, now)

    async def _record_silences(self, publisher: Publisher, now: datetime) -> None:
        """Put the silence of gateways on the alerts topic; what Kafka does not take now is tried again."""
        for gateway_id, alerts in self._ward.silences(now).items():
            extra = {"gateway_id": gateway_id, "ingestion_timestamp": utc_text(now)}
            records = [
                Record.of(ALERTS, alert.patient_id, alert.model_dump(mode="json") | extra) for alert in alerts
            ]
            status_id = self._ward.gateways.known[gateway_id].heartbeat.status_id
            ticket = publisher.send(records)
            await ticket.done
            if not ticket.missing():
                self._ward.announced(gateway_id, status_id)

    def _decided(self) -> list[Notification]:
        said = tuple(self._ward.said)
        self._ward.said.clear()
        return [
            Notification(each.name, message)
            for message in said
            for each in self._contacts
            if message.is_for(each.level)
        ]

    def _tell_soon(self, notification: Notification) -> None:
        if queue := self._queues.get(notification.contact):  # none where the contact is no longer listed
            queue.add(notification)

    async def _tell(self, contact: AppriseContact, notification: Notification) -> None:
        await contact.send(notification.message)
        self._keeper.told(notification)

    def _commit(self, positions: Mapping[Position, int]) -> None:
        if self._feed is not None:
            self._feed.commit(positions)


def of_service(
    deaf: datetime | None, database_away: datetime | None, failing: Iterable[str], now: datetime
) -> Iterator[Condition]:
    """What is wrong with the alarms themselves.

    Args:
        deaf: since when nothing has been heard, or too briefly to catch up; None where that is not so.
        database_away: since when; None while it answers.
        failing: contacts that could not be reached for a minute.
    """
    away = {ConditionKind.KAFKA_DOWN: deaf, ConditionKind.DATABASE_DOWN: database_away}
    for kind, since in away.items():
        for after, priority in _AWAY_AFTER:
            if since and now - since >= after:
                yield Condition(kind, priority)
                break
    for name in failing:
        yield Condition(ConditionKind.NOTIFIER_FAILING, Priority.HIGH, name)


def _now() -> datetime:
    return datetime.now(UTC)
