"""Why there is no number from a bracelet: a value, with words for people in English and French."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from vitals.limits import BATTERY_EXHAUSTED_UP_TO_PCT

Language = Literal["en", "fr"]


class Absence(StrEnum):
    """One reason.

    The first four come from the bracelet's own flags and charge, OUT_OF_RANGE and SLOT_WAIT from the
    gateway's link, CLOCK_UNSET from a clock that nobody could set: its stored values cannot be dated.
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
        """The reason in words."""
        return _TEXTS[self][language]


_TEXTS: dict[Absence, dict[Language, str]] = {
    Absence.NOT_WORN: {"en": "not worn", "fr": "bracelet non porté"},
    Absence.MOTION: {"en": "too much movement", "fr": "trop de mouvement"},
    Absence.LOW_PERFUSION: {
        "en": "too little blood flow under the sensor",
        "fr": "trop peu de circulation sous le capteur",
    },
    Absence.LOW_BATTERY: {"en": "battery empty or nearly so", "fr": "batterie vide ou presque"},
    Absence.OUT_OF_RANGE: {"en": "out of range or switched off", "fr": "hors de portée ou éteint"},
    Absence.SLOT_WAIT: {
        "en": "waits: the gateway holds as many bracelets as it can",
        "fr": "en attente\u00a0: la passerelle tient déjà autant de bracelets qu'elle peut",
    },
    Absence.CLOCK_UNSET: {"en": "its clock is not set", "fr": "son horloge n'est pas réglée"},
    Absence.NOT_GIVEN: {
        "en": "the sensor gave no number and no reason",
        "fr": "le capteur n'a donné ni valeur ni raison",
    },
}


def of_disconnected(battery_pct: int | None) -> Absence:
    """Why a bracelet without a connection sends nothing.

    Args:
        battery_pct: its charge when last known.
    """
    empty = battery_pct is not None and battery_pct <= BATTERY_EXHAUSTED_UP_TO_PCT
    return Absence.LOW_BATTERY if empty else Absence.OUT_OF_RANGE
