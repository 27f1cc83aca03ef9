"""Notifications about an alarm, with their text in English and French."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from vitals.absence import Language
from vitals.limits import BY_FIELD, SPO2, TEMPERATURE, VITALS, shown
from vitals.reading import Identifier, UtcTime
from vitals.rules import AlertType


class Group(StrEnum):
    """Critical alerts that form one alarm."""

    SPO2 = "SPO2"
    TEMP = "TEMP"
    HR = "HR"
    COMBO = "COMBO"

    @property
    def fields(self) -> tuple[str, ...]:
        """The vitals it concerns."""
        return _FIELDS[self]

    def text(self, language: Language) -> str:
        """Return its name for carers."""
        return _GROUPS[self][language]


GROUP_OF: dict[AlertType, Group] = {
    **{AlertType(vital.alarm.alert_type): Group(vital.alarm.group) for vital in VITALS if vital.alarm},
    AlertType.CRITICAL_FEVER_SPO2: Group.COMBO,
}
"""The group of every critical alert type; technical ones have none."""


class Why(StrEnum):
    """Why a notification is sent."""

    RAISED = "raised"
    REPEATED = "repeated"
    ESCALATED = "escalated"
    SILENCE_OVER = "silence_over"
    WORSENED = "worsened"
    DIGEST = "digest"
    UNCOVERED = "uncovered"
    LAST_RESORT = "last_resort"

    def text(self, language: Language) -> str:
        """Return it in words for carers."""
        return _WHYS[self][language]


class Notice(BaseModel):
    """One notification of one child's alarm.

    Attributes:
        at: when it was decided to send it.
        since: when the first critical value was measured; in a digest, the first one that arrived late.
        until: when the latest one was measured.
        level: escalation level of the contacts to notify: 0, 1, 2.
        worst: the worst values so far, by field.
        records: critical readings so far.
        lasted_s: in a digest, for how long values were critical in total.
    """

    model_config = ConfigDict(frozen=True)

    patient_id: Identifier
    group: Group
    why: Why
    at: UtcTime
    since: UtcTime
    until: UtcTime
    level: int = 0
    worst: dict[str, float] = {}
    records: int = 0
    lasted_s: float | None = None

    @property
    def urgent(self) -> bool:
        """Whether it needs a response now; a digest reports the past."""
        return self.why is not Why.DIGEST

    def text(self, language: Language) -> str:
        """Return one line for carers, without the child's name."""
        worst = ", ".join(value_text(field, value, language) for field, value in self.worst.items())
        if self.why is Why.DIGEST:
            took = duration_text(timedelta(seconds=self.lasted_s or 0), language)
            return _DIGEST[language].format(group=self.group.text(language), took=took, worst=worst)
        how_long = duration_text(self.at - self.since, language)
        line = _ALARM[language].format(group=self.group.text(language), worst=worst, how_long=how_long)
        return line if self.why is Why.RAISED else f"{line} ({self.why.text(language)})"


def value_text(field: str, value: float, language: Language) -> str:
    """Return a value with its name and unit."""
    number = shown(field, value, 1).removesuffix(".0")
    number = number.replace(".", ",") if language == "fr" else number
    vital = BY_FIELD[field]
    return f"{vital.short_fr if language == 'fr' else vital.short_en} {number} {vital.unit_shown}"


def duration_text(length: timedelta, language: Language) -> str:
    """Return a duration in words, to the minute."""
    minutes = max(0, round(length / timedelta(minutes=1)))
    if minutes < 1:
        return {"en": "less than a minute", "fr": "moins d'une minute"}[language]
    hours, minutes = divmod(minutes, 60)
    return " ".join(filter(None, [f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]))


_FIELDS: dict[Group, tuple[str, ...]] = {
    **{Group(vital.alarm.group): (vital.field,) for vital in VITALS if vital.alarm},
    Group.COMBO: (SPO2.field, TEMPERATURE.field),
}
_GROUPS: dict[Group, dict[Language, str]] = {
    Group.SPO2: {"en": "Low oxygen", "fr": "Manque d'oxygène"},
    Group.TEMP: {"en": "Fever", "fr": "Fièvre"},
    Group.HR: {"en": "Heart rate", "fr": "Rythme cardiaque"},
    Group.COMBO: {"en": "Fever with low oxygen", "fr": "Fièvre avec manque d'oxygène"},
}
_WHYS: dict[Why, dict[Language, str]] = {
    Why.RAISED: {"en": "new", "fr": "nouvelle"},
    Why.REPEATED: {"en": "nobody has answered", "fr": "personne n'a répondu"},
    Why.ESCALATED: {
        "en": "nobody has answered, more contacts are being notified",
        "fr": "sans réponse, d'autres contacts sont prévenus",
    },
    Why.SILENCE_OVER: {"en": "the silence has ended", "fr": "fin de la mise en silence"},
    Why.WORSENED: {"en": "worse than when acknowledged", "fr": "aggravation depuis l'acquittement"},
    Why.DIGEST: {"en": "while offline", "fr": "pendant la coupure"},
    Why.UNCOVERED: {
        "en": "the gateway can no longer notify anybody",
        "fr": "la passerelle ne peut plus prévenir personne",
    },
    Why.LAST_RESORT: {
        "en": "nobody has answered the gateway's alarm for 15 minutes",
        "fr": "l'alarme de la passerelle est sans réponse depuis 15 minutes",
    },
}
_ALARM: dict[Language, str] = {
    "en": "{group}: worst {worst}, for {how_long}",
    "fr": "{group}\u00a0: au pire {worst}, depuis {how_long}",
}
_DIGEST: dict[Language, str] = {
    "en": "While offline: {group}, for {took} in all, worst {worst}",
    "fr": "Pendant la coupure\u00a0: {group}, {took} au total, au pire {worst}",
}
