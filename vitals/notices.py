"""What a person is told about an alarm, in English and French."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from vitals.absence import Language
from vitals.limits import BY_FIELD, HEART_RATE, SPO2, TEMPERATURE, shown
from vitals.reading import Identifier, UtcTime
from vitals.rules import AlertType


class Group(StrEnum):
    """Critical alerts that are one alarm to a person."""

    SPO2 = "SPO2"
    TEMP = "TEMP"
    HR = "HR"
    COMBO = "COMBO"

    @property
    def fields(self) -> tuple[str, ...]:
        """The vitals it is about."""
        return _FIELDS[self]

    def text(self, language: Language) -> str:
        """Its name in words."""
        return _GROUPS[self][language]


GROUP_OF = {
    AlertType.CRITICAL_SPO2: Group.SPO2,
    AlertType.CRITICAL_TEMPERATURE: Group.TEMP,
    AlertType.CRITICAL_HEART_RATE: Group.HR,
    AlertType.CRITICAL_FEVER_SPO2: Group.COMBO,
}


class Why(StrEnum):
    """What makes an alarm speak."""

    RAISED = "raised"
    REPEATED = "repeated"
    ESCALATED = "escalated"
    SILENCE_OVER = "silence_over"
    WORSENED = "worsened"
    DIGEST = "digest"
    UNCOVERED = "uncovered"
    LAST_RESORT = "last_resort"

    def text(self, language: Language) -> str:
        """In words."""
        return _WHYS[self][language]


class Notice(BaseModel):
    """One notification of one child's alarm.

    Attributes:
        at: when it was decided to tell somebody.
        since: when the first critical value was measured; of a digest, the first one missed.
        until: when the latest one was measured.
        level: how many contacts beyond the first are to be told: 0, 1, 2.
        worst: the worst values so far, by field.
        records: critical readings so far.
        lasted_s: of a digest, for how long values were critical while nobody could know.
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
        """Whether somebody must be woken; a digest speaks of what is over."""
        return self.why is not Why.DIGEST

    def text(self, language: Language) -> str:
        """One line for a person, without the child's name."""
        worst = ", ".join(worded(field, value, language) for field, value in self.worst.items())
        if self.why is Why.DIGEST:
            took = lasting(timedelta(seconds=self.lasted_s or 0), language)
            return _DIGEST[language].format(group=self.group.text(language), took=took, worst=worst)
        how_long = lasting(self.at - self.since, language)
        line = _ALARM[language].format(group=self.group.text(language), worst=worst, how_long=how_long)
        return line if self.why is Why.RAISED else f"{line} ({self.why.text(language)})"


def worded(field: str, value: float, language: Language) -> str:
    """A value with its name and unit."""
    number = shown(field, value, 1).removesuffix(".0")
    number = number.replace(".", ",") if language == "fr" else number
    return f"{_SHORT[field][language]} {number} {BY_FIELD[field].unit_shown}"


def lasting(length: timedelta, language: Language) -> str:
    """A length of time in words, to the minute."""
    minutes = max(0, round(length / timedelta(minutes=1)))
    if minutes < 1:
        return {"en": "less than a minute", "fr": "moins d'une minute"}[language]
    hours, minutes = divmod(minutes, 60)
    return " ".join(filter(None, [f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]))


_FIELDS = {
    Group.SPO2: (SPO2.field,),
    Group.TEMP: (TEMPERATURE.field,),
    Group.HR: (HEART_RATE.field,),
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
        "en": "nobody has answered, more people are told",
        "fr": "sans réponse, d'autres prévenus",
    },
    Why.SILENCE_OVER: {"en": "the silence is over", "fr": "fin du silence"},
    Why.WORSENED: {"en": "worse than when acknowledged", "fr": "s'aggrave depuis l'acquittement"},
    Why.DIGEST: {"en": "while offline", "fr": "pendant la coupure"},
    Why.UNCOVERED: {
        "en": "its gateway can no longer tell anybody",
        "fr": "sa passerelle ne peut plus prévenir personne",
    },
    Why.LAST_RESORT: {
        "en": "nobody has answered the gateway for 15 minutes",
        "fr": "personne n'a répondu à la passerelle depuis 15 minutes",
    },
}
_SHORT: dict[str, dict[Language, str]] = {
    SPO2.field: {"en": "SpO2", "fr": "SpO2"},
    TEMPERATURE.field: {"en": "temperature", "fr": "température"},
    HEART_RATE.field: {"en": "heart rate", "fr": "pouls"},
}
_ALARM: dict[Language, str] = {
    "en": "{group}: worst {worst}, for {how_long}",
    "fr": "{group}\u00a0: au pire {worst}, depuis {how_long}",
}
_DIGEST: dict[Language, str] = {
    "en": "While offline: {group}, for {took} in all, worst {worst}",
    "fr": "Pendant la coupure\u00a0: {group}, {took} au total, au pire {worst}",
}
