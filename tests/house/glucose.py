"""A made-up fifth vital, and what makes a process start with it. /synthetic/"""

from __future__ import annotations

import os
from pathlib import Path

from vitals.limits import Vital

ROOT = Path(__file__).parents[2]
GLUCOSE = Vital(
    field="glucose_mmol",
    name_en="glucose",
    name_fr="glycémie",
    short_en="glucose",
    short_fr="glycémie",
    label_en="Glucose",
    label_fr="Glycémie",
    unit="mmol/L",
    loinc=("14745-4",),
    low=0,
    high=50,
    typical=5.2,
    digits=1,
)
_STARTUP = """\
from tests.house.glucose import GLUCOSE
from vitals.limits import register

register(GLUCOSE)
"""


def python_path(directory: Path) -> str:
    """Return a PYTHONPATH under which every Python process registers the vital before it imports others.

    Python imports the module `sitecustomize` at startup; it is written into the directory.
    """
    (directory / "sitecustomize.py").write_text(_STARTUP)
    return os.pathsep.join((str(directory), str(ROOT)))
