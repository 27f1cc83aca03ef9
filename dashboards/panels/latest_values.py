"""SQL of the latest values: one row per child with, for each vital, a number or why there is none."""

from __future__ import annotations

from dashboards.panels.children import KNOWN_CHILDREN
from dashboards.sql import literal
from dashboards.words import Words
from vitals import limits
from vitals.limits import VITALS, Vital

OLD_AFTER_S = int(limits.VALUE_OLD_AFTER.total_seconds())
"""A number older than this is shown as old, with its age."""
NO_DATA_AFTER_S = int(limits.NO_DATA_AFTER[0].total_seconds())
"""A child without a reading for longer than this has no data."""
HEARD_WITHIN_DAYS = 7
MEASURED_WITHIN = "10 minutes"
"""How long before a child's newest reading a vital is searched: a reading need not have all of them."""

LOW, HIGH = "▼", "▲"


def latest_values(words: Words) -> str:
    """Return the query; columns: child, state, seconds since the last reading, and the vitals."""
    columns = [
        f"r.patient_id AS {_name(words.child)}",
        f"{_state(words)} AS {_name(words.state)}",
        f"round(r.age) AS {_name(words.last_heard)}",
        *(f"{_cell(vital, words)} AS {_name(words.heading(vital))}" for vital in VITALS),
    ]
    joins = "\n".join(_newest(vital) for vital in VITALS)
    return f"""\
WITH RECURSIVE {KNOWN_CHILDREN}, children AS (
    SELECT patient_id FROM known WHERE patient_id IN ($patient)
), readings AS (
    SELECT c.patient_id, m.timestamp, m.contact, b.battery_pct,
           extract(epoch FROM now() - least(m.timestamp, m.recorded_at))::double precision AS age,
           0 IN ({", ".join(f"m.{vital.field}" for vital in VITALS)}) IS TRUE AS probe_off
    FROM children c
    LEFT JOIN LATERAL (SELECT * FROM measurements WHERE patient_id = c.patient_id
                       ORDER BY timestamp DESC LIMIT 1) m ON true
    LEFT JOIN LATERAL (SELECT timestamp FROM alerts WHERE patient_id = c.patient_id
                       ORDER BY timestamp DESC LIMIT 1) a ON true
    LEFT JOIN LATERAL (SELECT battery_pct FROM measurements
                       WHERE patient_id = c.patient_id AND battery_pct IS NOT NULL
                         AND timestamp > m.timestamp - interval '{MEASURED_WITHIN}'
                       ORDER BY timestamp DESC LIMIT 1) b ON true
    WHERE greatest(m.timestamp, a.timestamp) > now() - interval '{HEARD_WITHIN_DAYS} days'
)
SELECT {_list(columns)}
FROM readings r
{joins}
ORDER BY r.patient_id"""


def _newest(vital: Vital) -> str:
    """Join a child's newest row with this vital, valid or not; a fast clock does not make it newer."""
    field = vital.field
    return f"""\
LEFT JOIN LATERAL (SELECT {field} AS value, {literal(field)} = ANY (invalid_fields) AS invalid, contact,
                          extract(epoch FROM now() - least(timestamp, recorded_at))::double precision AS age
                   FROM measurements
                   WHERE patient_id = r.patient_id AND {field} IS NOT NULL
                     AND timestamp > r.timestamp - interval '{MEASURED_WITHIN}'
                   ORDER BY timestamp DESC LIMIT 1) {field} ON true"""


def _no_data(words: Words) -> str:
    """Return why there is no recent reading of a child; NULL if there is one."""
    return (
        f"CASE WHEN r.age <= {NO_DATA_AFTER_S} THEN NULL"
        f" WHEN r.battery_pct <= {limits.BATTERY_LOW_UP_TO_PCT} THEN {literal(words.low_battery)}"
        f" ELSE {literal(words.no_data)} END"
    )


def _state(words: Words) -> str:
    return (
        f"coalesce({_no_data(words)}, CASE WHEN r.contact IS FALSE THEN {literal(words.not_worn)}"
        f" WHEN r.probe_off THEN {literal(words.sensor_off)}"
        f" WHEN r.battery_pct <= {limits.BATTERY_LOW_UP_TO_PCT} THEN {literal(words.low_battery)}"
        f" ELSE {literal(words.all_well)} END)"
    )


def _cell(vital: Vital, words: Words) -> str:
    v = vital.field
    value = f"replace(concat({_critical_sign(vital)}, {v}.value), '.', {literal(words.decimal)})"
    before, _, rest = words.old.partition("{value}")
    between, _, after = rest.partition("{age}")
    old = f"concat({literal(before)}, {value}, {literal(between)}, {_age(f'{v}.age')}, {literal(after)})"
    return f"""\
CASE
        WHEN {v}.value IS NULL THEN coalesce({_no_data(words)}, CASE
            WHEN r.contact IS FALSE THEN {literal(words.not_worn)} ELSE {literal(words.not_measured)} END)
        WHEN {v}.invalid THEN coalesce({_no_data(words)}, CASE
            WHEN {v}.contact IS FALSE THEN {literal(words.not_worn)}
            WHEN {v}.value = 0 THEN {literal(words.sensor_off)} ELSE {literal(words.impossible)} END)
        WHEN {v}.age > {OLD_AFTER_S} THEN {old}
        ELSE {value} END"""


def _critical_sign(vital: Vital) -> str:
    """Return the sign before a critical number; raw values are compared, as in the rules."""
    value, alarm = f"{vital.field}.value", vital.alarm
    if alarm is None:
        return "''"
    signs = []
    if low := alarm.low:
        signs.append(f"WHEN {value} {'<=' if low.included else '<'} {low.critical:g} THEN '{LOW} '")
    if high := alarm.high:
        signs.append(f"WHEN {value} {'>=' if high.included else '>'} {high.critical:g} THEN '{HIGH} '")
    return f"CASE {' '.join(signs)} END"


def _age(seconds: str) -> str:
    """Format an age: seconds under two minutes, minutes under two hours, then hours; rounded down."""
    return (
        f"CASE WHEN {seconds} < 120 THEN floor({seconds}) || ' s'"
        f" WHEN {seconds} < 7200 THEN floor({seconds} / 60) || ' min'"
        f" ELSE floor({seconds} / 3600) || ' h' END"
    )


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _list(columns: list[str]) -> str:
    return ",\n    ".join(columns)
