"""Acknowledgements of alarms: stored by the API, applied by the alarms process."""

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
"""Columns of table `alarm_acknowledgements`, in the order that `of_row` expects."""


class Acknowledgement(BaseModel):
    """One acknowledgement, of a patient's alarms or of a technical condition.

    Attributes:
        patient_id: whose alarms; None for a condition.
        condition: key of the condition; None for a patient.
        group: one group of alarms; None for all that are open.
        silence_s: length of the silence in seconds; None for the longest allowed.
        retires: whether the condition's gateway is out of service until its next heartbeat.
        by: who acknowledged.
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
        """Length of the silence; None for the longest allowed."""
        return None if self.silence_s is None else timedelta(seconds=self.silence_s)

    def for_gateway(self, patient_id: str) -> Acknowledged:
        """Return it as a gateway receives it, under the gateway's identifier of the patient."""
        longest = longest_silence(self.group or Group.TEMP)
        until = self.at + (longest if self.silence is None else min(self.silence, longest))
        return Acknowledged(patient_id=patient_id, group=self.group, by=self.by, at=self.at, until=until)


def of_row(row: tuple[Any, ...]) -> Acknowledgement:
    """Return the acknowledgement in a row of `COLUMNS`."""
    return Acknowledgement.model_validate(dict(zip(Acknowledgement.model_fields, row, strict=True)))
