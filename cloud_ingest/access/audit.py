"""Who was let in, who was refused, who changed that: one JSON object a line, only ever appended.

No line holds a secret, a token or a patient's identifier.
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
    """What is worth a line."""

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


class Audit:
    """Appends to the audit log.

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
        """Add a line; a disk that cannot take it is reported and stops nobody's readings."""
        line = {"at": utc_text(datetime.now(UTC)), "action": action.value, **about}
        try:
            self._append(json.dumps(line).encode() + b"\n")
        except OSError as error:
            log.error("audit log %s: %s; lost: %s", self._path, error.strerror, action.value)

    def _append(self, line: bytes) -> None:
        # Opened anew each time, for lines are few and the file may be rotated away; one write is one line.
        if not self._path.exists():
            with suppress(FileExistsError):
                create_secret(self._path, "")
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, line)
        finally:
            os.close(file)
