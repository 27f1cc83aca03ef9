"""Importing the contract loads no third-party package but pydantic."""

import subprocess
import sys
from pathlib import Path

import vitals

ALLOWED = {"vitals", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}

SCRIPT = """
import sys
before = set(sys.modules)
import vitals.gatt.bracelet, vitals.gatt.ieee11073, vitals.gatt.record_access
import vitals.errors, vitals.limits, vitals.pseudonym, vitals.quality
import vitals.reading, vitals.rules, vitals.topics
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
"""


def test_vitals_in_a_fresh_interpreter_imports_only_pydantic() -> None:
    root = Path(vitals.__file__).parents[1]
    loaded = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    # The module of the build settings has the platform in its name, so stdlib_module_names lacks it.
    assert {name for name in loaded if not name.startswith("_sysconfigdata")} == ALLOWED
