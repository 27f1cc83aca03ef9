"""The gateway's present state: counters, links to bracelets, and the components it depends on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from vitals.absence import Absence

_RECEIVING = frozenset({"live", "fetching"})
"""States in which messages arrive; the values of `LinkState` that a message does not change."""
_MOST_LINKS = 500
"""Bounds memory against a flood of invented device names."""


@dataclass(slots=True)
class Counters:
    """Event counts since the start.

    Attributes:
        received: readings by source.
        duplicates: records that a bracelet sent twice within one connection.
        no_value: records without a value, by reason.
        refused: dead letters, by short reason.
        malformed: messages that could not be parsed, by device.
        records_missing: numbered records that a bracelet no longer holds.
    """

    received: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    no_value: Counter[str] = field(default_factory=Counter)
    malformed: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    records_missing: int = 0
    notified: int = 0
    notifier_failures: int = 0
    alerts_not_notified: int = 0
    delivery_failures: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}


@dataclass(slots=True)
class LinkInfo:
    """One bracelet's link.

    Attributes:
        transport: `ble` or `mqtt`.
        state: name of the link's state.
        since: when it entered that state.
        heard: when the last valid message arrived.
        rssi: signal strength of the last advertisement, dBm.
        reason: why the last link ended, or what the link is waiting for.
        absence: why there is no value now; None while there are values.
        notice: the latest unusual event, kept after recovery.
        notice_at: when that happened.
    """

    transport: str
    state: str
    since: datetime
    heard: datetime | None = None
    battery_pct: int | None = None
    rssi: int | None = None
    reason: str = ""
    absence: Absence | None = None
    notice: str = ""
    notice_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "transport": self.transport,
            "state": self.state,
            "since": self.since.isoformat(),
            "heard": self.heard.isoformat() if self.heard else None,
            "battery_pct": self.battery_pct,
            "rssi": self.rssi,
            "reason": self.reason,
            "absence": self.absence.value if self.absence else None,
            "notice": self.notice,
            "notice_at": self.notice_at.isoformat() if self.notice_at else None,
        }


class GatewayState:
    """The present state, with an event for publishing changes.

    Attributes:
        parts: state of each component the gateway depends on, as text: `api`, `mqtt`, `radio`, `outbox`.
        outbox_filled: used share of the outbox's size limit, 0 to 1.
        undelivered_since: since when deliveries have failed; None while they succeed.
        changed: set whenever a link or a component changes.
    """

    def __init__(self, gateway_id: str) -> None:
        self.gateway_id = gateway_id
        self.started = datetime.now(UTC)
        self.counters = Counters()
        self.parts: dict[str, str] = {}
        self.links: dict[str, LinkInfo] = {}
        self.outbox_filled = 0.0
        self.undelivered_since: datetime | None = None
        self.changed = asyncio.Event()

    def part(self, name: str, state: str) -> None:
        """Set the state of a component."""
        if self.parts.get(name) != state:
            self.parts[name] = state
            self.changed.set()

    def link(self, device_id: str, transport: str, state: str, *, reason: str = "") -> None:
        """Set the state of a bracelet's link."""
        info = self._info(device_id, transport)
        if info.state != state:
            self._put(device_id, info, state=state, since=datetime.now(UTC), reason=reason)
        else:
            self._put(device_id, info, reason=reason)

    def heard(self, device_id: str, transport: str) -> None:
        """Record that a valid message has just arrived; the link becomes live if it was not receiving."""
        info = self.links.get(device_id)
        if info is None or info.state not in _RECEIVING:
            self.link(device_id, transport, "live")
            info = self.links.get(device_id)
        if info:  # does not set `changed`: this happens with every message
            info.heard = datetime.now(UTC)

    def battery(self, device_id: str, transport: str, battery_pct: int) -> None:
        """Set a bracelet's battery charge."""
        self._put(device_id, self._info(device_id, transport), battery_pct=battery_pct)

    def rssi(self, device_id: str, rssi: int) -> None:
        """Set a bracelet's signal strength, dBm."""
        if info := self.links.get(device_id):
            info.rssi = rssi

    def absence(self, device_id: str, transport: str, absence: Absence | None) -> None:
        """Set why there is no value from a bracelet; None if there is one."""
        info = self._info(device_id, transport)
        if info.absence is not absence:
            self._put(device_id, info, absence=absence)

    def notice(self, device_id: str, transport: str, text: str) -> None:
        """Record an unusual event of a bracelet."""
        info = self._info(device_id, transport)
        self._put(device_id, info, notice=text, notice_at=datetime.now(UTC))

    def _info(self, device_id: str, transport: str) -> LinkInfo:
        return self.links.get(device_id) or LinkInfo(transport, "", datetime.now(UTC))

    def _put(self, device_id: str, info: LinkInfo, **changes: Any) -> None:
        if device_id not in self.links and len(self.links) >= _MOST_LINKS:
            return
        changed = replace(info, **changes)
        if self.links.get(device_id) != changed:
            self.links[device_id] = changed
            self.changed.set()

    async def show_links(self, _request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Handle the command `links`."""
        links = {device: link.to_json() for device, link in self.links.items()}
        return {"gateway_id": self.gateway_id, "parts": self.parts, "links": links}

    def to_json(self, outbox: Mapping[str, int]) -> dict[str, Any]:
        """Return the document of the state topic.

        Args:
            outbox: the outbox's counts, by name.
        """
        return {
            "gateway_id": self.gateway_id,
            "status": "online",
            "timestamp": datetime.now(UTC).isoformat(),
            "started": self.started.isoformat(),
            "parts": self.parts,
            "outbox": outbox,
            "counters": self.counters.to_json(),
            "links": {device: link.to_json() for device, link in self.links.items()},
        }
