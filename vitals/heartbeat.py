"""The heartbeat a gateway sends to the cloud: which patients it monitors, and whether it can notify anybody.

The cloud relies on the gateway's alarms for a child while these heartbeats say that it works; see
`cloud_ingest.alarms.coverage`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from pydantic import Field
from pydantic.config import JsonDict

from vitals.episodes import Phase
from vitals.notices import Group
from vitals.reading import Counter, FrozenModel, Identifier, UtcTime

KIND = "heartbeat"
"""Value of `kind` that distinguishes a heartbeat from a bracelet's status on the device-status topic."""
EVERY = timedelta(seconds=30)
SILENT_AFTER = timedelta(minutes=2)
"""A gateway is considered silent this long after its last heartbeat."""
MOST_CHILDREN = 1000
LONGEST_TEXT, LONGEST_NAME = 300, 60
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
_NAMES: JsonDict = {"propertyNames": {"maxLength": LONGEST_TEXT, "pattern": _PRINTABLE}}
"""JSON schema of the keys: pydantic validates them, but leaves them out of the schema it generates."""
Text = Annotated[str, Field(max_length=LONGEST_TEXT, pattern=_PRINTABLE)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=_PRINTABLE)]
"""Name of a person who acknowledges."""


class OpenEpisode(FrozenModel):
    """An alarm that is open at the gateway.

    Attributes:
        by, until: who silenced it, and until when; None where nobody did.
    """

    patient_id: Identifier
    group: Group
    phase: Phase
    by: Name | None = None
    until: UtcTime | None = None


class Heartbeat(FrozenModel):
    """State of a gateway.

    Attributes:
        status_id: identity of this heartbeat, unchanged when it is sent again.
        parts: state of each component of the gateway, as text.
        outbox_pending: readings not yet delivered to the cloud; None if unknown.
        contacts_reachable: whether the latest attempts reached a first-level contact.
        watches: the patients it monitors.
        episodes: their open alarms.
    """

    status_id: UUID
    gateway_id: Identifier
    timestamp: UtcTime
    parts: dict[Text, Text] = Field({}, max_length=50, json_schema_extra=_NAMES)
    outbox_pending: Counter | None = None
    contacts_reachable: Annotated[bool, Field(strict=True)] = False
    watches: Annotated[tuple[Identifier, ...], Field(max_length=MOST_CHILDREN)] = ()
    episodes: Annotated[tuple[OpenEpisode, ...], Field(max_length=len(Group) * MOST_CHILDREN)] = ()


class Acknowledged(FrozenModel):
    """An acknowledgement made in the cloud, sent to the gateway in the response to a heartbeat.

    Attributes:
        group: one group; None for all open ones.
        at: when it was made.
        until: when the silence ends.
    """

    patient_id: Identifier
    group: Group | None = None
    by: Name
    at: UtcTime
    until: UtcTime


def printable(text: str, longest: int) -> str:
    """Return text without control characters, cut to a length."""
    return "".join(c if c.isprintable() else " " for c in text)[:longest]
