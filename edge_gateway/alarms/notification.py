"""Wiring: the ward, and everybody who is told of its alarms."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from edge_gateway import system_clock
from edge_gateway.alarms import technical_conditions
from edge_gateway.alarms.monitor import Ward
from edge_gateway.alarms.notifiers import MqttNotifier
from edge_gateway.config import Config, GpioConfig
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import GatewayState
from runtime.apprise_contact import AppriseContact
from runtime.notification_queue import THREADS_PER_CONTACT, NotificationQueue
from vitals.conditions import Condition
from vitals.message import Message, self_test

_FAILS_AFTER_S = 60.0
"""A contact that could not be reached for so long is an alarm; a single failure is tried again first."""


@dataclass(frozen=True, slots=True)
class People:
    """The children, and who is told.

    Attributes:
        contacts: a queue for each contact of the configuration.
        first: queues of those who are told at once.
        queues: all queues of messages, those of the contacts included.
    """

    ward: Ward
    contacts: tuple[NotificationQueue[Message], ...]
    first: tuple[NotificationQueue[Message], ...]
    queues: tuple[NotificationQueue[Message], ...]
    gpio: GpioConfig | None = None

    def reachable(self) -> bool:
        """Whether somebody can be told at once, as far as the latest attempts say."""
        return any(not queue.failing for queue in self.first)

    async def prove(self) -> Mapping[str, str]:
        """Send each contact a test message at once; says why it failed, by name, empty where it arrived."""
        said = self_test(self.ward.gateway_id, datetime.now(UTC))
        failed = await asyncio.gather(*(queue.try_now(said) for queue in self.contacts))
        return {queue.name: why for queue, why in zip(self.contacts, failed, strict=True)}

    async def run(self) -> None:
        """Watch, and run all queues, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.ward.run(), name="ward")
            if self.gpio:
                from edge_gateway.alarms.gpio import sound  # only where pins are configured

                tasks.create_task(sound(self.gpio, self.ward.urgency), name="gpio")
            for queue in self.queues:
                tasks.create_task(queue.run(), name=f"notifier {queue.name}")


def people(config: Config, state: GatewayState, outbox: Outbox, mqtt: MqttNotifier | None) -> People:
    """Join them."""
    reached = [
        AppriseContact(each.name, each.url_file, each.level, each.language or config.language)
        for each in config.contact
    ]
    contacts = tuple(
        NotificationQueue(contact.name, contact.send, state.counters, max_concurrency=THREADS_PER_CONTACT)
        for contact in reached
    )

    def conditions(ward: Ward, now: datetime) -> Iterator[Condition]:
        parts = technical_conditions.Parts(
            uplink_down_since=state.undelivered_since,
            outbox_filled=state.outbox_filled,
            outbox_trouble=outbox.trouble,
            clock_synchronised=system_clock.is_synchronised(),
            failing=tuple(queue.name for queue in contacts if queue.failing_s >= _FAILS_AFTER_S),
        )
        yield from technical_conditions.of_gateway(parts, now)
        for child in ward.children.values():
            links = [link for device, link in state.links.items() if device in child.devices]
            yield from technical_conditions.of_child(child, links, ward.started, now)

    ward = Ward(config.gateway_id, config.names, config.patients, outbox, conditions)
    ward.callers += [partial(_call, *pair) for pair in zip(reached, contacts, strict=True)]
    queues = contacts
    if mqtt:
        published = NotificationQueue("mqtt", mqtt.publish_message, state.counters)
        ward.callers.append(published.add)
        queues = (*contacts, published)
    first = tuple(queue for contact, queue in zip(reached, contacts, strict=True) if contact.level == 0)
    return People(ward, contacts, first, queues, config.gpio)


def _call(contact: AppriseContact, queue: NotificationQueue[Message], said: Message) -> None:
    if said.is_for(contact.level):
        queue.add(said)
