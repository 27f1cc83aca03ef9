"""SQL that lists the known children without reading all rows of the tables."""

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
"""Recursive common table expressions that define `known(patient_id)`: one index look-up per child and table.

Alerts count too: a reading from a clock far ahead raises alerts but is not stored as a measurement.
"""

PATIENTS = f"WITH RECURSIVE {KNOWN_CHILDREN}\nSELECT patient_id FROM known ORDER BY patient_id"
"""Query of the variable `patient`."""

ALL_PATIENTS = "patient_id"
"""Value of `$patient` for "All": `patient_id IN (patient_id)`, so that children added later are included.

A query may therefore use `patient_id IN ($patient)` only if that name is unambiguous.
"""
