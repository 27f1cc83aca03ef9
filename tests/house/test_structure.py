"""Rules for names and sizes that no linter checks."""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from pathlib import Path

from tests.house.source import ROOT, parsed, tracked

MOST_MODULES = 20
MOST_LINES = 50


def test_class_names_are_defined_once() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in tracked(".py"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_modules_are_not_named_like_the_standard_library() -> None:
    names = {path: path.parent.name if path.stem == "__init__" else path.stem for path in tracked(".py")}
    hidden = sys.stdlib_module_names - {"__main__"}
    assert [str(path) for path, name in names.items() if name in hidden] == []


def test_functions_have_at_most_50_lines() -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = [
        f"{path}:{node.lineno} {node.name}"
        for path in tracked(".py")
        for node in ast.walk(parsed(path))
        if isinstance(node, functions) and (node.end_lineno or node.lineno) - node.lineno >= MOST_LINES
    ]
    assert long == []


def test_folders_have_at_most_20_modules() -> None:
    modules = Counter(path.parent for path in tracked(".py") if path.stem != "__init__")
    assert {str(folder): count for folder, count in modules.items() if count > MOST_MODULES} == {}


def test_each_package_is_typed() -> None:
    """PEP 561: type checkers read the annotations of an installed package only where it has this file."""
    packages = {path.parts[0] for path in tracked("__init__.py")} - {"tests", "deploy"}
    assert [name for name in sorted(packages) if not (ROOT / name / "py.typed").is_file()] == []


def test_tests_mirror_the_code() -> None:
    """A folder of tests is named like the folder of code that it tests."""
    code = {path.parent for path in tracked(".py") if path.parts[0] != "tests"}
    apart = {"bench", "bluez", "chaos", "contract", "e2e", "house", "link"}
    folders = {path.parent.relative_to("tests") for path in tracked(".py") if path.parts[0] == "tests"}
    folders -= {Path()}
    assert [str(f) for f in sorted(folders) if f.parts[0] not in apart and f not in code] == []
