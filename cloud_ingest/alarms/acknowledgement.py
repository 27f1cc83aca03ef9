"""Somebody has seen an alarm: the acknowledgement that the API writes down and the alarms process applies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from vitals.episodes import longest_silence
from vitals.heartbeat import Acknowledged
from vitals.notices import Group
from vitals.reading import UtcTime

COLUMNS = "acknowledgement_id, patient_id, condition, alarm_group, silence_s, retires, by, at"
"""Of table `alarm_acknowledgements`, in the order `of_row` takes them."""


class Acknowledgement(BaseModel):
    """One acknowledgement, of a child's alarms or of a technical condition.

    Attributes:
        patient_id: whose alarms; None where it is about a condition.
        condition: key of the condition; None where it is about a child.
        group: one group of alarms; all that are open where None.
        silence_s: for how long; as long as is allowed where None.
        retires: whether the condition's gateway is out of service: it is not missed until it is heard again.
        by: who.
        at: when.
    """

    model_config = ConfigDict(frozen=True)

    acknowledgement_id: UUID
    patient_id: str | None = None
    condition: str | None = None
    group: Group | None = None
    silence_s: int | None = None
    retires: bool = False
    by: str
    at: UtcTime

    @property
    def silence(self) -> timedelta | None:
        """How long it silences; None for as long as is allowed."""
        return None if self.silence_s is None else timedelta(seconds=self.silence_s)

    def for_gateway(self, patient_id: str) -> Acknowledged:
        """As a gateway takes it, which knows its patients by these names."""
        longest = longest_silence(self.group or Group.TEMP)
        until = self.at + (longest if self.silence is None else min(self.silence, longest))
        return Acknowledged(patient_id=patient_id, group=self.group, by=self.by, at=self.at, until=until)


def of_row(row: tuple[Any, ...]) -> Acknowledgement:
    """The acknowledgement in a row of `COLUMNS`."""
    return Acknowledgement.model_validate(dict(zip(Acknowledgement.model_fields, row, strict=True)))
