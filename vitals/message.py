"""Messages to contacts: one alarm or one technical condition, in both languages."""

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
        kind: a group of alarms or a type of condition.
        why: the reason for sending it.
        level: escalation level: contacts up to this level receive it.
        about: name of the child or of the gateway.
        body: the text.
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
        """Return the first line: priority and name."""
        return f"{_TITLES[self.priority][language]} {self.about}"

    def is_for(self, level: int) -> bool:
        """Return whether a contact of this level receives it; low priority is shown on the page only."""
        return self.priority >= Priority.MEDIUM and self.level >= level

    @classmethod
    def from_json(cls, text: str, about: str) -> Message:
        """Read the output of `to_json`, which leaves out `about`."""
        fields = json.loads(text)
        return cls(
            fields["kind"],
            fields["why"],
            fields["patient_id"],
            Priority[fields["priority"]],
            fields["level"],
            datetime.fromisoformat(fields["timestamp"]),
            about,
            {"en": fields["message"], "fr": fields["message_fr"]},
        )

    def to_json(self) -> str:
        """Return it as one JSON object, without the child's name."""
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
    """Return the message of a notice; a digest reports the past and has medium priority."""
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
    """Return the message of a technical condition of a child, a gateway or the cloud.

    Args:
        level: escalation level: contacts up to this level receive it.
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
    """Return a test message for a contact."""
    return Message(
        "TEST",
        "test",
        None,
        Priority.LOW,
        0,
        now,
        gateway_id,
        {
            "en": "This is a test: you will receive the alarms of this gateway.",
            "fr": "Ceci est un test\u00a0: vous recevrez les alarmes de cette passerelle.",
        },
    )
