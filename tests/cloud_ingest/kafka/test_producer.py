"""What the producer relies on in confluent-kafka, and how it classifies errors."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from cloud_ingest.kafka.producer import Ticket

CHECKED_VERSIONS = ("2.16.",)
"""Versions of confluent-kafka in which the names below exist; check them again when the version changes."""


@pytest.mark.parametrize(("name", "code"), [("_INVALID_ARG", -186), ("_QUEUE_FULL", -184), ("_FATAL", -150)])
def test_underscored_error_codes_exist_in_this_confluent_kafka(name: str, code: int) -> None:
    assert version("confluent-kafka").startswith(CHECKED_VERSIONS)
    assert getattr(KafkaError, name) == code


def test_unexported_offset_spec_exists_in_this_confluent_kafka() -> None:
    assert version("confluent-kafka").startswith(CHECKED_VERSIONS)
    assert OffsetSpec.latest() is not None  # type: ignore[no-untyped-call]


async def test_ticket_separates_permanent_from_passing_errors() -> None:
    ticket = Ticket(3)
    ticket.settle(0, None)
    ticket.settle(1, KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    ticket.settle(2, KafkaError(KafkaError._QUEUE_FULL))
    await ticket.done
    assert ticket.missing() == [1, 2]
    assert ticket.refused.keys() == {1}
    assert ticket.failure != ""
