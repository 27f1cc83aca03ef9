"""Why a bracelet sends no value, with texts for carers in English and French."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from vitals.limits import BATTERY_EXHAUSTED_UP_TO_PCT

Language = Literal["en", "fr"]


class Absence(StrEnum):
    """The reason for a missing value.

    The first four come from the bracelet's flags and charge, OUT_OF_RANGE and SLOT_WAIT from the gateway's
    link. CLOCK_UNSET is a clock that could not be set, so that stored values cannot be dated.
    """

    NOT_WORN = "not_worn"
    MOTION = "motion"
    LOW_PERFUSION = "low_perfusion"
    LOW_BATTERY = "low_battery"
    OUT_OF_RANGE = "out_of_range"
    SLOT_WAIT = "slot_wait"
    CLOCK_UNSET = "clock_unset"
    NOT_GIVEN = "not_given"

    def text(self, language: Language) -> str:
        """Return the reason in words."""
        return _TEXTS[self][language]


_TEXTS: dict[Absence, dict[Language, str]] = {
    Absence.NOT_WORN: {"en": "not worn", "fr": "bracelet non porté"},
    Absence.MOTION: {"en": "too much movement", "fr": "trop de mouvements"},
    Absence.LOW_PERFUSION: {
        "en": "poor blood flow under the sensor",
        "fr": "circulation sanguine insuffisante sous le capteur",
    },
    Absence.LOW_BATTERY: {"en": "battery empty or nearly empty", "fr": "batterie vide ou presque vide"},
    Absence.OUT_OF_RANGE: {"en": "out of range or switched off", "fr": "hors de portée ou éteint"},
    Absence.SLOT_WAIT: {
        "en": "waiting: the gateway has reached its limit of connected bracelets",
        "fr": "en attente\u00a0: la passerelle a atteint sa limite de bracelets connectés",
    },
    Absence.CLOCK_UNSET: {"en": "its clock is not set", "fr": "son horloge n'est pas réglée"},
    Absence.NOT_GIVEN: {
        "en": "the sensor sent no value and no reason",
        "fr": "le capteur n'a transmis ni valeur ni motif",
    },
}


def of_disconnected(battery_pct: int | None) -> Absence:
    """Return why a disconnected bracelet sends nothing.

    Args:
        battery_pct: its last known charge.
    """
    empty = battery_pct is not None and battery_pct <= BATTERY_EXHAUSTED_UP_TO_PCT
    return Absence.LOW_BATTERY if empty else Absence.OUT_OF_RANGE
