"""The heartbeat document."""

from uuid import UUID

import pytest
from pydantic import ValidationError

from vitals.heartbeat import Heartbeat, printable

BARE = {"status_id": str(UUID(int=1)), "gateway_id": "gw-1", "timestamp": "2025-08-24T10:30:00Z"}


def test_heartbeat_without_optional_fields_covers_no_patient() -> None:
    heartbeat = Heartbeat.model_validate(BARE)
    assert (heartbeat.contacts_reachable, heartbeat.watches, heartbeat.episodes) == (False, (), ())
    assert heartbeat.outbox_pending is None


def test_heartbeat_of_a_newer_gateway_is_read() -> None:
    assert Heartbeat.model_validate(BARE | {"mood": "good"}).gateway_id == "gw-1"


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 61])
def test_name_that_cannot_be_shown_is_refused(name: str) -> None:
    episode = {"patient_id": "p", "group": "SPO2", "phase": "ACKNOWLEDGED", "by": name}
    with pytest.raises(ValidationError):
        Heartbeat.model_validate(BARE | {"episodes": [episode]})


def test_printable_text_is_what_a_heartbeat_takes() -> None:
    assert printable("away:\tno\nroute\x00", 12) == "away: no rou"
