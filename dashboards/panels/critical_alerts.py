"""SQL of the critical alerts: one row per child and rule, open ones first.

An alert is over once its vital has been within the clear limits of the alarm rules for long enough: at least
three valid readings, all of them within, over the whole hold time. Missing data never clears an alert.
"""

from __future__ import annotations

from dashboards.sql import literal
from dashboards.words import Words
from vitals.limits import BY_FIELD, Vital
from vitals.notices import GROUP_OF
from vitals.recovery import MIN_VALUES
from vitals.rules import Severity

OPEN_FOR_AT_LEAST = "1 day"
"""How far back open alerts are searched, however short the selected time range."""
MAX_ROWS = 200


def critical_alerts(words: Words) -> str:
    """Return the query: state, child, message, last record, seconds since then, records in the time range.

    An alert from a fast clock counts from when it was recorded, so that it is shown at once.
    """
    cleared = "\n            ".join(
        f"WHEN {literal(kind)} THEN {' AND '.join(_is_clear(BY_FIELD[field]) for field in group.fields)}"
        for kind, group in GROUP_OF.items()
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
), evaluated AS (
    SELECT r.*, coalesce(CASE r.type
            {cleared}
        END, false) AS cleared
    FROM records r
    LEFT JOIN LATERAL (SELECT timestamp FROM measurements WHERE patient_id = r.patient_id
                       ORDER BY timestamp DESC LIMIT 1) latest ON true
)
SELECT CASE WHEN cleared THEN {literal(words.over)} ELSE {literal(words.open)} END AS "{words.state}",
       patient_id AS "{words.child}", message AS "{words.what}", last AS "{words.last_time}",
       round(extract(epoch FROM now() - last)::double precision) AS "{words.since}",
       records AS "{words.records}"
FROM evaluated
WHERE NOT cleared OR newest >= $__timeFrom()
ORDER BY cleared, last DESC, patient_id, type
LIMIT {MAX_ROWS}"""


def _is_clear(vital: Vital) -> str:
    """Return whether the readings since the last one outside the clear limits span the hold time."""
    if vital.alarm is None:
        raise ValueError(f"{vital.field} has no alarm")
    (low, high), hold = vital.clear_range, f"{vital.alarm.hold.total_seconds():g} s"
    condition = f"{vital.field} BETWEEN {low:g} AND {high:g}"
    valid = f"""\
patient_id = r.patient_id AND {vital.field} IS NOT NULL
                  AND NOT {literal(vital.field)} = ANY (invalid_fields)"""
    return f"""\
(SELECT count(*) >= {MIN_VALUES} AND max(timestamp) - min(timestamp) >= interval '{hold}'
             FROM measurements
             WHERE {valid}
               AND timestamp > greatest(r.newest, latest.timestamp - 2 * interval '{hold}', (
                  SELECT max(timestamp) FROM measurements
                  WHERE {valid}
                  AND timestamp > latest.timestamp - 2 * interval '{hold}' AND NOT {condition})))"""
