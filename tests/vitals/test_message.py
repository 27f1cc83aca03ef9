"""Messages: JSON without the child's name, texts, and recipients by level."""

from datetime import UTC, datetime

import pytest

from vitals.conditions import Condition, ConditionKind, Priority
from vitals.message import Message, of_condition

NIGHT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)


def test_message_json_round_trip() -> None:
    body = {"en": "Low oxygen", "fr": "Manque d'oxygène"}
    message = Message("SPO2", "raised", "p1_x", Priority.HIGH, 1, NIGHT, "Awa", body)  # type: ignore[arg-type]
    assert "Awa" not in message.to_json()
    assert Message.from_json(message.to_json(), "Awa") == message


def test_silent_gateway_message_in_both_languages() -> None:
    silent = Condition(ConditionKind.GATEWAY_SILENT, Priority.HIGH, "gw-1")
    message = of_condition(silent, None, "gw-1", NIGHT, level=2)
    assert (message.level, message.title("fr"), message.title("en")) == (2, "ALARME gw-1", "ALARM gw-1")
    assert message.body == {
        "en": "The gateway is not responding; the state of its children is unknown",
        "fr": "La passerelle ne répond plus\u00a0; l'état de ses enfants est inconnu",
    }


@pytest.mark.parametrize(
    ("own_level", "priority", "level", "wanted"),
    [
        (0, Priority.HIGH, 0, True),
        (0, Priority.MEDIUM, 0, True),
        (0, Priority.LOW, 0, False),
        (1, Priority.HIGH, 0, False),
        (1, Priority.HIGH, 1, True),
        (2, Priority.HIGH, 1, False),
        (2, Priority.HIGH, 2, True),
    ],
)
def test_message_is_for_contacts_up_to_its_level(
    own_level: int, priority: Priority, level: int, wanted: bool
) -> None:
    message = Message("k", "w", "p", priority, level, NIGHT, "Awa", {})
    assert message.is_for(own_level) is wanted
