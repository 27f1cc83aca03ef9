"""All texts on the dashboards, in English and French."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vitals.limits import Vital


@dataclass(frozen=True, slots=True)
class Words:
    """One language.

    Attributes:
        language: ISO 639-1 code; ends the uid of a dashboard and its file's name.
        vital_name: returns a vital's name in this language.
        message: column of `alerts` with the message in this language.
        decimal: decimal separator.
        old: format of an old number, with `{value}` and `{age}`.
    """

    language: str
    vital_name: Callable[[Vital], str]
    message: str
    decimal: str
    old: str

    ward: str
    notice: str
    child: str
    state: str
    last_heard: str
    latest: str
    latest_note: str

    all_well: str
    no_data: str
    low_battery: str
    not_worn: str
    sensor_off: str
    impossible: str
    not_measured: str

    alerts: str
    alerts_note: str
    last_time: str
    since: str
    records: str
    what: str
    open: str
    over: str

    worst_low: str
    worst_high: str
    worst_either: str
    mean: str
    critical_below: str
    critical_from: str
    critical_above: str
    with_fever: str

    flow: str
    flow_note: str
    delay: str
    delay_note: str
    live: str
    backlog: str
    errors: str
    errors_note: str

    def name(self, vital: Vital) -> str:
        """Return a vital's name as a heading."""
        name = self.vital_name(vital)
        return name[0].upper() + name[1:]

    def heading(self, vital: Vital) -> str:
        """Return a vital's name with its unit."""
        return f"{self.name(vital)} ({vital.unit_shown})"

    def number(self, number: float) -> str:
        """Format a number for this language."""
        return f"{number:g}".replace(".", self.decimal)


ENGLISH = Words(
    language="en",
    vital_name=lambda vital: vital.name_en,
    message="message",
    decimal=".",
    old="old: {value} ({age})",
    ward="Kidjamo – ward",
    notice="**Research and education software, not a medical device.** Never rely on it alone to monitor a "
    "child. Data from simulated bracelets are not clinical evidence. Children are shown under pseudonyms.",
    child="Child",
    state="State",
    last_heard="Last reading",
    latest="Latest values",
    latest_note="The newest value of each vital, whatever the selected time range; every child with data in "
    "the last {days} days. ▼ ▲: beyond a critical threshold. A value older than {old_s} s is marked as old, "
    "with its age. If there is no value, the cell says why.",
    all_well="ok",
    no_data="no data",
    low_battery="low battery",
    not_worn="not worn",
    sensor_off="sensor off",
    impossible="impossible value",
    not_measured="not measured",
    alerts="Critical alerts, open and recent",
    alerts_note="One row per child and rule. An alert stays open until values have been back within limits "
    "for long enough; missing data never clears an alert. Acknowledgements are not shown here.",
    last_time="Last record",
    since="Ago",
    records="Records",
    what="Alert",
    open="open",
    over="over",
    worst_low="Each point is the lowest value in its interval.",
    worst_high="Each point is the highest value in its interval.",
    worst_either="Each point is the value in its interval that is furthest from the middle of the limits.",
    mean="Each point is the mean of its interval. There is no critical threshold.",
    critical_below="Red: critical below {limit} {unit}.",
    critical_from="Red: critical at {limit} {unit} and above.",
    critical_above="Red: critical above {limit} {unit}.",
    with_fever="Orange: critical at {limit} {unit} or less with a temperature of {fever} °C or more.",
    flow="Readings per minute",
    flow_note="Recorded readings, by the minute in which they were measured.",
    delay="Delay, 95th percentile",
    delay_note="Time from a reading's timestamp to its row in the database; {share} % of each minute's "
    "readings took no longer.",
    live="live",
    backlog="backlog",
    errors="Ingestion errors by source",
    errors_note="Rejected or unreadable records, kept with their original bytes.",
)

FRENCH = Words(
    language="fr",
    vital_name=lambda vital: vital.name_fr,
    message="message_fr",
    decimal=",",
    old="ancien\u00a0: {value} ({age})",
    ward="Kidjamo – service",
    notice="**Logiciel de recherche et d'enseignement, pas un dispositif médical.** Il ne doit jamais être "
    "le seul moyen de surveillance d'un enfant. Les données de bracelets simulés n'ont pas de valeur "
    "clinique. Les enfants sont affichés sous pseudonyme.",
    child="Enfant",
    state="État",
    last_heard="Dernière mesure",
    latest="Dernières valeurs",
    latest_note="La valeur la plus récente de chaque constante, quelle que soit la période choisie\u00a0; "
    "tous les enfants ayant des données depuis {days} jours. ▼ ▲\u00a0: seuil critique franchi. Une valeur "
    "de plus de {old_s} s est signalée comme ancienne, avec son âge. En l'absence de valeur, la case "
    "indique pourquoi.",
    all_well="ok",
    no_data="aucune donnée",
    low_battery="batterie faible",
    not_worn="non porté",
    sensor_off="capteur débranché",
    impossible="valeur impossible",
    not_measured="non mesuré",
    alerts="Alertes critiques, ouvertes et récentes",
    alerts_note="Une ligne par enfant et par règle. Une alerte reste ouverte tant que les valeurs ne "
    "sont pas revenues assez longtemps dans les limites\u00a0; l'absence de données ne lève jamais une "
    "alerte. Les acquittements ne sont pas affichés ici.",
    last_time="Dernier enregistrement",
    since="Il y a",
    records="Enregistrements",
    what="Alerte",
    open="ouverte",
    over="levée",
    worst_low="Chaque point est la valeur la plus basse de son intervalle.",
    worst_high="Chaque point est la valeur la plus haute de son intervalle.",
    worst_either="Chaque point est la valeur de son intervalle la plus éloignée du milieu des limites.",
    mean="Chaque point est la moyenne de son intervalle. Il n'y a pas de seuil critique.",
    critical_below="Rouge\u00a0: critique en dessous de {limit} {unit}.",
    critical_from="Rouge\u00a0: critique à partir de {limit} {unit}.",
    critical_above="Rouge\u00a0: critique au-dessus de {limit} {unit}.",
    with_fever="Orange\u00a0: critique jusqu'à {limit} {unit} avec une température de {fever} °C ou plus.",
    flow="Mesures par minute",
    flow_note="Mesures enregistrées, par minute de mesure.",
    delay="Délai, 95e centile",
    delay_note="Temps entre l'horodatage d'une mesure et son enregistrement dans la base\u00a0; "
    "{share}\u00a0% des mesures de chaque minute n'ont pas pris plus de temps.",
    live="direct",
    backlog="rattrapage",
    errors="Erreurs d'ingestion par source",
    errors_note="Enregistrements refusés ou illisibles, conservés avec leurs octets d'origine.",
)

LANGUAGES = (ENGLISH, FRENCH)
