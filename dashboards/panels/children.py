"""Which children there are, read from the tables that hold them without reading all of their rows."""

from __future__ import annotations

KNOWN_CHILDREN = """\
measured AS (
    (SELECT patient_id FROM measurements ORDER BY patient_id LIMIT 1)
    UNION ALL
    SELECT (SELECT m.patient_id FROM measurements m WHERE m.patient_id > measured.patient_id
            ORDER BY m.patient_id LIMIT 1)
    FROM measured WHERE measured.patient_id IS NOT NULL
), alerted AS (
    (SELECT patient_id FROM alerts ORDER BY patient_id LIMIT 1)
    UNION ALL
    SELECT (SELECT a.patient_id FROM alerts a WHERE a.patient_id > alerted.patient_id
            ORDER BY a.patient_id LIMIT 1)
    FROM alerted WHERE alerted.patient_id IS NOT NULL
), known AS (
    SELECT patient_id FROM measured WHERE patient_id IS NOT NULL
    UNION
    SELECT patient_id FROM alerted WHERE patient_id IS NOT NULL
)"""
"""Recursive common table expressions that end in `known(patient_id)`: one index look-up a child and table.

Alerts count too: a reading with a clock far ahead raises its alerts but is no measurement.
"""

PATIENTS = f"WITH RECURSIVE {KNOWN_CHILDREN}\nSELECT patient_id FROM known ORDER BY patient_id"
"""Choices of the variable `patient`."""

ALL_PATIENTS = "patient_id"
"""What `$patient` is for "All": `patient_id IN (patient_id)`, true of children who came after the page too.

So a query may use `patient_id IN ($patient)` only where that name is one column.
"""
