"""The texts of the page in English and French."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from vitals.absence import Language

LANGUAGES: tuple[Language, ...] = get_args(Language)

_WORDS: Mapping[str, tuple[str, str]] = {
    "title": ("Monitored children", "Enfants sous surveillance"),
    "disclaimer": (
        "Research and education software, not a medical device.",
        "Logiciel de recherche et d'enseignement, pas un dispositif médical.",
    ),
    "limits": (
        "Fixed thresholds ignore a child's own baseline; oximeters read too high on dark skin; skin"
        " temperature at the wrist is 1–2 °C below core temperature; pain is not measured.",
        "Les seuils sont fixes et ne tiennent pas compte des valeurs habituelles de l'enfant ; les oxymètres"
        " surestiment la saturation sur peau foncée ; la température au poignet est inférieure de 1 à 2 °C"
        " à la température centrale ; la douleur n'est pas mesurée.",
    ),
    "no_children": ("No child is listed yet.", "Aucun enfant n'est encore inscrit."),
    "no_value": ("no value", "pas de mesure"),
    "ago": ("ago", "il y a"),
    "trend": ("last 4 hours", "4 dernières heures"),
    "from_to": ("from {low} to {high}", "de {low} à {high}"),
    "no_alarm": ("No alarm", "Aucune alarme"),
    "since": ("since", "depuis"),
    "ACTIVE": ("unanswered", "sans réponse"),
    "ACKNOWLEDGED": ("seen", "vue"),
    "LATCHED": ("over, not seen yet", "terminée, pas encore vue"),
    "silent_until": ("silent until {time}, by {who}", "silence jusqu'à {time}, par {who}"),
    "seen": ("Seen", "J'ai vu"),
    "seen_for": ("Seen · silence {minutes} min", "J'ai vu · silence {minutes} min"),
    "gateway": ("Gateway", "Passerelle"),
    "cloud_up": ("connected to the cloud", "connectée au cloud"),
    "cloud_down": ("no connection to the cloud since", "pas de connexion au cloud depuis"),
    "backlog": ("readings waiting to be sent: {count}", "mesures en attente d'envoi : {count}"),
    "no_backlog": ("all readings sent", "toutes les mesures sont envoyées"),
    "battery": ("battery {pct} %", "batterie {pct} %"),
    "on_duty": ("On duty", "De garde"),
    "nobody_on_duty": ("nobody has taken over yet", "personne n'a encore pris la garde"),
    "take_over": ("I take over", "Je prends la garde"),
    "note": ("Hand-over note", "Transmission pour la relève"),
    "self_test": ("Test the alarms", "Tester les alarmes"),
    "self_test_none": ("No contact is configured.", "Aucun contact n'est configuré."),
    "self_test_ok": ("sent; has it arrived?", "envoyé ; est-il arrivé ?"),
    "sound_off": ("Sound is off: press to turn it on", "Le son est coupé : appuyez pour l'activer"),
    "sound_on": ("Sound is on", "Le son est activé"),
    "lost": (
        "Connection to the gateway lost: these values are out of date",
        "Connexion à la passerelle perdue : ces valeurs ne sont plus à jour",
    ),
    "failed": ("That did not work. Please try again.", "L'action a échoué. Veuillez réessayer."),
    "language": ("Français", "English"),
    "log_in": ("Log in", "Se connecter"),
    "log_out": ("Log out", "Se déconnecter"),
    "your_name": ("Your name", "Votre nom"),
    "pin": ("PIN", "Code PIN"),
    "wrong_pin": ("Wrong PIN.", "Code PIN incorrect."),
    "too_many": ("Too many attempts. Wait one minute.", "Trop d'essais. Attendez une minute."),
    "HIGH": ("urgent", "urgent"),
    "MEDIUM": ("important", "important"),
    "LOW": ("for information", "pour information"),
}
_SPACED_MARKS = (" ;", " :", " ?", " !")


def words(language: Language) -> dict[str, str]:
    """Return every text of the page in one language; in French, spaces before `; : ? !` do not break."""
    column = 1 if language == "fr" else 0
    texts = {name: both[column] for name, both in _WORDS.items()}
    return {name: _typeset(text) for name, text in texts.items()} if language == "fr" else texts


def choose_language(chosen: str | None, default: Language) -> Language:
    """Return the chosen language if the page has it, otherwise the default."""
    return next((language for language in LANGUAGES if language == chosen), default)


def _typeset(text: str) -> str:
    for mark in _SPACED_MARKS:
        text = text.replace(mark, f"\u00a0{mark[1]}")
    return text
