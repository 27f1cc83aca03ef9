"""The gateway's settings, as frozen models. The example file explains each setting."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edge_gateway.errors import InvalidConfig
from runtime.net import is_loopback, is_loopback_url
from vitals.reading import Identifier


class Section(BaseModel):
    """Base of all sections: frozen, and unknown settings are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL that starts with http:// or https://")
    return value.rstrip("/")


def _radio(value: str) -> str:
    plug_in, colon, address = value.partition(":")
    if value != "system" and not (plug_in and colon and address):
        raise ValueError('must be "system" or "<plug-in>:<address>"')
    return value


def _address(value: str) -> str:
    if not re.fullmatch(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", value):
        raise ValueError("must be a Bluetooth address: six pairs of hexadecimal digits, separated by colons")
    return value.upper()


def _check_unique(section: str, names: list[str]) -> None:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"[[{section}]] names {', '.join(repeated)} more than once")


_MIN_PIN_LENGTH = 4
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class ApiConfig(Section):
    """The ingestion API that readings are delivered to."""

    url: Annotated[str, AfterValidator(_http_url)] = Field(examples=["http://127.0.0.1:8001"])
    client_id: Identifier | None = Field(None, examples=["gw-home"])
    client_secret_file: Path | None = Field(None, examples=["/etc/kidjamo/api.secret"])
    token_url: Annotated[str, AfterValidator(_http_url)] | None = Field(
        None, examples=["https://api.example.org/oauth/token"]
    )
    ca_file: Path | None = Field(None, examples=["/etc/kidjamo/ca.pem"])
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = Field(1000, examples=[1000])
    timeout_s: Seconds = Field(30.0, examples=[30])

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        if (self.client_id is None) != (self.client_secret_file is None):
            raise ValueError("client_id and client_secret_file must be set together, or not at all")
        for name, url in (("url", self.url), ("token_url", self.token_address)):
            if self.client_id and url.startswith("http:") and not is_loopback_url(url):
                raise ValueError(f"{name} would send the secret or the token unencrypted; use https://")
        return self

    @property
    def token_address(self) -> str:
        """URL that tokens are requested from."""
        return self.token_url or f"{self.url}/oauth/token"

    @property
    def loopback(self) -> bool:
        """Whether the API runs on this machine."""
        return is_loopback_url(self.url)


class OutboxConfig(Section):
    """The store for readings that are not delivered yet."""

    max_mb: Annotated[int, Field(ge=1, le=1_000_000)] = Field(1024, examples=[1024])

    @property
    def max_bytes(self) -> int:
        """The size limit in bytes."""
        return self.max_mb * 2**20


class MqttConfig(Section):
    """The broker that MQTT bracelets publish to."""

    host: str = Field("127.0.0.1", min_length=1, examples=["127.0.0.1"])
    port: Port = Field(1883, examples=[1883])
    username: str | None = Field(None, examples=["gateway"])
    password_file: Path | None = Field(None, examples=["/etc/kidjamo/mqtt.password"])
    ca_file: Path | None = Field(None, examples=["/etc/kidjamo/ca.pem"])
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = Field(30, examples=[30])


class BleConfig(Section):
    """The Bluetooth adapter."""

    radio: Annotated[str, AfterValidator(_radio)] = Field("system", examples=["system"])
    max_links: Annotated[int, Field(ge=1, le=64)] = Field(7, examples=[7])
    connect_timeout_s: Seconds = Field(15.0, examples=[15])
    silence_s: Seconds = Field(30.0, examples=[30])


class BraceletConfig(Section):
    """A bracelet, and the child who wears it."""

    device_id: Identifier = Field(examples=["ble-001"])
    patient_id: Identifier = Field(examples=["patient-001-ss"])
    address: Annotated[str, AfterValidator(_address)] | None = Field(None, examples=["F0:1B:DC:4B:00:01"])


class PageConfig(Section):
    """The carers' page."""

    host: str = Field("127.0.0.1", min_length=1, examples=["0.0.0.0"])
    port: Port = Field(8080, examples=[8080])
    pin_file: Path | None = Field(None, examples=["/etc/kidjamo/page.pin"])
    certificate_file: Path | None = Field(None, examples=["/etc/kidjamo/page.pem"])
    key_file: Path | None = Field(None, examples=["/etc/kidjamo/page.key"])

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        if self.pin_file is None and not is_loopback(self.host):
            raise ValueError("a page that other machines can reach needs a pin_file")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file must be set together")
        return self

    @property
    def scheme(self) -> str:
        """URL scheme of the page."""
        return "https" if self.certificate_file else "http"

    @property
    def pin(self) -> str | None:
        """The PIN; None if none is configured.

        Raises:
            InvalidConfig: its file cannot be read, or the PIN is too short.
        """
        if self.pin_file is None:
            return None
        try:
            pin = self.pin_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfig(
                "page.pin_file",
                f"cannot be read: {error}",
                f"Write a PIN of at least {_MIN_PIN_LENGTH} characters to it",
            ) from None
        if len(pin) < _MIN_PIN_LENGTH:
            raise InvalidConfig(
                "page.pin_file", "PIN too short", f"Use at least {_MIN_PIN_LENGTH} characters"
            )
        return pin

    def check(self) -> None:
        """Check that the files exist and can be used.

        Raises:
            InvalidConfig: the PIN, certificate or key cannot be used.
        """
        self.pin  # noqa: B018 - reading the property checks the file
        if self.certificate_file is None:
            return
        for name, file in (("certificate_file", self.certificate_file), ("key_file", self.key_file)):
            try:
                Path(file or "").read_bytes()
            except OSError as error:
                raise InvalidConfig(
                    f"page.{name}", f"cannot be read: {error}", "Correct the path or the owner of the file"
                ) from None
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate_file, self.key_file)
        except OSError as error:
            raise InvalidConfig(
                "page.certificate_file",
                f"cannot be used with its key: {error}",
                "Both files must be PEM, belong together and have no passphrase",
            ) from None


class GpioConfig(Section):
    """GPIO pins of a Raspberry Pi, by BCM number."""

    sounder_pin: Annotated[int, Field(ge=0, le=27)] | None = Field(None, examples=[17])
    light_pin: Annotated[int, Field(ge=0, le=27)] | None = Field(None, examples=[27])


class ChildConfig(Section):
    """A child's display name, shown on the page and in messages only."""

    patient_id: Identifier = Field(examples=["patient-001-ss"])
    name: str = Field(min_length=1, max_length=60, examples=["Awa"])


class ContactConfig(Section):
    """A person who is notified of alarms."""

    name: str = Field(min_length=1, max_length=60, examples=["mother"])
    url_file: Path = Field(examples=["/etc/kidjamo/mother.url"])
    level: Annotated[int, Field(ge=0, le=2)] = Field(0, examples=[0])
    language: Literal["fr", "en"] | None = Field(None, examples=["fr"])


class Config(Section):
    """All settings of one gateway."""

    gateway_id: Identifier = Field(examples=["gw-demo"])
    data_dir: Path = Field(Path("data/gateway"), examples=["/var/lib/kidjamo"])
    accept_unknown_mqtt: bool = Field(False, examples=[False])
    history_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(6.0, examples=[6])
    language: Literal["fr", "en"] = Field("fr", examples=["fr"])
    api: ApiConfig
    outbox: OutboxConfig = OutboxConfig()
    mqtt: MqttConfig | None = None
    ble: BleConfig | None = None
    page: PageConfig | None = None
    gpio: GpioConfig | None = None
    bracelet: tuple[BraceletConfig, ...] = ()
    child: tuple[ChildConfig, ...] = ()
    contact: tuple[ContactConfig, ...] = ()

    @model_validator(mode="after")
    def _check_bracelets_unique(self) -> Self:
        _check_unique("bracelet", [bracelet.device_id for bracelet in self.bracelet])
        _check_unique("bracelet", [bracelet.address for bracelet in self.bracelet if bracelet.address])
        return self

    @model_validator(mode="after")
    def _check_client_id(self) -> Self:
        if self.api.client_id not in (None, self.gateway_id):
            raise ValueError("api.client_id must be the gateway_id: the API checks that they are the same")
        return self

    @model_validator(mode="after")
    def _check_names_unique(self) -> Self:
        _check_unique("child", [child.patient_id for child in self.child])
        _check_unique("contact", [contact.name for contact in self.contact])
        return self

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        if self.mqtt is None and self.ble is None:
            raise ValueError("there is neither [mqtt] nor [ble], so the gateway would receive no readings")
        return self

    @property
    def outbox_path(self) -> Path:
        """Path of the outbox file."""
        return self.data_dir / "outbox.sqlite3"

    @property
    def patients(self) -> dict[str, str]:
        """Patient of each listed bracelet."""
        return {bracelet.device_id: bracelet.patient_id for bracelet in self.bracelet}

    @property
    def addresses(self) -> dict[str, str]:
        """Bluetooth address of each listed bracelet that has one."""
        return {bracelet.device_id: bracelet.address for bracelet in self.bracelet if bracelet.address}

    @property
    def names(self) -> dict[str, str]:
        """Display name of each child, by patient."""
        return {child.patient_id: child.name for child in self.child}

    @property
    def control_path(self) -> Path:
        """Path of the control socket."""
        return self.data_dir / "gateway.sock"

    def warnings(self) -> list[str]:
        """Return settings that are valid but probably a mistake."""
        warnings = []
        if not self.api.loopback and self.api.url.startswith("http:"):
            warnings.append(
                "api.url: http:// to another machine sends patient data unencrypted; use https://"
            )
        if self.mqtt and self.mqtt.username and not self.mqtt.ca_file and not is_loopback(self.mqtt.host):
            warnings.append("mqtt: the password is sent unencrypted; set ca_file")
        if self.ble and not self.bracelet:
            warnings.append("ble: no [[bracelet]] is listed, so the gateway connects to none")
        if self.mqtt and not self.bracelet and not self.accept_unknown_mqtt:
            warnings.append("mqtt: no [[bracelet]] is listed, so all messages are rejected")
        if self.contact and min(contact.level for contact in self.contact) > 0:
            warnings.append(
                "contact: none has level 0, so nobody is notified in the first 5 minutes of an alarm"
            )
        if self.page and not is_loopback(self.page.host) and not self.page.certificate_file:
            warnings.append("page: PIN and values are sent unencrypted; set certificate_file and key_file")
        if without_bracelet := sorted(set(self.names) - set(self.patients.values())):
            warnings.append(f"child: no [[bracelet]] is listed for {', '.join(without_bracelet)}")
        return warnings
