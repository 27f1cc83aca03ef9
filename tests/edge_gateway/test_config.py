"""The configuration file: defaults, errors with their remedies, warnings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

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
)
from edge_gateway.config_file import MINIMAL, example, load_config, parse_config
from edge_gateway.errors import InvalidConfig

HEAD = 'gateway_id = "gw"\n'
API = '[api]\nurl = "http://127.0.0.1:8001"\n'
SECRET = 'client_id = "gw"\nclient_secret_file = "s"\n'
MQTT = "[mqtt]\n"


def bracelet(device_id: str) -> str:
    return f'[[bracelet]]\ndevice_id = "{device_id}"\npatient_id = "p"\n'


def test_example_loads() -> None:
    config = parse_config(example())
    assert config.gateway_id == "gw-home"
    assert config.patients == {"ble-001": "patient-001-ss", "mqtt-001": "patient-002-as"}
    assert config.ble is not None
    assert config.ble.radio == "system"


def test_example_with_every_setting_enabled_loads() -> None:
    enabled = re.sub(r"(?m)^# (?=\w+ = |\[)", "", example())
    config = parse_config(enabled, Path("/etc/kidjamo"))
    assert config.mqtt is not None
    assert config.mqtt.password_file == Path("/etc/kidjamo/mqtt.password")
    assert config.api.batch_size == 1000
    assert config.names == {"patient-001-ss": "Awa"}
    assert [each.url_file for each in config.contact] == [Path("/etc/kidjamo/mother.url")]


@pytest.mark.parametrize(
    "section",
    [
        Config,
        ApiConfig,
        OutboxConfig,
        MqttConfig,
        BleConfig,
        PageConfig,
        GpioConfig,
        BraceletConfig,
        ChildConfig,
        ContactConfig,
    ],
)
def test_example_documents_every_setting(section: type[BaseModel]) -> None:
    text = example()
    nested = {"api", "outbox", "mqtt", "ble", "page", "gpio", "bracelet", "child", "contact"}
    undocumented = [name for name in section.model_fields if f"{name} = " not in text and name not in nested]
    assert undocumented == []


def test_minimal_example_of_the_error_message_loads() -> None:
    assert parse_config(MINIMAL).gateway_id == "gw-home"


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        (API + MQTT, "gateway_id", 'is missing. For example: gateway_id = "gw-demo"'),
        (HEAD + MQTT, "api", "Compare with the example"),
        (HEAD + API + MQTT + "port = 99999\n", "mqtt.port", "For example: port = 1883"),
        (HEAD + API + "bath_size = 3\n" + MQTT, "api.bath_size", "Did you mean batch_size?"),
        (HEAD + "accept_unknown = true\n" + API + MQTT, "accept_unknown", "accept_unknown_mqtt"),
        (HEAD + "zebra = 1\n" + API + MQTT, "zebra", "Remove it"),
        (HEAD + '[api]\nurl = "127.0.0.1:8001"\n' + MQTT, "api.url", "http:// or https://"),
        (HEAD + API + '[ble]\nradio = "bumble"\n', "ble.radio", "<plug-in>:<address>"),
        (HEAD + API + MQTT + bracelet("a/b"), "bracelet.0.device_id", "example"),
        (HEAD + API, "", "neither [mqtt] nor [ble]"),
        (HEAD + API + MQTT + 2 * bracelet("a"), "", "names a more than once"),
        ("gateway_id = gw", "", "not valid TOML"),
    ],
)  # fmt: skip
def test_config_error_names_field_and_remedy(text: str, field: str, message: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        parse_config(text)
    assert raised.value.field == field
    assert message in str(raised.value)


def test_every_error_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        HEAD + "histroy_hours = 3\n" + API + MQTT + "port = 99999\n" + bracelet("a") + bracelet("a/b")
    )
    with pytest.raises(InvalidConfig) as raised:
        load_config(path)
    lines = str(raised.value).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["gateway.toml:6", "mqtt.port"],
        ["gateway.toml:11", "bracelet.1.device_id"],
        ["gateway.toml:2", "histroy_hours"],
    ]
    assert lines[2].endswith("unknown setting. Did you mean history_hours?")


def test_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(HEAD + "data_dir = data\n")
    with pytest.raises(InvalidConfig, match=r"^gateway\.toml: not valid TOML: .*at line 2"):
        load_config(path)


def test_missing_file_shows_an_example(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"there is no configuration file .*gateway\.toml") as raised:
        load_config(tmp_path / "gateway.toml")
    assert MINIMAL in str(raised.value)


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(HEAD + 'data_dir = "data"\n' + API + SECRET + MQTT)
    config = load_config(tmp_path / "gateway.toml")
    assert config.outbox_path == tmp_path / "data" / "outbox.sqlite3"
    assert config.api.client_secret_file == tmp_path / "s"


def test_plain_http_to_another_machine_is_warned_of() -> None:
    text = HEAD + '[api]\nurl = "http://api.example.org"\n' + MQTT
    assert any("unencrypted" in warning for warning in parse_config(text).warnings())
    assert not any("unencrypted" in warning for warning in parse_config(HEAD + API + MQTT).warnings())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('url = "http://api.example.org"\n' + SECRET, "url would send the secret"),
        (
            'url = "http://127.0.0.1:1"\ntoken_url = "http://id.example.org/t"\n' + SECRET,
            "token_url would send",
        ),
        (
            'url = "https://api.example.org"\ntoken_url = "http://id.example.org/t"\n' + SECRET,
            "token_url would",
        ),
        ('url = "https://api.example.org"\nclient_id = "gw"\n', "must be set together"),
        ('url = "https://api.example.org"\nclient_secret_file = "s"\n', "must be set together"),
        ('url = "https://a.org"\nclient_id = "gw-2"\nclient_secret_file = "s"\n', "must be the gateway_id"),
    ],
)
def test_config_that_would_expose_the_secret_is_rejected(text: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        parse_config(HEAD + "[api]\n" + text + MQTT)


def test_token_url_defaults_to_the_api() -> None:
    https = HEAD + '[api]\nurl = "https://api.example.org/"\n' + SECRET
    assert parse_config(https + MQTT).api.token_address == "https://api.example.org/oauth/token"
    named = https + 'token_url = "https://id.example.org/token"\n'
    assert parse_config(named + MQTT).api.token_address == "https://id.example.org/token"
