"""Modules that are slow to import, or belong to other packages, are not imported by the gateway."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import edge_gateway

HEAVY = (
    "pyspark",
    "delta",
    "confluent_kafka",
    "kafka",
    "psycopg2",
    "fastapi",
    "uvicorn",
    "bumble",
    "sqlalchemy",
    "starlette",
    "jinja2",
    "apprise",
)

_SCRIPT = """
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
print(sorted(name for name in {heavy!r} if name in sys.modules))
"""


def test_modules_do_not_import_heavy_packages() -> None:
    packages = pkgutil.walk_packages(edge_gateway.__path__, "edge_gateway.")
    modules = [each.name for each in packages if not each.name.startswith("edge_gateway.page")]
    assert "edge_gateway.ble.source" in modules
    assert "edge_gateway.uplink.uplink" in modules
    script = _SCRIPT.format(modules=modules, heavy=HEAVY)
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


def test_cli_imports_neither_bluetooth_nor_mqtt_nor_http() -> None:
    script = (
        "import sys, edge_gateway.cli; print([n for n in ('bleak', 'paho', 'httpx') if n in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"
