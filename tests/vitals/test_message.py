"""A message is kept without the name of the child it is about."""

from datetime import UTC, datetime

from vitals.conditions import Condition, ConditionKind, Priority
from vitals.message import Message, of_condition

NIGHT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)


def test_message_is_read_back_for_whoever_it_is_about() -> None:
    body = {"en": "Low oxygen", "fr": "Manque d'oxygène"}
    said = Message("SPO2", "raised", "p1_x", Priority.HIGH, 1, NIGHT, "Awa", body)  # type: ignore[arg-type]
    assert "Awa" not in said.to_json()
    assert Message.from_json(said.to_json(), "Awa") == said


def test_silent_gateway_is_told_in_both_languages() -> None:
    silent = Condition(ConditionKind.GATEWAY_SILENT, Priority.HIGH, "gw-1")
    said = of_condition(silent, None, "gw-1", NIGHT, level=2)
    assert (said.level, said.title("fr"), said.title("en")) == (2, "ALARME gw-1", "ALARM gw-1")
    assert said.body == {
        "en": "The gateway has fallen silent; nobody knows how its children are",
        "fr": "La passerelle ne répond plus\u00a0; l'état de ses enfants est inconnu",
    }
