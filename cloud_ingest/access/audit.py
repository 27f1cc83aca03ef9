"""The audit log: tokens issued and refused, access refused, and changes to gateways and keys.

One JSON object per line, append-only. No line contains a secret, a token or a patient identifier.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from cloud_ingest.errors import InvalidSettings
from cloud_ingest.kafka.record import utc_text
from cloud_ingest.secret_file import create_secret, reason_of

log = logging.getLogger(__name__)


class Action(StrEnum):
    """The kinds of entries."""

    TOKEN_ISSUED = "token_issued"
    TOKEN_REFUSED = "token_refused"
    ACCESS_REFUSED = "access_refused"
    READING_REFUSED = "reading_refused"
    GATEWAY_ADDED = "gateway_added"
    GATEWAY_CHANGED = "gateway_changed"
    GATEWAY_REVOKED = "gateway_revoked"
    ERASURE_REQUESTED = "erasure_requested"
    KEY_MADE = "key_made"
    KEY_REMOVED = "key_removed"


class AuditLog:
    """An append-only file.

    Raises:
        InvalidSettings: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._append(b"")
        except OSError as error:
            raise InvalidSettings(f"API_AUDIT_FILE {path}: {reason_of(error, path)}") from None

    def write(self, action: Action, **about: str | list[str]) -> None:
        """Append an entry; where that fails, log an error and return."""
        line = {"at": utc_text(datetime.now(UTC)), "action": action.value, **about}
        try:
            self._append(json.dumps(line).encode() + b"\n")
        except OSError as error:
            log.error("audit log %s: %s; lost: %s", self._path, error.strerror, action.value)

    def _append(self, line: bytes) -> None:
        # Opened for each line: entries are rare, and the file may be rotated. One write keeps a line whole.
        if not self._path.exists():
            with suppress(FileExistsError):
                create_secret(self._path, "")
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
