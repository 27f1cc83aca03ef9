"""Every reason has a text in both languages."""

from __future__ import annotations

import pytest

from vitals.absence import Absence


@pytest.mark.parametrize("absence", Absence)
def test_text_in_both_languages(absence: Absence) -> None:
    english, french = absence.text("en"), absence.text("fr")
    assert english
    assert french
    assert english != french


def test_values_are_the_published_ones() -> None:
    assert {absence.value for absence in Absence} == {
        "not_worn",
        "motion",
        "low_perfusion",
        "low_battery",
        "out_of_range",
        "slot_wait",
        "clock_unset",
        "not_given",
    }
