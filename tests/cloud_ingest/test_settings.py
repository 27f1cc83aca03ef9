import re
from pathlib import Path

import pytest

import cloud_ingest
from cloud_ingest.errors import InvalidSettings
from cloud_ingest.settings import Settings

SAFE_EXPOSED = {"API_HOST": "0.0.0.0", "API_AUTH": "on", "PSEUDONYM_KEY_FILE": "key"}


def test_settings_of_an_empty_environment_are_the_defaults_of_the_contract() -> None:
    settings = Settings.from_environment({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8001)
    assert settings.pg_database == "kidjamo-db"
    assert settings.pg_connect_timeout == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"API_AUTH": ""}, "API_AUTH=on"),
        ({"API_AUTH": "off"}, "API_AUTH=on"),
        ({"PGPASSWORD": "changeme"}, "PGPASSWORD"),
        ({"PSEUDONYMISATION": "off"}, "PSEUDONYMISATION=off"),
        ({"PSEUDONYM_KEY_FILE": ""}, "PSEUDONYM_KEY_FILE"),
    ],
)
def test_settings_refuse_unsafe_values_beyond_loopback(change: dict[str, str], message: str) -> None:
    assert not Settings.from_environment(SAFE_EXPOSED).on_loopback
    with pytest.raises(InvalidSettings, match=message):
        Settings.from_environment(SAFE_EXPOSED | change)


@pytest.mark.parametrize("password", ["changeme", "ChangeMe", "secret", "postgres", "password", "x"])
def test_settings_refuse_a_default_password_of_a_remote_database(password: str) -> None:
    with pytest.raises(InvalidSettings, match="PGPASSWORD"):
        Settings.from_environment({"PGHOST": "db.example.org", "PGPASSWORD": password})
    for local in ("127.0.0.1", "/var/run/postgresql"):
        assert Settings.from_environment({"PGHOST": local, "PGPASSWORD": password}).pg_host == local


@pytest.mark.parametrize("alone", ["API_TLS_CERT_FILE", "API_TLS_KEY_FILE"])
def test_settings_require_both_tls_files(alone: str) -> None:
    with pytest.raises(InvalidSettings, match="or neither"):
        Settings.from_environment({alone: "file.pem"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("API_PORT", "http"),
        ("API_TRUSTED_PROXIES", "*"),
        ("API_TRUSTED_PROXIES", "proxy.example.org"),
        ("API_TRUSTED_PROXIES", "10.0.0.1,"),
        ("API_TRUSTED_PROXIES", "10.0.0.1, 0.0.0.0/0"),
        ("API_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("API_PORT", "70000"),
        ("SPOOL_MAX_MB", "0"),
        ("PSEUDONYMISATION", "maybe"),
        ("API_AUTH", "maybe"),
        ("API_RATE_LIMIT", "0"),
        ("API_RATE_LIMIT", "inf"),
        ("API_TOKEN_LIFETIME_S", "86400"),
        ("KAFKA_STARTING_OFFSETS", "yesterday"),
    ],
)
def test_invalid_setting_is_named_in_the_error(variable: str, value: str) -> None:
    with pytest.raises(InvalidSettings, match=f"^{variable}: "):
        Settings.from_environment({variable: value})


@pytest.mark.parametrize("value", ["latest", "LATEST", "Latest"])
def test_starting_offsets_are_case_insensitive(value: str) -> None:
    assert Settings.from_environment({"KAFKA_STARTING_OFFSETS": value}).kafka_starting_offsets == "latest"


def test_repr_of_settings_omits_the_password() -> None:
    assert "s3cret" not in repr(Settings.from_environment({"PGPASSWORD": "s3cret"}))


def test_every_setting_is_documented_with_its_default() -> None:
    text = Path(cloud_ingest.__file__).with_name("SETTINGS.md").read_text()
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.M))
    assert documented == set(Settings.variables())
    assert "| `API_PORT` | `8001` |" in text
    assert "| `API_TOKEN_LIFETIME_S` | `600` |" in text
    assert "| `API_RATE_LIMIT` | `10000` |" in text
    assert "| `SPOOL_MAX_MB` | `512` |" in text
