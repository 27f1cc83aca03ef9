"""The sign of life a gateway sends the cloud: whom it watches, and whether it can tell anybody.

The cloud treats a child as covered by its gateway while these heartbeats say so; see
`cloud_ingest.alarms.coverage`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from vitals.episodes import Phase
from vitals.notices import Group
from vitals.reading import Counter, Identifier, UtcTime

KIND = "heartbeat"
"""Value of `kind` that tells a heartbeat from a bracelet's state on the device-status topic."""
EVERY = timedelta(seconds=30)
SILENT_AFTER = timedelta(minutes=2)
"""A gateway that was not heard for so long is silent."""
MOST_CHILDREN = 1000
LONGEST_TEXT, LONGEST_NAME = 300, 60
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
_NAMES: JsonDict = {"propertyNames": {"maxLength": LONGEST_TEXT, "pattern": _PRINTABLE}}
"""What pydantic checks of keys, but does not write into a schema."""
Text = Annotated[str, Field(max_length=LONGEST_TEXT, pattern=_PRINTABLE)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=_PRINTABLE)]
"""Of somebody who acknowledges."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class OpenEpisode(_Frozen):
    """An alarm that is open at the gateway.

    Attributes:
        by, until: who has silenced it, and for how long, where somebody has.
    """

    patient_id: Identifier
    group: Group
    phase: Phase
    by: Name | None = None
    until: UtcTime | None = None


class Heartbeat(_Frozen):
    """How a gateway is.

    Attributes:
        status_id: identity of this heartbeat; the same one sent again is the same.
        parts: state in words of what the gateway depends on.
        outbox_pending: readings that wait for the cloud; None where nobody knows.
        contacts_reachable: whether somebody can be told at once, as far as the gateway knows.
        watches: the patients it watches.
        episodes: their open alarms.
    """

    status_id: UUID
    gateway_id: Identifier
    timestamp: UtcTime
    parts: Annotated[dict[Text, Text], Field(max_length=50, json_schema_extra=_NAMES)] = {}
    outbox_pending: Counter | None = None
    contacts_reachable: Annotated[bool, Field(strict=True)] = False
    watches: Annotated[tuple[Identifier, ...], Field(max_length=MOST_CHILDREN)] = ()
    episodes: Annotated[tuple[OpenEpisode, ...], Field(max_length=4 * MOST_CHILDREN)] = ()


class Acknowledged(_Frozen):
    """An acknowledgement made in the cloud, as the answer to a heartbeat brings it to the gateway.

    Attributes:
        group: one group; all that were open where absent.
        at: when it was made.
        until: how long it silences.
    """

    patient_id: Identifier
    group: Group | None = None
    by: Name
    at: UtcTime
    until: UtcTime


def printable(text: str, longest: int) -> str:
    """Text as a heartbeat may carry it."""
    return "".join(c if c.isprintable() else " " for c in text)[:longest]
