"""What is said to a person: one alarm or one technical condition, in both languages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from vitals.absence import Language
from vitals.conditions import Condition, Priority
from vitals.notices import Notice

LANGUAGES: tuple[Language, ...] = ("fr", "en")
_TITLES: Mapping[Priority, Mapping[Language, str]] = {
    Priority.HIGH: {"en": "ALARM", "fr": "ALARME"},
    Priority.MEDIUM: {"en": "Warning", "fr": "Avertissement"},
    Priority.LOW: {"en": "Notice", "fr": "Information"},
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        kind: a group of alarms or a kind of condition.
        why: what makes it speak.
        level: which contacts beyond the first are to be told, too.
        about: the child's name, or the gateway's.
        body: what has happened.
    """

    kind: str
    why: str
    patient_id: str | None
    priority: Priority
    level: int
    at: datetime
    about: str
    body: Mapping[Language, str]

    def title(self, language: Language) -> str:
        """The first line: how urgent, and whom it is about."""
        return f"{_TITLES[self.priority][language]} {self.about}"

    def is_for(self, level: int) -> bool:
        """Whether it is for a contact of this level: what is of low priority can be seen on the page."""
        return self.priority >= Priority.MEDIUM and self.level >= level

    @classmethod
    def from_json(cls, text: str, about: str) -> Message:
        """What `to_json` made; it does not say whom it is about."""
        kept = json.loads(text)
        return cls(
            kept["kind"],
            kept["why"],
            kept["patient_id"],
            Priority[kept["priority"]],
            kept["level"],
            datetime.fromisoformat(kept["timestamp"]),
            about,
            {"en": kept["message"], "fr": kept["message_fr"]},
        )

    def to_json(self) -> str:
        """As one JSON object, without a child's name: who listens knows the patient's identifier."""
        return json.dumps(
            {
                "kind": self.kind,
                "why": self.why,
                "patient_id": self.patient_id,
                "priority": self.priority.name,
                "level": self.level,
                "timestamp": self.at.isoformat(),
                "message": self.body["en"],
                "message_fr": self.body["fr"],
            }
        )


def of_notice(notice: Notice, name: str) -> Message:
    """A child's alarm; a digest is about what is over."""
    return Message(
        notice.group.value,
        notice.why.value,
        notice.patient_id,
        Priority.HIGH if notice.urgent else Priority.MEDIUM,
        notice.level,
        notice.at,
        name,
        {language: notice.text(language) for language in LANGUAGES},
    )


def of_condition(
    condition: Condition, patient_id: str | None, about: str, now: datetime, level: int = 0
) -> Message:
    """A technical condition, of a child, of a gateway or of the cloud.

    Args:
        level: which contacts beyond the first are to be told, too.
    """
    return Message(
        condition.kind.value,
        "condition",
        patient_id,
        condition.priority,
        level,
        now,
        about,
        {language: condition.text(language) for language in LANGUAGES},
    )


def self_test(gateway_id: str, now: datetime) -> Message:
    """A test of the way to a person; says that it is one."""
    return Message(
        "TEST",
        "test",
        None,
        Priority.LOW,
        0,
        now,
        gateway_id,
        {
            "en": "This is a test: alarms of this gateway reach you.",
            "fr": "Ceci est un essai\u00a0: les alarmes de cette passerelle vous parviennent.",
        },
    )
