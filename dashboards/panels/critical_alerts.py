"""SQL of the critical alerts: one row a child and rule, open ones first.

An alert is over once its vital has been back within the clear limits of the alarm rules for long enough: at
least three valid readings, all of them within, over the whole hold. Missing data never clears an alert.
"""

from __future__ import annotations

from dashboards.sql import literal
from dashboards.words import Words
from vitals.limits import HEART_RATE, SPO2, TEMPERATURE, Vital
from vitals.rules import AlertType, Severity

OPEN_FOR_AT_LEAST = "1 day"
"""How far back an open alert is looked for, however short the chosen time range."""
MOST_ROWS = 200
_VALID_READINGS_TO_CLEAR = 3

_CLEAR: dict[Vital, tuple[str, str]] = {
    SPO2: ("spo2_pct >= 90", "60 s"),
    HEART_RATE: ("freq_card BETWEEN 45 AND 170", "60 s"),
    TEMPERATURE: ("temp_corp <= 37.7", "10 min"),
}
"""When a vital is well again: the condition, and how long it must have held."""

_JUDGED_BY: dict[AlertType, tuple[Vital, ...]] = {
    AlertType.CRITICAL_SPO2: (SPO2,),
    AlertType.CRITICAL_TEMPERATURE: (TEMPERATURE,),
    AlertType.CRITICAL_HEART_RATE: (HEART_RATE,),
    AlertType.CRITICAL_FEVER_SPO2: (SPO2, TEMPERATURE),
}


def critical_alerts(words: Words) -> str:
    """The query in one language: state, child, what, last record, seconds since then, records in the range.

    An alert from a clock that runs ahead counts from when it was recorded: it is not hidden until then.
    """
    cleared = "\n            ".join(
        f"WHEN {literal(kind)} THEN {' AND '.join(_is_clear(vital) for vital in vitals)}"
        for kind, vitals in _JUDGED_BY.items()
    )
    return f"""\
WITH records AS (
    SELECT patient_id, type, max(timestamp) AS newest, max(least(timestamp, recorded_at)) AS last,
           count(*) FILTER (WHERE timestamp >= $__timeFrom()) AS records,
           (array_agg({words.message} ORDER BY timestamp DESC))[1] AS message
    FROM alerts
    WHERE severity = {literal(Severity.CRITICAL)} AND patient_id IN ($patient)
      AND timestamp >= least($__timeFrom()::timestamptz, now() - interval '{OPEN_FOR_AT_LEAST}')
      AND least(timestamp, recorded_at) <= $__timeTo()
    GROUP BY patient_id, type
), judged AS (
    SELECT r.*, coalesce(CASE r.type
            {cleared}
        END, false) AS cleared
    FROM records r
    LEFT JOIN LATERAL (SELECT timestamp FROM measurements WHERE patient_id = r.patient_id
                       ORDER BY timestamp DESC LIMIT 1) heard ON true
)
SELECT CASE WHEN cleared THEN {literal(words.over)} ELSE {literal(words.open)} END AS "{words.state}",
       patient_id AS "{words.child}", message AS "{words.what}", last AS "{words.last_time}",
       round(extract(epoch FROM now() - last)::double precision) AS "{words.since}",
       records AS "{words.records}"
FROM judged
WHERE NOT cleared OR newest >= $__timeFrom()
ORDER BY cleared, last DESC, patient_id, type
LIMIT {MOST_ROWS}"""


def _is_clear(vital: Vital) -> str:
    """Whether the readings since the last one outside the clear limits are enough, and span the hold."""
    condition, hold = _CLEAR[vital]
    valid = f"""\
patient_id = r.patient_id AND {vital.field} IS NOT NULL
                  AND NOT {literal(vital.field)} = ANY (invalid_fields)"""
    return f"""\
(SELECT count(*) >= {_VALID_READINGS_TO_CLEAR} AND max(timestamp) - min(timestamp) >= interval '{hold}'
             FROM measurements
             WHERE {valid}
               AND timestamp > greatest(r.newest, heard.timestamp - 2 * interval '{hold}', (
                  SELECT max(timestamp) FROM measurements
                  WHERE {valid}
                  AND timestamp > heard.timestamp - 2 * interval '{hold}' AND NOT {condition})))"""
