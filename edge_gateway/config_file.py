"""Reads the configuration file (TOML) and explains its errors: file, line, setting, reason and remedy."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from edge_gateway.config import (
    ApiConfig,
    BleConfig,
    BraceletConfig,
    ChildConfig,
    Config,
    ContactConfig,
    GpioConfig,
    MqttConfig,
    OutboxConfig,
    PageConfig,
    Section,
)
from edge_gateway.errors import InvalidConfig
from edge_gateway.toml_lines import line_of

EXAMPLE = "gateway.example.toml"
MINIMAL = """\
gateway_id = "gw-home"
data_dir = "data/gateway"

[api]
url = "http://127.0.0.1:8001"

[mqtt]
host = "127.0.0.1"

[[bracelet]]
device_id = "bracelet-001"
patient_id = "patient-001-ss"
"""

_SECTIONS: dict[str, type[Section]] = {
    "api": ApiConfig,
    "outbox": OutboxConfig,
    "mqtt": MqttConfig,
    "ble": BleConfig,
    "bracelet": BraceletConfig,
    "page": PageConfig,
    "gpio": GpioConfig,
    "child": ChildConfig,
    "contact": ContactConfig,
}


def load_config(path: Path) -> Config:
    """Read and check a configuration file; relative paths in it start at the file's directory.

    Raises:
        InvalidConfig: lists every error with its line, setting, reason and remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = f"Start with this one (edge_gateway/{EXAMPLE} explains all settings):\n\n{MINIMAL}"
        raise InvalidConfig("", f"there is no configuration file {path}", remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(
            "", f"{path} cannot be read: {error}", "Check its permissions; it must be UTF-8"
        ) from None
    return parse_config(text, path.parent, path.name)


def parse_config(text: str, directory: Path = Path(), file: str = "") -> Config:
    """Check the text of a configuration file.

    Args:
        directory: where relative paths start.
        file: name of the file in error messages.

    Raises:
        InvalidConfig: lists every error with its line, setting, reason and remedy.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        remedy = "Strings need quotes; compare with the example"
        raise InvalidConfig("", f"not valid TOML: {error}", remedy, place=file) from None
    try:
        return _resolve_paths(Config.model_validate(document), directory)
    except ValidationError as error:
        first, *others = error.errors(include_url=False, include_input=False)
        also = tuple(_invalid_config(each, text, file) for each in others)
        raise _invalid_config(first, text, file, also) from None


def example() -> str:
    """Return the annotated example configuration."""
    return files("edge_gateway").joinpath(EXAMPLE).read_text(encoding="utf-8")


def _resolve_paths(config: Config, directory: Path) -> Config:
    def resolved(section: Section) -> dict[str, Any]:
        values = {name: getattr(section, name) for name in type(section).model_fields}
        return {name: directory / value for name, value in values.items() if isinstance(value, Path)}

    sections = {name: section for name in ("api", "mqtt", "page") if (section := getattr(config, name))}
    updated = {name: section.model_copy(update=resolved(section)) for name, section in sections.items()}
    contacts = tuple(contact.model_copy(update=resolved(contact)) for contact in config.contact)
    return config.model_copy(update={**resolved(config), **updated, "contact": contacts})


def _invalid_config(
    error: ErrorDetails, text: str, file: str, also: tuple[InvalidConfig, ...] = ()
) -> InvalidConfig:
    line = line_of(text, error["loc"])
    place = ":".join(filter(None, [file, str(line or "")]))
    reason, remedy = _explain(error)
    return InvalidConfig(".".join(map(str, error["loc"])), reason, remedy, place=place, also=also)


def _explain(error: ErrorDetails) -> tuple[str, str]:
    """Return reason and remedy."""
    path = [str(part) for part in error["loc"] if not isinstance(part, int)]
    section, name = _section_of(path[:-1]), path[-1] if path else ""
    if error["type"] == "extra_forbidden":
        similar = get_close_matches(name, section.model_fields, 1)
        remedy = f"Did you mean {similar[0]}?" if similar else "Remove it, or check which section it is in"
        return "unknown setting", remedy
    reason = _reason(error)
    setting = section.model_fields.get(name)
    if setting is None or not setting.examples:
        return reason, f"Compare with the example ({EXAMPLE})"
    return reason, f"For example: {name} = {_as_toml(setting.examples[0])}"


def _reason(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "value_error":  # raised by a validator; `msg` adds a prefix to its text
        return str(error["ctx"]["error"])
    return error["msg"]


def _as_toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
    return str(value)


def _section_of(path: Sequence[str]) -> type[Section]:
    return _SECTIONS.get(path[0], Config) if path else Config
