"""The alarms process: reads Kafka, sends notifications, stores its state. Wiring and one loop.

One process holds the lease and works; others stand by until it stops.

Each turn reads from Kafka, decides, writes, then notifies. A notification is sent once it is written, or
after half a second: a slow or unavailable database never delays an alarm. Without the database the process
continues from memory, raises a condition, and writes everything when the database answers; the Kafka offsets
are committed only then. A notification that was written and not delivered before a crash is delivered after
it. One that was delivered is not repeated, unless the crash came in the quarter of a second before that was
written.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module

from cloud_ingest.alarms.background import result_of
from cloud_ingest.alarms.consumer import AlarmConsumer, AlarmEvent, EvaluatedReading
from cloud_ingest.alarms.contacts import load_contacts
from cloud_ingest.alarms.coordinator import AlarmCoordinator
from cloud_ingest.alarms.persister import AlarmPersister, PersisterUpdate
from cloud_ingest.alarms.repository import (
    AlarmRepository,
    AlarmTransaction,
    Notification,
    UndeliveredNotification,
)
from cloud_ingest.alarms.service_health import ServiceHealth
from cloud_ingest.alarms.silence_publisher import SilencePublisher
from cloud_ingest.alarms.standby import wait_for_lease
from cloud_ingest.errors import LeaseLost
from cloud_ingest.kafka.admin import KafkaProbe
from cloud_ingest.kafka.producer import Publisher
from cloud_ingest.metrics.probes import Probe
from cloud_ingest.settings import Settings
from runtime.apprise_contact import AppriseContact
from runtime.notification_queue import THREADS_PER_CONTACT, NotificationQueue
from vitals.message import Message

log = logging.getLogger(__name__)

TICK = timedelta(seconds=1)
_FAILS_AFTER_S = 60.0


@dataclass(slots=True)
class AlarmProcessCounters:
    """What the notification queues count."""

    notified: int = 0
    notifier_failures: int = 0
    alerts_not_notified: int = 0


async def watch(settings: Settings, stop: threading.Event) -> None:
    """Run the alarms process until `stop` is set; stand by while another process holds the lease.

    Raises:
        InvalidSettings: the contacts file cannot be read or is invalid.
        RecordingFailed: an unexpected error while recording or notifying.
    """
    contacts = load_contacts(settings.alarm_contacts_file)
    if contacts:
        await asyncio.to_thread(import_module, "apprise")  # takes a second: not at the first alarm
    else:
        log.warning("no ALARM_CONTACTS_FILE: alarms are evaluated and stored, and nobody is notified")
    while not stop.is_set():
        try:
            await AlarmProcess(settings, contacts, AlarmRepository(settings), stop).run()
        except LeaseLost as error:
            log.warning("%s: this one stands by", error)
            await wait_for_lease(AlarmRepository(settings), stop)


class AlarmProcess:
    """The process while it holds the lease.

    Args:
        stop: set from outside to end it after the current turn.
    """

    def __init__(
        self,
        settings: Settings,
        contacts: Sequence[AppriseContact],
        repository: AlarmRepository,
        stop: threading.Event,
    ) -> None:
        self._settings, self._contacts, self._stop = settings, contacts, stop
        self._coordinator = AlarmCoordinator(_now())
        self._persister = AlarmPersister(repository)
        self._consumer: AlarmConsumer | None = None
        counters = AlarmProcessCounters()
        self._queues = {
            contact.name: NotificationQueue(
                contact.name, partial(self._deliver, contact), counters, max_concurrency=THREADS_PER_CONTACT
            )
            for contact in self._contacts
        }
        self._ticked = _now()

    async def run(self) -> None:
        """Run until `stop` is set.

        Raises:
            LeaseLost: another alarms process has taken the lease.
            RecordingFailed: an unexpected error while recording or notifying.
        """
        queues = [
            asyncio.create_task(queue.run(), name=f"notify contact {name}")
            for name, queue in self._queues.items()
        ]
        publisher = Publisher(self._settings.kafka)
        silences = SilencePublisher(publisher)
        kafka = Probe("Kafka", KafkaProbe(self._settings.kafka))
        kafka.start()
        try:
            updates = await self._persister.start()
            self._consumer = AlarmConsumer(self._settings, _restored_positions(updates))
            self._apply(updates)
            while not self._stop.is_set():
                await self._turn(self._consumer, silences, kafka)
                for task in filter(asyncio.Task.done, queues):
                    result_of(task)
            await self._flush()
        finally:
            silences.cancel()
            for task in queues:
                task.cancel()
            await asyncio.gather(*queues, return_exceptions=True)
            closing = [kafka.stop, publisher.close, self._persister.close]
            for close in [self._consumer.close, *closing] if self._consumer else closing:
                await asyncio.to_thread(close)

    async def _turn(self, consumer: AlarmConsumer, silences: SilencePublisher, kafka: Probe) -> None:
        for event in await asyncio.to_thread(consumer.read):
            self._process(event)
        now = _now()
        if now - self._ticked >= TICK or now < self._ticked:
            self._ticked = now
            self._coordinator.tick(now, self._health(kafka, now))
            self._record_silences(silences, now)
        transaction = self._transaction()
        self._apply(await self._persister.persist(transaction, now))
        for notification in transaction.notifications:
            self._queue(notification)

    def _process(self, event: AlarmEvent) -> None:
        try:
            if isinstance(event, EvaluatedReading):
                self._coordinator.observe(event.reading, event.alerts, _now())
            else:
                self._coordinator.receive_heartbeat(event.heartbeat, event.received, _now())
        except Exception:  # one message must not end the alarms of all other patients
            log.exception("a message was skipped")

    def _health(self, kafka: Probe, now: datetime) -> ServiceHealth:
        failing = tuple(queue.name for queue in self._queues.values() if queue.failing_s >= _FAILS_AFTER_S)
        return ServiceHealth(kafka.up, self._persister.unavailable_since(now), failing)

    def _record_silences(self, silences: SilencePublisher, now: datetime) -> None:
        for published in silences.take_published():
            self._coordinator.mark_silence_recorded(published)
        if not silences.is_busy and (unrecorded := self._coordinator.unrecorded_silences(now)):
            silences.start(unrecorded, now)

    def _transaction(self) -> AlarmTransaction:
        changes = self._coordinator.drain()
        return AlarmTransaction(
            states=changes.states,
            removed=changes.removed,
            positions=dict(self._consumer.positions) if self._consumer else {},
            notifications=[
                Notification(contact.name, message)
                for message in changes.messages
                for contact in self._contacts
                if message.is_for(contact.level)
            ],
            applied=changes.applied,
            patients=changes.patients,
            identities=changes.identities,
        )

    def _apply(self, updates: Iterable[PersisterUpdate]) -> None:
        for update in updates:
            if update.names is not None:
                self._coordinator.set_names(update.names)
            if update.restored is not None:
                self._coordinator.restore(update.restored.states, update.restored.identities)
                for undelivered in update.restored.undelivered:
                    self._queue(self._notification(undelivered))
            if update.identities is not None:
                log.info("patients were erased or have new pseudonyms")
                self._coordinator.apply_identities(update.identities)
            for acknowledgement in update.acknowledgements:
                silenced = self._coordinator.acknowledge(acknowledgement, _now())
                log.info("acknowledged: %s", ", ".join(silenced) or "nothing that is still open")
            if update.positions and self._consumer:
                self._consumer.commit(update.positions)

    def _notification(self, stored: UndeliveredNotification) -> Notification:
        """Return a stored notification with the display name, which is never stored."""
        name = self._coordinator.display_name(stored.patient_id) if stored.patient_id else stored.about or ""
        return Notification(stored.contact, Message.from_json(stored.message, name), stored.notification_id)

    def _queue(self, notification: Notification) -> None:
        if self._coordinator.is_erased(notification.message.patient_id):
            return
        if queue := self._queues.get(notification.contact):  # None for a contact that is no longer listed
            queue.add(notification)

    async def _deliver(self, contact: AppriseContact, notification: Notification) -> None:
        await contact.send(notification.message)
        self._persister.add_delivered(notification)

    async def _flush(self) -> None:
        updates = await self._persister.flush(self._transaction())
        self._apply(updates)
        if any(update.outdates_pending for update in updates):
            self._apply(await self._persister.flush(self._transaction()))


def _restored_positions(updates: Iterable[PersisterUpdate]) -> dict[tuple[str, int], int]:
    return {
        partition: offset
        for update in updates
        if update.restored
        for partition, offset in update.restored.positions.items()
    }


def _now() -> datetime:
    return datetime.now(UTC)
