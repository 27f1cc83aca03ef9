"""Names of topics, and parsing of bracelet topics."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitals.topics import (
    BRACELETS,
    BraceletTopic,
    gateway_state,
    measurements_of,
    patient_alarms,
    status_of,
)


def test_names_of_one_bracelet() -> None:
    assert measurements_of("demo-1") == "kidjamo/bracelets/demo-1/measurements"
    assert status_of("demo-1") == "kidjamo/bracelets/demo-1/status"
    assert BRACELETS == "kidjamo/bracelets/+/+"


def test_names_of_gateways_and_patients() -> None:
    assert gateway_state("gw-1") == "kidjamo/gateways/gw-1/state"
    assert patient_alarms("patient-001-ss") == "kidjamo/patients/patient-001-ss/alarms"


@given(
    st.text(st.characters(exclude_characters="/+#"), min_size=1), st.sampled_from(["measurements", "status"])
)
def test_bracelet_topic_round_trip(device_id: str, channel: str) -> None:
    topic = BraceletTopic(device_id, channel)
    assert BraceletTopic.parse(str(topic)) == topic


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "kidjamo/bracelets//measurements",
        "kidjamo/bracelets/demo-1",
        "kidjamo/bracelets/demo-1/",
        "kidjamo/bracelets/demo-1/commands",
        "kidjamo/bracelets/demo-1/measurements/",
        "kidjamo/bracelets/a/b/measurements",
        "/kidjamo/bracelets/demo-1/measurements",
        "Kidjamo/bracelets/demo-1/measurements",
        "kidjamo/gateways/gw-1/state",
    ],
)
def test_bracelet_topic_parse_of_another_topic(topic: str) -> None:
    assert BraceletTopic.parse(topic) is None


@given(st.text())
def test_bracelet_topic_parse_of_any_text(text: str) -> None:
    found = BraceletTopic.parse(text)
    assert found is None or str(found) == text
