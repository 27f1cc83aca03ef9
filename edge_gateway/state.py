"""What the gateway knows about itself: counters, links, who is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from vitals.absence import Absence

_MOST_LINKS = 500
"""Links that are shown; a flood of made-up device names must not fill the memory."""


@dataclass(slots=True)
class Counters:
    """What happened since the start.

    Attributes:
        received: readings by source.
        duplicates: records a bracelet sent twice within one connection.
        no_value: records in which the sensors gave no number, by reason.
        refused: dead letters by reason in short.
        malformed: what a bracelet sent that cannot be understood, by device.
        records_missing: numbered records that a bracelet no longer has.
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
        """As an object."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}


@dataclass(slots=True)
class LinkInfo:
    """One bracelet as it is seen now.

    Attributes:
        transport: `ble` or `mqtt`.
        state: name of the link's state.
        since: when that began.
        heard: when the bracelet last said anything that could be understood.
        rssi: signal strength of its last advertisement, dBm.
        reason: why the last link ended, or what it waits for.
        absence: why there is no number from it now; None while there are numbers.
        notice: the last remarkable thing about it, kept when all is well again.
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
        """As an object."""
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
    """The present state, and an event for whoever publishes it.

    Attributes:
        parts: state in words of what the gateway depends on: `api`, `mqtt`, `radio`, `outbox`.
        outbox_filled: share of the outbox's bound that is in use.
        undelivered_since: since when the API has taken nothing; None while it does.
        changed: set whenever a link or a part changes.
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
        """Note the state of something the gateway depends on."""
        if self.parts.get(name) != state:
            self.parts[name] = state
            self.changed.set()

    def link(self, device_id: str, transport: str, state: str, *, reason: str = "") -> None:
        """Note the state of a bracelet's link."""
        known = self._known(device_id, transport)
        if known.state != state:
            self._put(device_id, known, state=state, since=datetime.now(UTC), reason=reason)
        else:
            self._put(device_id, known, reason=reason)

    def heard(self, device_id: str, transport: str) -> None:
        """Note that a bracelet said something just now."""
        known = self.links.get(device_id)
        if known is None or known.state not in ("live", "fetching"):
            self.link(device_id, transport, "live")
            known = self.links.get(device_id)
        if known:  # no change worth telling: it is so all the time
            known.heard = datetime.now(UTC)

    def battery(self, device_id: str, transport: str, battery_pct: int) -> None:
        """Note a bracelet's charge."""
        self._put(device_id, self._known(device_id, transport), battery_pct=battery_pct)

    def rssi(self, device_id: str, rssi: int) -> None:
        """Note how strongly a bracelet was heard, dBm."""
        if known := self.links.get(device_id):
            known.rssi = rssi

    def absence(self, device_id: str, transport: str, absence: Absence | None) -> None:
        """Note why there is no number from a bracelet, or that there is one."""
        known = self._known(device_id, transport)
        if known.absence is not absence:
            self._put(device_id, known, absence=absence)

    def notice(self, device_id: str, transport: str, text: str) -> None:
        """Note something remarkable about a bracelet."""
        known = self._known(device_id, transport)
        self._put(device_id, known, notice=text, notice_at=datetime.now(UTC))

    def _known(self, device_id: str, transport: str) -> LinkInfo:
        return self.links.get(device_id) or LinkInfo(transport, "", datetime.now(UTC))

    def _put(self, device_id: str, known: LinkInfo, **changes: Any) -> None:
        if device_id not in self.links and len(self.links) >= _MOST_LINKS:
            return
        changed = replace(known, **changes)
        if self.links.get(device_id) != changed:
            self.links[device_id] = changed
            self.changed.set()

    async def show_links(self, _request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The links, for the command of that name."""
        links = {device: link.to_json() for device, link in self.links.items()}
        return {"gateway_id": self.gateway_id, "parts": self.parts, "links": links}

    def to_json(self, outbox: Mapping[str, int]) -> dict[str, Any]:
        """The document of the state topic.

        Args:
            outbox: its counts, as `OutboxCounts.to_json` gives them.
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
