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
from edge_gateway.alarms.notifiers import Contact, MqttNotifier
from edge_gateway.config import Config, GpioConfig
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import GatewayState
from runtime.notification_queue import THREADS, Desk
from vitals.conditions import Condition
from vitals.message import Message, self_test

_FAILS_AFTER_S = 60.0
"""A contact that could not be reached for so long is an alarm; a single failure is tried again first."""


@dataclass(frozen=True, slots=True)
class People:
    """The children, and who is told.

    Attributes:
        contacts: a desk for each contact of the configuration.
        first: desks of those who are told at once.
        desks: all desks of messages, those of the contacts included.
    """

    ward: Ward
    contacts: tuple[Desk[Message], ...]
    first: tuple[Desk[Message], ...]
    desks: tuple[Desk[Message], ...]
    gpio: GpioConfig | None = None

    def reachable(self) -> bool:
        """Whether somebody can be told at once, as far as the latest attempts say."""
        return any(not desk.failing for desk in self.first)

    async def prove(self) -> Mapping[str, str]:
        """Send each contact a test message at once; says why it failed, by name, empty where it arrived."""
        said = self_test(self.ward.gateway_id, datetime.now(UTC))
        failed = await asyncio.gather(*(desk.try_now(said) for desk in self.contacts))
        return {desk.name: why for desk, why in zip(self.contacts, failed, strict=True)}

    async def run(self) -> None:
        """Watch, and serve all desks, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.ward.run(), name="ward")
            if self.gpio:
                from edge_gateway.alarms.gpio import sound  # only where pins are configured

                tasks.create_task(sound(self.gpio, self.ward.urgency), name="gpio")
            for desk in self.desks:
                tasks.create_task(desk.run(), name=f"notifier {desk.name}")


def people(config: Config, state: GatewayState, outbox: Outbox, mqtt: MqttNotifier | None) -> People:
    """Join them."""
    reached = [
        (Contact(each.name, each.url_file, each.level, each.language or config.language))
        for each in config.contact
    ]
    contacts = tuple(Desk(contact.name, contact.tell, state.counters, at_once=THREADS) for contact in reached)

    def conditions(ward: Ward, now: datetime) -> Iterator[Condition]:
        parts = technical_conditions.Parts(
            uplink_down_since=state.undelivered_since,
            outbox_filled=state.outbox_filled,
            outbox_trouble=outbox.trouble,
            clock_synchronised=system_clock.is_synchronised(),
            failing=tuple(desk.name for desk in contacts if desk.failing_s >= _FAILS_AFTER_S),
        )
        yield from technical_conditions.of_gateway(parts, now)
        for child in ward.children.values():
            links = [link for device, link in state.links.items() if device in child.devices]
            yield from technical_conditions.of_child(child, links, ward.started, now)

    ward = Ward(config.gateway_id, config.names, config.patients, outbox, conditions)
    ward.callers += [partial(_call, *pair) for pair in zip(reached, contacts, strict=True)]
    desks = contacts
    if mqtt:
        published = Desk("mqtt", mqtt.publish_message, state.counters)
        ward.callers.append(published.add)
        desks = (*contacts, published)
    first = tuple(desk for contact, desk in zip(reached, contacts, strict=True) if contact.level == 0)
    return People(ward, contacts, first, desks, config.gpio)


def _call(contact: Contact, desk: Desk[Message], said: Message) -> None:
    if said.is_for(contact.level):
        desk.add(said)
