"""Settings from environment variables, validated once at start; `SETTINGS.md` documents each of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from cloud_ingest.errors import InvalidSettings
from runtime.net import is_loopback

SHORTEST_PASSWORD = 8
DEFAULT_PASSWORDS = frozenset(
    {
        "changeme",
        "change-me",
        "password",
        "passw0rd",
        "postgres",
        "postgresql",
        "kidjamo-db",
        "12345678",
        "default1",
    }
)
DEFAULT_KEY_FILE = Path("data/pseudonym.key")


def _addresses(text: str) -> str:
    if not all(ipaddress.ip_network(part.strip()).prefixlen for part in text.split(",") if text):
        raise ValueError("a network of every address would trust any client; name the proxies")
    return text


class Settings(BaseModel):
    """The settings of the ingestion service; each field's alias is its environment variable."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="forbid")

    host: str = Field("127.0.0.1", alias="API_HOST")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8001, alias="API_PORT")
    port_autofallback: bool = Field(False, alias="API_PORT_AUTOFALLBACK")
    tls_cert_file: Path | None = Field(None, alias="API_TLS_CERT_FILE")
    tls_key_file: Path | None = Field(None, alias="API_TLS_KEY_FILE")
    trusted_proxies: Annotated[str, AfterValidator(_addresses)] = Field("", alias="API_TRUSTED_PROXIES")

    auth: Literal["on", "off"] = Field("off", alias="API_AUTH")
    gateways_file: Path = Field(Path("data/gateways.json"), alias="API_GATEWAYS_FILE")
    keys_dir: Path = Field(Path("data/token-keys"), alias="API_KEYS_DIR")
    token_lifetime_s: Annotated[int, Field(ge=5, le=3600)] = Field(600, alias="API_TOKEN_LIFETIME_S")
    rate_limit: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(10_000, alias="API_RATE_LIMIT")
    audit_file: Path = Field(Path("data/audit.jsonl"), alias="API_AUDIT_FILE")

    kafka: str = Field("127.0.0.1:9092", alias="KAFKA_BOOTSTRAP_SERVERS")
    kafka_starting_offsets: Annotated[Literal["earliest", "latest"], BeforeValidator(str.lower)] = Field(
        "earliest", alias="KAFKA_STARTING_OFFSETS"
    )

    pg_host: str | None = Field(None, alias="PGHOST")
    pg_port: int = Field(5432, alias="PGPORT")
    pg_database: str = Field("kidjamo-db", alias="PGDATABASE")
    pg_user: str | None = Field(None, alias="PGUSER")
    pg_password: SecretStr | None = Field(None, alias="PGPASSWORD")
    pg_connect_timeout: Annotated[int, Field(ge=1)] = Field(2, alias="PGCONNECT_TIMEOUT")

    pg_retention_months: Annotated[int, Field(ge=1)] | None = Field(None, alias="PG_RETENTION_MONTHS")

    spool_path: Path = Field(Path("data/spool"), alias="SPOOL_PATH")
    spool_max_mb: Annotated[int, Field(ge=1)] = Field(512, alias="SPOOL_MAX_MB")
    metrics_csv: Path = Field(Path("evidence/metrics/ingestion_metrics.csv"), alias="METRICS_CSV")
    metrics_csv_max_mb: Annotated[int, Field(ge=1)] = Field(64, alias="METRICS_CSV_MAX_MB")

    alarm_contacts_file: Path | None = Field(None, alias="ALARM_CONTACTS_FILE")

    pseudonymisation: Literal["on", "off"] = Field("on", alias="PSEUDONYMISATION")
    pseudonym_key_file: Path | None = Field(None, alias="PSEUDONYM_KEY_FILE")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables of this service; an empty one counts as not set.

        Raises:
            InvalidSettings: an invalid value; the message names the variable and the reason.
        """
        values = {name: environment[name] for name in cls.variables() if environment.get(name)}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            variable = ".".join(str(part) for part in first["loc"])
            reason = first["msg"].removeprefix("Value error, ")
            raise InvalidSettings(f"{variable}: {reason}" if variable else reason) from None

    @classmethod
    def variables(cls) -> tuple[str, ...]:
        """Return the names of all environment variables."""
        return tuple(field.alias for field in cls.model_fields.values() if field.alias)

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the API."""
        return is_loopback(self.host)

    @property
    def key_file(self) -> Path:
        """Path of the pseudonym key."""
        return self.pseudonym_key_file or DEFAULT_KEY_FILE

    @model_validator(mode="after")
    def _tls_complete(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("set both API_TLS_CERT_FILE and API_TLS_KEY_FILE, or neither")
        return self

    @model_validator(mode="after")
    def _no_default_password(self) -> Self:
        local = self.pg_host is None or self.pg_host.startswith("/") or is_loopback(self.pg_host)
        password = self.pg_password.get_secret_value() if self.pg_password else ""
        weak = password and (len(password) < SHORTEST_PASSWORD or password.lower() in DEFAULT_PASSWORDS)
        if weak and not (local and self.on_loopback):
            raise ValueError(
                "PGPASSWORD is a default or shorter than 8 characters, and other machines can reach the"
                " database or the API: give the role another password"
            )
        return self

    @model_validator(mode="after")
    def _safe_where_exposed(self) -> Self:
        if self.on_loopback:
            return self
        exposed = f"API_HOST={self.host} is reachable from other machines"
        if self.auth == "off":
            raise ValueError(
                f"{exposed}: set API_AUTH=on, and register each gateway with kidjamo-ingest gateway add"
            )
        if self.pseudonymisation == "off":
            raise ValueError(
                f"PSEUDONYMISATION=off is for made-up patients on this machine, not for API_HOST={self.host}"
            )
        if self.pseudonym_key_file is None:
            raise ValueError(
                f"{exposed}: PSEUDONYM_KEY_FILE must name the secret key;"
                " create it with kidjamo-ingest pseudonym-key make"
            )
        return self
