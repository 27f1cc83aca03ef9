"""Dead letters: what could not be accepted, with its bytes and the reason, on the errors topic."""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cloud_ingest.kafka.record import Record, utc_text
from cloud_ingest.privacy.pseudonyms import Pseudonyms
from vitals.heartbeat import printable
from vitals.reading import Identifier, UtcTime
from vitals.topics import ERRORS

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")
MAX_ORIGINAL = 600 * 1024
"""Bytes of an original that are kept: the record has to stay under Kafka's limit of 1 MB per message."""

LONGEST_REASON, LONGEST_FIELD = 1000, 200


class RefusalCode(StrEnum):
    """Why the API refused a message, the same as `error` in its response."""

    INVALID = "invalid"
    FORBIDDEN = "forbidden"


class ReportedError(BaseModel):
    """A dead letter as a gateway sends it to `POST /iot/errors`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    error_id: UUID
    timestamp: UtcTime
    source: str = Field("gateway", max_length=32, examples=["gateway"])
    gateway_id: Identifier | None = None
    device_id: Identifier | None = None
    reason: str = Field(max_length=LONGEST_REASON, examples=["not JSON"])
    field: str = Field("", max_length=LONGEST_FIELD, examples=["measurements.spo2_pct"])
    original: str = Field(
        description="Original bytes in base64",
        examples=["eyJzcG8yX3BjdCI6"],
        json_schema_extra={
            "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
            "contentEncoding": "base64",
        },
    )

    @field_validator("original")
    @classmethod
    def _is_base64(cls, value: str) -> str:
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("must be base64") from None
        return value


def dead_letter(
    original: bytes,
    field: str,
    reason: str,
    noticed: datetime,
    pseudonyms: Pseudonyms,
    *,
    source: str = "api",
    code: RefusalCode | None = None,
    error_id: UUID | None = None,
    device_id: str | None = None,
    gateway_id: str | None = None,
) -> Record:
    """Return the record of a refused message, with pseudonyms instead of patient identifiers in its bytes.

    Originals over 600 KiB are cut; `original_size` has their full size.
    """
    kept = _scrub_inside(_as_utf8(original[:MAX_ORIGINAL]), pseudonyms)
    document: dict[str, Any] = {
        "error_id": str(error_id or uuid4()),
        "timestamp": utc_text(noticed),
        "source": source,
        "reason": reason,
        "field": field,
        "original": base64.b64encode(kept[:MAX_ORIGINAL]).decode(),
    }
    if len(original) > MAX_ORIGINAL:
        document["original_size"] = len(original)
    optional = {"code": code, "device_id": device_id, "gateway_id": gateway_id}
    document |= {name: value for name, value in optional.items() if value}
    return Record.of(ERRORS, device_id, document)


def of_gateway(error: ReportedError, pseudonyms: Pseudonyms, sender: str | None) -> Record:
    """Return the record of a dead letter that a gateway reports; its reason is scrubbed as well.

    Args:
        sender: the gateway of the token, which overrides `gateway_id`; None without authentication.
    """
    return dead_letter(
        base64.b64decode(error.original),
        printable(error.field, LONGEST_FIELD),
        printable(pseudonyms.scrub(error.reason.encode()).decode(errors="replace"), LONGEST_REASON),
        error.timestamp,
        pseudonyms,
        source="gateway" if sender else error.source,
        error_id=error.error_id,
        device_id=error.device_id,
        gateway_id=sender or error.gateway_id,
    )


def original_of(document: object) -> bytes | None:
    """Return the original bytes of a reported dead letter that is itself malformed; None if unreadable."""
    original = document.get("original") if isinstance(document, dict) else None
    try:
        return base64.b64decode(original, validate=True) if isinstance(original, str) else None
    except (binascii.Error, ValueError):
        return None


def _scrub_inside(data: bytes, pseudonyms: Pseudonyms) -> bytes:
    """Scrub bytes, and bytes in base64 inside them, as in a dead letter reported by a gateway."""

    def scrubbed(run: re.Match[bytes]) -> bytes:
        inner = binascii.a2b_base64(run[0][: len(run[0]) // 4 * 4])
        clean = pseudonyms.scrub(inner)
        return run[0] if clean == inner else base64.b64encode(clean)

    return _BASE64.sub(scrubbed, pseudonyms.scrub(data))


def _as_utf8(original: bytes) -> bytes:
    """Convert UTF-16 or UTF-32 that names a patient to UTF-8, so that it can be scrubbed."""
    encoding = json.detect_encoding(original)
    if encoding.startswith("utf-8"):
        return original
    try:
        text = original.decode(encoding, errors="ignore").encode(errors="replace")
    except UnicodeError:
        return original
    return text if b"patient" in text.lower() else original
