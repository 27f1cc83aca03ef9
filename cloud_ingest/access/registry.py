"""The registry of gateways: a file, so that authentication depends on no server.

It holds a hash of each secret. A secret of 256 random bits cannot be guessed, so a fast hash is sufficient.
Commands replace the whole file; the API reads it again when it has changed, so a revocation takes effect at
the next request.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud_ingest.access.permissions import Scope
from cloud_ingest.errors import InvalidSettings, NotRegistered
from cloud_ingest.secret_file import create_secret, read_secret, reason_of, replace_secret
from runtime.file_lock import locked
from vitals.reading import Identifier, UtcTime, error_text

log = logging.getLogger(__name__)

VARIABLE = "API_GATEWAYS_FILE"
SECRET_BYTES = 32
AsBefore = Literal["as before"]
_NO_SECRET = hashlib.sha256(b"").hexdigest()


class Registration(BaseModel):
    """A gateway, or another client, that may request tokens.

    Attributes:
        devices, patients: whose readings it may send; None for all.
        added: when its secret was made; tokens of an earlier registration of the same name are invalid.
        revoked: since when it is refused; None while it is active.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gateway_id: Identifier
    secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    scopes: frozenset[Scope]
    devices: frozenset[Identifier] | None
    added: UtcTime
    revoked: UtcTime | None = None
    patients: frozenset[Identifier] | None = Field(None, repr=False)


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    gateways: tuple[Registration, ...] = ()


@dataclass(slots=True)
class Registry:
    """The registered gateways. Where a changed file cannot be used, they stay as they were."""

    path: Path
    _version: tuple[int, int, int] | None = field(default=None, init=False)
    _registrations: dict[str, Registration] = field(default_factory=dict, init=False)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return the registry in a file, which need not exist yet.

        Raises:
            InvalidSettings: the file cannot be used.
        """
        registry = cls(path)
        registry._version = registry._file_version()
        registry._registrations = registry._read()
        return registry

    def all(self) -> tuple[Registration, ...]:
        """Return every registration, revoked ones included."""
        self._reload_if_changed()
        return tuple(self._registrations.values())

    def active(self, gateway_id: str) -> Registration | None:
        """Return the registration of a gateway; None where there is none or it is revoked."""
        self._reload_if_changed()
        return _active_in(self._registrations, gateway_id)

    def authenticate(self, gateway_id: str, secret: str) -> Registration | None:
        """Return the registration with this secret; takes the same time whether name or secret is wrong."""
        registration = self.active(gateway_id)
        expected = registration.secret_sha256 if registration else _NO_SECRET
        return registration if hmac.compare_digest(_hash(secret), expected) else None

    def add(
        self,
        gateway_id: str,
        scopes: frozenset[Scope],
        devices: frozenset[str] | None,
        patients: frozenset[str] | None = None,
    ) -> tuple[Registration, str]:
        """Register a gateway; return it with its secret, which is not stored.

        Raises:
            NotRegistered: an active gateway has this name.
            InvalidSettings: an invalid name, or the file cannot be used.
        """
        secret = secrets.token_urlsafe(SECRET_BYTES)
        registration = _registration(
            gateway_id=gateway_id,
            secret_sha256=_hash(secret),
            scopes=scopes,
            devices=devices,
            patients=patients,
            added=datetime.now(UTC),
        )
        with self._changing() as registrations:
            if _active_in(registrations, gateway_id):
                raise NotRegistered(f"{gateway_id} is registered already; change or revoke it")
            registrations[gateway_id] = registration
        return registration, secret

    def change(
        self,
        gateway_id: str,
        scopes: frozenset[Scope] | None,
        devices: frozenset[str] | None,
        patients: frozenset[str] | AsBefore | None = "as before",
    ) -> Registration:
        """Replace the devices of a gateway, and its scopes and patients where given; keep its secret.

        Raises:
            NotRegistered: no active gateway has this name.
            InvalidSettings: an invalid device or patient identifier, or the file cannot be used.
        """
        with self._changing() as registrations:
            before = _require_active(registrations, gateway_id)
            update = {
                "scopes": before.scopes if scopes is None else scopes,
                "devices": devices,
                "patients": before.patients if patients == "as before" else patients,
            }
            registrations[gateway_id] = after = _registration(**dict(before) | update)
        return after

    def revoke(self, gateway_id: str) -> None:
        """Refuse a gateway from now on.

        Raises:
            NotRegistered: no active gateway has this name.
        """
        with self._changing() as registrations:
            before = _require_active(registrations, gateway_id)
            registrations[gateway_id] = _registration(**dict(before) | {"revoked": datetime.now(UTC)})

    def _reload_if_changed(self) -> None:
        version = self._file_version()
        if version == self._version:
            return
        try:
            self._registrations = self._read()
        except InvalidSettings as error:
            log.error("%s; the gateways stay as they were", error)
        self._version = version

    def _file_version(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    def _read(self) -> dict[str, Registration]:
        try:
            exists = self.path.exists()
        except OSError as error:
            raise InvalidSettings(f"{VARIABLE} {self.path}: {reason_of(error, self.path)}") from None
        return self._parse(read_secret(self.path, VARIABLE)) if exists else {}

    def _parse(self, text: str) -> dict[str, Registration]:
        try:
            document = _Document.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise InvalidSettings(f"{VARIABLE} {self.path}: {where}: {first['msg']}") from None
        return {each.gateway_id: each for each in document.gateways}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Registration]]:
        """Yield the registrations for modification, then write them; commands run one at a time."""
        try:
            lock = self.path.with_name(f".{self.path.name}.lock")
            if not lock.exists():
                with suppress(FileExistsError):
                    create_secret(lock, "")
            with locked(lock, timeout_s=None):
                registrations = self._read()
                yield registrations
                document = _Document(gateways=tuple(registrations.values()))
                text = document.model_dump_json(indent=1) + "\n"
                self._parse(text)  # an unreadable file would lock out every gateway
                replace_secret(self.path, text)
        except OSError as error:
            raise InvalidSettings(f"{VARIABLE} {self.path}: {reason_of(error, self.path)}") from None


def _registration(**fields: Any) -> Registration:
    try:
        return Registration.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidSettings(f"{first['loc'][0]}: {error_text(first['type'], first['msg'])}") from None


def _active_in(registrations: dict[str, Registration], gateway_id: str) -> Registration | None:
    registration = registrations.get(gateway_id)
    return registration if registration and not registration.revoked else None


def _require_active(registrations: dict[str, Registration], gateway_id: str) -> Registration:
    registration = _active_in(registrations, gateway_id)
    if registration is None:
        raise NotRegistered(f"{gateway_id} is not registered")
    return registration


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
