"""Everything a person reads on a dashboard, in English and French."""

from __future__ import annotations

from dataclasses import dataclass

from vitals.limits import Vital


@dataclass(frozen=True, slots=True)
class Words:
    """One language.

    Attributes:
        language: ISO 639-1 code; ends the uid of a dashboard and its file's name.
        vital_name: attribute of a `Vital` that names it in this language.
        message: column of `alerts` with the sentence in this language.
        decimal: what stands between a number's whole and fraction.
        old: format of a number that is old, with `{value}` and `{age}`.
    """

    language: str
    vital_name: str
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
        """A vital's name as a heading."""
        name: str = getattr(vital, self.vital_name)
        return name[0].upper() + name[1:]

    def heading(self, vital: Vital) -> str:
        """A vital's name with its unit."""
        return f"{self.name(vital)} ({vital.unit_shown})"

    def number(self, number: float) -> str:
        """A number as this language writes it."""
        return f"{number:g}".replace(".", self.decimal)


ENGLISH = Words(
    language="en",
    vital_name="name_en",
    message="message",
    decimal=".",
    old="old: {value} ({age})",
    ward="Kidjamo – ward",
    notice="**Research and education software, not a medical device.** Never the only watch over a child. "
    "Values of simulated bracelets are no clinical evidence. Children appear under their pseudonyms.",
    child="Child",
    state="State",
    last_heard="Last heard",
    latest="Latest values",
    latest_note="The newest value of each vital, whatever time range is chosen; every child heard of in "
    "the last {days} days. ▼ ▲: beyond a critical threshold. A number older than {old_s} s is marked old, "
    "with its age. Where there is no number, the cell says why.",
    all_well="ok",
    no_data="no data",
    low_battery="low battery",
    not_worn="not worn",
    sensor_off="sensor off",
    impossible="impossible value",
    not_measured="not measured",
    alerts="Critical alerts, open and recent",
    alerts_note="One line a child and rule. Open: not yet cleared by values back within limits for long "
    "enough; missing data never clears an alert. Acknowledgements are not shown here.",
    last_time="Last record",
    since="Ago",
    records="Records",
    what="What",
    open="open",
    over="over",
    worst_low="Each point is the lowest value of its interval.",
    worst_high="Each point is the highest value of its interval.",
    worst_either="Each point is the value of its interval that is furthest from the middle of the limits.",
    mean="Each point is the mean of its interval. No critical threshold.",
    critical_below="Red: critical below {limit} {unit}.",
    critical_from="Red: critical from {limit} {unit}.",
    critical_above="Red: critical above {limit} {unit}.",
    with_fever="Orange: critical up to {limit} {unit} together with a temperature of {fever} °C or more.",
    flow="Readings per minute",
    flow_note="Recorded readings by the minute they were measured in.",
    delay="Delay, 95th percentile",
    delay_note="From a reading's timestamp to its row in the database: {share} % of a minute's readings "
    "took no longer.",
    live="live",
    backlog="backlog",
    errors="Ingestion errors by source",
    errors_note="Records refused or unreadable, kept with their original bytes.",
)

FRENCH = Words(
    language="fr",
    vital_name="name_fr",
    message="message_fr",
    decimal=",",
    old="ancien : {value} ({age})",
    ward="Kidjamo – service",
    notice="**Logiciel de recherche et d'enseignement, pas un dispositif médical.** Jamais la seule "
    "surveillance d'un enfant. Les valeurs de bracelets simulés ne sont pas une preuve clinique. Les "
    "enfants apparaissent sous leurs pseudonymes.",
    child="Enfant",
    state="État",
    last_heard="Dernier signe",
    latest="Dernières valeurs",
    latest_note="La valeur la plus récente de chaque constante, quelle que soit la période choisie ; "
    "chaque enfant dont on a eu un signe depuis {days} jours. ▼ ▲ : au-delà d'un seuil critique. Une "
    "valeur de plus de {old_s} s est marquée ancienne, avec son âge. Sans valeur, la case dit pourquoi.",
    all_well="ok",
    no_data="pas de données",
    low_battery="batterie faible",
    not_worn="non porté",
    sensor_off="capteur débranché",
    impossible="valeur impossible",
    not_measured="non mesuré",
    alerts="Alertes critiques, ouvertes et récentes",
    alerts_note="Une ligne par enfant et par règle. Ouverte : des valeurs revenues dans les limites assez "
    "longtemps ne l'ont pas encore levée ; l'absence de données ne lève jamais une alerte. Les "
    "acquittements ne sont pas montrés ici.",
    last_time="Dernier relevé",
    since="Il y a",
    records="Relevés",
    what="Quoi",
    open="ouverte",
    over="levée",
    worst_low="Chaque point est la valeur la plus basse de son intervalle.",
    worst_high="Chaque point est la valeur la plus haute de son intervalle.",
    worst_either="Chaque point est la valeur de son intervalle la plus éloignée du milieu des limites.",
    mean="Chaque point est la moyenne de son intervalle. Pas de seuil critique.",
    critical_below="Rouge : critique sous {limit} {unit}.",
    critical_from="Rouge : critique à partir de {limit} {unit}.",
    critical_above="Rouge : critique au-dessus de {limit} {unit}.",
    with_fever="Orange : critique jusqu'à {limit} {unit} avec une température de {fever} °C ou plus.",
    flow="Mesures par minute",
    flow_note="Mesures enregistrées, selon la minute où elles ont été prises.",
    delay="Délai, 95e centile",
    delay_note="De l'horodatage d'une mesure à sa ligne dans la base : {share} % des mesures d'une minute "
    "n'ont pas pris plus longtemps.",
    live="direct",
    backlog="rattrapage",
    errors="Erreurs d'ingestion par source",
    errors_note="Enregistrements refusés ou illisibles, gardés avec leurs octets d'origine.",
)

LANGUAGES = (ENGLISH, FRENCH)
