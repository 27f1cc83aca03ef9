"""The gateway's configuration: one TOML file, checked once, frozen. The example explains each setting."""

from __future__ import annotations

import re
import ssl
import tomllib
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from edge_gateway.errors import InvalidConfig
from edge_gateway.toml_lines import line_of
from runtime.net import is_loopback, is_loopback_url
from vitals.reading import Identifier

EXAMPLE = "gateway.example.toml"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address that starts with http:// or https://")
    return value.rstrip("/")


def _radio(value: str) -> str:
    plug_in, colon, address = value.partition(":")
    if value != "system" and not (plug_in and colon and address):
        raise ValueError('must be "system" or "<plug-in>:<address>"')
    return value


def _address(value: str) -> str:
    if not re.fullmatch(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", value):
        raise ValueError("must be a Bluetooth address: six pairs of hexadecimal digits with colons between")
    return value.upper()


_SHORTEST_PIN = 4
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class ApiConfig(_Section):
    """Where readings are delivered."""

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
    def _secret_stays_one(self) -> Self:
        if (self.client_id is None) != (self.client_secret_file is None):
            raise ValueError("client_id and client_secret_file go together: set both, or neither")
        for name, url in (("url", self.url), ("token_url", self.token_address)):
            if self.client_id and url.startswith("http:") and not is_loopback_url(url):
                raise ValueError(f"{name} would send the secret or the token in the clear; use https://")
        return self

    @property
    def token_address(self) -> str:
        """Where tokens are fetched."""
        return self.token_url or f"{self.url}/oauth/token"

    @property
    def loopback(self) -> bool:
        """Whether the API is on this machine."""
        return is_loopback_url(self.url)


class OutboxConfig(_Section):
    """The memory for times without internet."""

    max_mb: Annotated[int, Field(ge=1, le=1_000_000)] = Field(1024, examples=[1024])

    @property
    def max_bytes(self) -> int:
        """The bound in bytes."""
        return self.max_mb * 2**20


class MqttConfig(_Section):
    """The broker that MQTT bracelets publish to."""

    host: str = Field("127.0.0.1", min_length=1, examples=["127.0.0.1"])
    port: Port = Field(1883, examples=[1883])
    username: str | None = Field(None, examples=["gateway"])
    password_file: Path | None = Field(None, examples=["/etc/kidjamo/mqtt.password"])
    ca_file: Path | None = Field(None, examples=["/etc/kidjamo/ca.pem"])
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = Field(30, examples=[30])


class BleConfig(_Section):
    """The Bluetooth adapter."""

    radio: Annotated[str, AfterValidator(_radio)] = Field("system", examples=["system"])
    max_links: Annotated[int, Field(ge=1, le=64)] = Field(7, examples=[7])
    connect_timeout_s: Seconds = Field(15.0, examples=[15])
    silence_s: Seconds = Field(30.0, examples=[30])


class BraceletConfig(_Section):
    """A bracelet of this gateway and the child who wears it."""

    device_id: Identifier = Field(examples=["ble-001"])
    patient_id: Identifier = Field(examples=["patient-001-ss"])
    address: Annotated[str, AfterValidator(_address)] | None = Field(None, examples=["F0:1B:DC:4B:00:01"])


class PageConfig(_Section):
    """The carers' page."""

    host: str = Field("127.0.0.1", min_length=1, examples=["0.0.0.0"])
    port: Port = Field(8080, examples=[8080])
    pin_file: Path | None = Field(None, examples=["/etc/kidjamo/page.pin"])
    certificate_file: Path | None = Field(None, examples=["/etc/kidjamo/page.pem"])
    key_file: Path | None = Field(None, examples=["/etc/kidjamo/page.key"])

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.pin_file is None and not is_loopback(self.host):
            raise ValueError("a page that others can reach needs a pin_file")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self

    @property
    def scheme(self) -> str:
        """How an address of the page begins."""
        return "https" if self.certificate_file else "http"

    @property
    def pin(self) -> str | None:
        """The PIN; None where none is needed.

        Raises:
            InvalidConfig: its file cannot be used.
        """
        if self.pin_file is None:
            return None
        try:
            pin = self.pin_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfig(
                "page.pin_file", f"cannot be read: {error}", "Put a PIN of at least 4 characters there"
            ) from None
        if len(pin) < _SHORTEST_PIN:
            raise InvalidConfig("page.pin_file", "holds no PIN worth the name", "Use at least 4 characters")
        return pin

    def check(self) -> None:
        """Look at the files it names.

        Raises:
            InvalidConfig: PIN, certificate or key cannot be used.
        """
        self.pin  # noqa: B018 - reading it checks it
        if self.certificate_file is None:
            return
        for name, file in (("certificate_file", self.certificate_file), ("key_file", self.key_file)):
            try:
                Path(file or "").read_bytes()
            except OSError as error:
                raise InvalidConfig(
                    f"page.{name}", f"cannot be read: {error}", "Correct the path, or the file's owner"
                ) from None
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate_file, self.key_file)
        except OSError as error:
            raise InvalidConfig(
                "page.certificate_file",
                f"cannot be used with its key: {error}",
                "Both must be PEM, belong together and have no passphrase",
            ) from None


class GpioConfig(_Section):
    """Pins of a Raspberry Pi, by their BCM numbers."""

    sounder_pin: Annotated[int, Field(ge=0, le=27)] | None = Field(None, examples=[17])
    light_pin: Annotated[int, Field(ge=0, le=27)] | None = Field(None, examples=[27])


class ChildConfig(_Section):
    """What carers call a child; the page and messages show it, nothing else does."""

    patient_id: Identifier = Field(examples=["patient-001-ss"])
    name: str = Field(min_length=1, max_length=60, examples=["Awa"])


class ContactConfig(_Section):
    """Somebody who is told of alarms."""

    name: str = Field(min_length=1, max_length=60, examples=["mother"])
    url_file: Path = Field(examples=["/etc/kidjamo/mother.url"])
    level: Annotated[int, Field(ge=0, le=2)] = Field(0, examples=[0])
    language: Literal["fr", "en"] | None = Field(None, examples=["fr"])


class Config(_Section):
    """All settings of one gateway."""

    gateway_id: Identifier = Field(examples=["gw-demo"])
    data_dir: Path = Field(Path("data/gateway"), examples=["/var/lib/kidjamo"])
    accept_unknown_mqtt: bool = Field(False, examples=["false"])
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
    def _each_bracelet_once(self) -> Self:
        devices = [worn.device_id for worn in self.bracelet]
        addresses = [worn.address for worn in self.bracelet if worn.address]
        for named in (devices, addresses):
            if twice := sorted({each for each in named if named.count(each) > 1}):
                raise ValueError(f"[[bracelet]] names {', '.join(twice)} more than once")
        return self

    @model_validator(mode="after")
    def _one_gateway(self) -> Self:
        if self.api.client_id not in (None, self.gateway_id):
            raise ValueError(
                "api.client_id must be the gateway_id: the API takes no gateway's readings from another"
            )
        return self

    @model_validator(mode="after")
    def _each_name_once(self) -> Self:
        for section, named in (
            ("child", [child.patient_id for child in self.child]),
            ("contact", [contact.name for contact in self.contact]),
        ):
            if twice := sorted({each for each in named if named.count(each) > 1}):
                raise ValueError(f"[[{section}]] names {', '.join(twice)} more than once")
        return self

    @model_validator(mode="after")
    def _some_source(self) -> Self:
        if self.mqtt is None and self.ble is None:
            raise ValueError("there is neither [mqtt] nor [ble], so nothing to take readings from")
        return self

    @property
    def outbox_path(self) -> Path:
        """The outbox file."""
        return self.data_dir / "outbox.sqlite3"

    @property
    def patients(self) -> dict[str, str]:
        """Patient of each bracelet on the list."""
        return {worn.device_id: worn.patient_id for worn in self.bracelet}

    @property
    def addresses(self) -> dict[str, str]:
        """Bluetooth address of each bracelet that the list gives one for."""
        return {worn.device_id: worn.address for worn in self.bracelet if worn.address}

    @property
    def names(self) -> dict[str, str]:
        """What carers call each child, by patient."""
        return {child.patient_id: child.name for child in self.child}

    @property
    def control_path(self) -> Path:
        """The socket at which a running gateway takes commands."""
        return self.data_dir / "gateway.sock"

    def warnings(self) -> list[str]:
        """What is allowed but hardly meant."""
        found = []
        if not self.api.loopback and self.api.url.startswith("http:"):
            found.append(
                "api.url: http:// beyond this machine sends children's data in the clear; use https://"
            )
        if self.mqtt and self.mqtt.username and not self.mqtt.ca_file and not is_loopback(self.mqtt.host):
            found.append("mqtt: the password crosses the network in the clear; set ca_file")
        if self.ble and not self.bracelet:
            found.append("ble: no [[bracelet]] is listed, so none will be connected")
        if self.mqtt and not self.bracelet and not self.accept_unknown_mqtt:
            found.append("mqtt: no [[bracelet]] is listed, so every one will be refused")
        if self.contact and min(contact.level for contact in self.contact) > 0:
            found.append("contact: none has level 0, so nobody is told in the first minutes of an alarm")
        if self.page and not is_loopback(self.page.host) and not self.page.certificate_file:
            found.append(
                "page: PIN and values cross the network in the clear; set certificate_file and key_file"
            )
        if strangers := sorted(set(self.names) - set(self.patients.values())):
            found.append(f"child: no [[bracelet]] is worn by {', '.join(strangers)}")
        return found


def load_config(path: Path) -> Config:
    """Read and check a configuration file; relative paths in it count from the file's directory.

    Raises:
        InvalidConfig: names file, line, setting, reason and remedy of everything that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidConfig("", f"there is no configuration file {path}", _how_to_begin()) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(
            "", f"{path} cannot be read: {error}", "Check its permissions and UTF-8"
        ) from None
    return parse_config(text, path.parent, path.name)


def parse_config(text: str, directory: Path = Path(), name: str = "") -> Config:
    """Check the text of a configuration file.

    Args:
        directory: where relative paths count from.
        name: what to call the file in messages.

    Raises:
        InvalidConfig: names line, setting, reason and remedy of everything that is wrong.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        remedy = "Texts need quotes; compare with the example"
        raise InvalidConfig("", f"not TOML: {error}", remedy, place=name) from None
    try:
        return _resolved(Config.model_validate(document), directory)
    except ValidationError as error:
        *others, last = reversed(error.errors(include_url=False, include_input=False))
        also = tuple(_invalid_config(each, text, name) for each in reversed(others))
        raise _invalid_config(last, text, name, also) from None


def example() -> str:
    """The annotated example configuration."""
    return files("edge_gateway").joinpath(EXAMPLE).read_text(encoding="utf-8")


def _resolved(config: Config, directory: Path) -> Config:
    def at_home(section: _Section) -> dict[str, Any]:
        values = {name: getattr(section, name) for name in type(section).model_fields}
        return {name: directory / value for name, value in values.items() if isinstance(value, Path)}

    sections = {name: section for name in ("api", "mqtt", "page") if (section := getattr(config, name))}
    moved = {name: section.model_copy(update=at_home(section)) for name, section in sections.items()}
    contacts = tuple(contact.model_copy(update=at_home(contact)) for contact in config.contact)
    return config.model_copy(update={**at_home(config), **moved, "contact": contacts})


def _invalid_config(
    error: ErrorDetails, text: str, file: str, also: tuple[InvalidConfig, ...] = ()
) -> InvalidConfig:
    line = line_of(text, error["loc"])
    place = ":".join(filter(None, [file, str(line or "")]))
    reason, remedy = _explained(error)
    return InvalidConfig(".".join(map(str, error["loc"])), reason, remedy, place=place, also=also)


def _explained(error: ErrorDetails) -> tuple[str, str]:
    """Reason and remedy."""
    where = [str(part) for part in error["loc"] if not isinstance(part, int)]
    section, name = _section_of(where[:-1]), where[-1] if where else ""
    reason = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        near = get_close_matches(name, section.model_fields, 1)
        return "unknown setting", f"Did you mean {near[0]}?" if near else "Remove it, or check its section"
    known = section.model_fields.get(name)
    if known is None or not known.examples:
        return reason, f"Compare with the example ({EXAMPLE})"
    shown = known.examples[0]
    quoted = f'"{shown}"' if isinstance(shown, str) and shown not in ("true", "false") else shown
    if error["type"] == "missing":
        reason = "is missing"
    return reason, f"Write for example: {name} = {quoted}"


_SECTIONS: dict[str, type[_Section]] = {
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


def _section_of(where: list[str]) -> type[_Section]:
    return _SECTIONS.get(where[0], Config) if where else Config


def _how_to_begin() -> str:
    return f"Begin with this one (annotated in edge_gateway/{EXAMPLE}):\n\n{MINIMAL}"


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
