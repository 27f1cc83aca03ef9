"""What the gateway knows about itself: counters, links, who is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from edge_gateway.store import Counts

_MOST_LINKS = 500
"""Links that are shown; a flood of made-up device names must not fill the memory."""


@dataclass(slots=True)
class Counters:
    """What happened since the start.

    Attributes:
        received: readings by source.
        duplicates: records a bracelet sent twice within one connection.
        no_value: records in which the sensors gave no number, by device.
        refused: dead letters by reason in short.
        records_missing: numbered records that a bracelet no longer has.
    """

    received: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    no_value: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    records_missing: int = 0
    notified: int = 0
    notifier_failures: int = 0
    alerts_not_notified: int = 0
    delivery_failures: int = 0

    def to_json(self) -> dict[str, Any]:
        """As an object."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """One bracelet as it is seen now.

    Attributes:
        transport: `ble` or `mqtt`.
        state: name of the link's state.
        since: when that began.
        heard: when the bracelet last said anything.
        reason: why the last link ended, or what it waits for.
    """

    transport: str
    state: str
    since: datetime
    heard: datetime | None = None
    battery_pct: int | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As an object."""
        return {
            "transport": self.transport,
            "state": self.state,
            "since": self.since.isoformat(),
            "heard": self.heard.isoformat() if self.heard else None,
            "battery_pct": self.battery_pct,
            "reason": self.reason,
        }


class GatewayState:
    """The present state, and an event for whoever publishes it.

    Attributes:
        parts: state in words of what the gateway depends on: `api`, `mqtt`, `radio`, `outbox`.
        changed: set whenever a link or a part changes.
    """

    def __init__(self, gateway_id: str) -> None:
        self.gateway_id = gateway_id
        self.started = datetime.now(UTC)
        self.counters = Counters()
        self.parts: dict[str, str] = {}
        self.links: dict[str, LinkInfo] = {}
        self.changed = asyncio.Event()

    def part(self, name: str, state: str) -> None:
        """Note the state of something the gateway depends on."""
        if self.parts.get(name) != state:
            self.parts[name] = state
            self.changed.set()

    def link(
        self, device_id: str, transport: str, state: str, *, reason: str = "", battery_pct: int | None = None
    ) -> None:
        """Note the state of a bracelet's link."""
        known = self.links.get(device_id)
        if known is None and len(self.links) >= _MOST_LINKS:
            return
        since = known.since if known and known.state == state else datetime.now(UTC)
        battery = battery_pct if battery_pct is not None else known.battery_pct if known else None
        heard = known.heard if known else None
        self.links[device_id] = LinkInfo(transport, state, since, heard, battery, reason)
        if known is None or (known.state, known.reason) != (state, reason):
            self.changed.set()

    def heard(self, device_id: str, transport: str) -> None:
        """Note that a bracelet said something just now."""
        now = datetime.now(UTC)
        known = self.links.get(device_id)
        if known is None and len(self.links) >= _MOST_LINKS:
            return
        if known is None or known.state not in ("live", "fetching"):
            self.link(device_id, transport, "live")
            known = self.links[device_id]
        self.links[device_id] = LinkInfo(
            transport, known.state, known.since, now, known.battery_pct, known.reason
        )

    def to_json(self, counts: Counts) -> dict[str, Any]:
        """The document of the state topic."""
        return {
            "gateway_id": self.gateway_id,
            "status": "online",
            "timestamp": datetime.now(UTC).isoformat(),
            "started": self.started.isoformat(),
            "parts": self.parts,
            "outbox": counts.to_json(),
            "counters": self.counters.to_json(),
            "links": {device: link.to_json() for device, link in self.links.items()},
        }
