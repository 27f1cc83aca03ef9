"""The gateways that may send: a file, so that letting them in depends on no server.

Only a hash of each secret is kept: 256 random bits need no slow hash, for nobody can try them all. Commands
replace the file as a whole; the API reads it again when it has changed: a revocation takes effect at once.
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
_NOBODY = hashlib.sha256(b"").hexdigest()


class Registration(BaseModel):
    """A gateway, or another client, that may ask for tokens.

    Attributes:
        devices, patients: whom it may speak for; None for all.
        added: when its secret was made; tokens of an earlier registration of that name are worth nothing.
        revoked: since when it is refused.
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
    """The registered gateways; where a changed file cannot be used, those it held before."""

    path: Path
    _seen: tuple[int, int, int] | None = field(default=None, init=False)
    _known: dict[str, Registration] = field(default_factory=dict, init=False)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The registry of a file, which need not be there yet.

        Raises:
            InvalidSettings: the file cannot be used.
        """
        registry = cls(path)
        registry._seen = registry._version()
        registry._known = registry._read()
        return registry

    def all(self) -> tuple[Registration, ...]:
        """Everyone who was ever registered, the revoked included."""
        self._look_again()
        return tuple(self._known.values())

    def active(self, gateway_id: str) -> Registration | None:
        """Who is registered under that name and not revoked."""
        self._look_again()
        found = self._known.get(gateway_id)
        return found if found and not found.revoked else None

    def authenticate(self, gateway_id: str, secret: str) -> Registration | None:
        """Who that is; takes the same time whether name or secret is wrong."""
        found = self.active(gateway_id)
        expected = found.secret_sha256 if found else _NOBODY
        return found if hmac.compare_digest(_hash(secret), expected) else None

    def add(
        self,
        gateway_id: str,
        scopes: frozenset[Scope],
        devices: frozenset[str] | None,
        patients: frozenset[str] | None = None,
    ) -> tuple[Registration, str]:
        """Register a gateway; returns its secret as well, which is kept nowhere.

        Raises:
            NotRegistered: one of that name is registered already.
            InvalidSettings: the name cannot be one, or the file cannot be used.
        """
        secret = secrets.token_urlsafe(SECRET_BYTES)
        fresh = _registration(
            gateway_id=gateway_id,
            secret_sha256=_hash(secret),
            scopes=scopes,
            devices=devices,
            patients=patients,
            added=datetime.now(UTC),
        )
        with self._changing() as known:
            if gateway_id in known and not known[gateway_id].revoked:
                raise NotRegistered(f"{gateway_id} is registered already; change or revoke it")
            known[gateway_id] = fresh
        return fresh, secret

    def change(
        self,
        gateway_id: str,
        scopes: frozenset[Scope] | None,
        devices: frozenset[str] | None,
        patients: frozenset[str] | AsBefore | None = "as before",
    ) -> Registration:
        """Give a gateway other devices, and other scopes and patients where given; its secret stays.

        Raises:
            NotRegistered: nobody is active under that name.
            InvalidSettings: a device's or patient's name cannot be one, or the file cannot be used.
        """
        with self._changing() as known:
            before = _active_in(known, gateway_id)
            update = {
                "scopes": before.scopes if scopes is None else scopes,
                "devices": devices,
                "patients": before.patients if patients == "as before" else patients,
            }
            known[gateway_id] = after = _registration(**dict(before) | update)
        return after

    def revoke(self, gateway_id: str) -> None:
        """Refuse a gateway from now on.

        Raises:
            NotRegistered: nobody is active under that name.
        """
        with self._changing() as known:
            before = _active_in(known, gateway_id)
            known[gateway_id] = _registration(**dict(before) | {"revoked": datetime.now(UTC)})

    def _look_again(self) -> None:
        version = self._version()
        if version == self._seen:
            return
        try:
            self._known = self._read()
        except InvalidSettings as error:
            log.error("%s; the gateways stay as they were", error)
        self._seen = version

    def _version(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> dict[str, Registration]:
        try:
            there = self.path.exists()
        except OSError as error:
            raise InvalidSettings(f"{VARIABLE} {self.path}: {reason_of(error, self.path)}") from None
        return self._parse(read_secret(self.path, VARIABLE)) if there else {}

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
        """What is registered, to be changed; one command at a time."""
        try:
            beside = self.path.with_name(f".{self.path.name}.lock")
            if not beside.exists():
                with suppress(FileExistsError):
                    create_secret(beside, "")
            with locked(beside, timeout_s=None):
                known = self._read()
                yield known
                document = _Document(gateways=tuple(known.values()))
                text = document.model_dump_json(indent=1) + "\n"
                self._parse(text)  # a file nobody can read again would lock every gateway out
                replace_secret(self.path, text)
        except OSError as error:
            raise InvalidSettings(f"{VARIABLE} {self.path}: {reason_of(error, self.path)}") from None


def _registration(**fields: Any) -> Registration:
    try:
        return Registration.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidSettings(f"{first['loc'][0]}: {error_text(first['type'], first['msg'])}") from None


def _active_in(known: dict[str, Registration], gateway_id: str) -> Registration:
    found = known.get(gateway_id)
    if found is None or found.revoked:
        raise NotRegistered(f"{gateway_id} is not registered")
    return found


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
