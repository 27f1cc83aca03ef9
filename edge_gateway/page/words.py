"""What the page says, in English and French."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from vitals.absence import Language

LANGUAGES: tuple[Language, ...] = get_args(Language)

_WORDS: Mapping[str, tuple[str, str]] = {
    "title": ("Children on watch", "Enfants sous surveillance"),
    "disclaimer": (
        "Research and education software, not a medical device.",
        "Logiciel de recherche et d'enseignement, pas un dispositif médical.",
    ),
    "limits": (
        "Fixed thresholds ignore a child's own baseline; oximeters read too high on dark skin;"
        " wrist skin reads 1–2 °C under core temperature; pain is not measured.",
        "Les seuils fixes ignorent l'état habituel de l'enfant ; les oxymètres surestiment sur peau foncée ;"
        " au poignet on lit 1 à 2 °C de moins ; la douleur n'est pas mesurée.",
    ),
    "no_children": ("No child on the list yet.", "Aucun enfant sur la liste."),
    "no_value": ("no value", "pas de mesure"),
    "ago": ("ago", "il y a"),
    "old": ("old", "ancien"),
    "trend": ("last 4 hours", "4 dernières heures"),
    "from_to": ("from {low} to {high}", "de {low} à {high}"),
    "alarms": ("Alarms", "Alarmes"),
    "no_alarm": ("No alarm", "Aucune alarme"),
    "since": ("since", "depuis"),
    "ACTIVE": ("unanswered", "sans réponse"),
    "ACKNOWLEDGED": ("acknowledged", "acquittée"),
    "LATCHED": ("over, not seen yet", "terminée, pas encore vue"),
    "silent_until": ("silent until {time}, by {who}", "silence jusqu'à {time}, par {who}"),
    "acknowledge": ("Acknowledge", "Acquitter"),
    "acknowledge_for": ("Acknowledge {minutes} min", "Acquitter {minutes} min"),
    "seen": ("Seen", "Vu"),
    "gateway": ("Gateway", "Passerelle"),
    "cloud_up": ("connected to the cloud", "reliée au nuage"),
    "cloud_down": ("no connection to the cloud since", "pas de liaison avec le nuage depuis"),
    "backlog": ("{count} readings wait to be sent", "{count} mesures en attente d'envoi"),
    "no_backlog": ("nothing waits to be sent", "rien en attente d'envoi"),
    "battery": ("battery {pct} %", "batterie {pct} %"),
    "on_duty": ("On duty", "De garde"),
    "nobody_on_duty": ("nobody has taken over yet", "personne n'a encore pris la garde"),
    "take_over": ("I take over", "Je prends la garde"),
    "note": ("Note for the hand-over", "Note de transmission"),
    "self_test": ("Test the alarms", "Tester les alarmes"),
    "self_test_none": ("No contact is configured.", "Aucun contact n'est configuré."),
    "self_test_ok": ("sent; has it arrived?", "envoyé ; est-il arrivé ?"),
    "sound_off": ("Sound is off: press to switch it on", "Le son est coupé : appuyez pour l'activer"),
    "sound_on": ("Sound is on", "Le son est actif"),
    "lost": (
        "Connection to the gateway lost: what you see is old",
        "Liaison avec la passerelle perdue : ce que vous voyez est ancien",
    ),
    "failed": ("That did not work; try again.", "Échec ; réessayez."),
    "language": ("Français", "English"),
    "log_in": ("Log in", "Se connecter"),
    "log_out": ("Log out", "Se déconnecter"),
    "your_name": ("Your name", "Votre nom"),
    "pin": ("PIN", "Code PIN"),
    "wrong_pin": ("That is not the PIN.", "Ce n'est pas le bon code."),
    "too_many": ("Too many attempts; wait a minute.", "Trop d'essais ; attendez une minute."),
    "HIGH": ("urgent", "urgent"),
    "MEDIUM": ("important", "important"),
    "LOW": ("for information", "pour information"),
}


def words(language: Language) -> dict[str, str]:
    """Everything the page says in one language; French spacing before `:` and `;` does not break."""
    column = 1 if language == "fr" else 0
    said = {name: both[column] for name, both in _WORDS.items()}
    if language == "fr":
        return {name: text.replace(" ;", "\u00a0;").replace(" :", "\u00a0:") for name, text in said.items()}
    return said


def spoken(asked: str | None, preferred: Language) -> Language:
    """The language to answer in.

    Args:
        asked: what somebody chose; anything else is ignored.
    """
    return next((language for language in LANGUAGES if language == asked), preferred)
