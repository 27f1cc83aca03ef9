"""What can go wrong on the way in.

KidjamoError (vitals.errors)
 ├─ InvalidSettings      an environment the service refuses to start with
 ├─ Unacceptable         a request refused before any reading is looked at
 │   ├─ BodyTooLarge         413
 │   ├─ UnknownEncoding      415
 │   └─ MalformedBody        422, keeps the bytes
 ├─ SpoolUnavailable     the spool is full, broken or held by another process
 ├─ NotDurable           neither Kafka nor the spool took the records: 503
 ├─ KafkaAway            Kafka does not answer, or not as it should
 ├─ DatabaseAway         PostgreSQL does not answer, or refuses: 503
 ├─ NotErased            rows of an erased child are left
 └─ PortBusy             another process listens where we should
"""

from __future__ import annotations

from vitals.errors import KidjamoError


class InvalidSettings(KidjamoError, ValueError):
    """Settings the service refuses to start with; says which variable and why."""


class Unacceptable(KidjamoError, ValueError):
    """A request refused as a whole; `status` is its HTTP answer, `code` its stable name."""

    status = 400
    code = "bad_request"


class BodyTooLarge(Unacceptable):
    """More bytes, or more readings, than one request may carry."""

    status = 413
    code = "too_large"


class UnknownEncoding(Unacceptable):
    """A Content-Encoding other than gzip and zstd."""

    status = 415
    code = "unsupported_encoding"


class MalformedBody(Unacceptable):
    """A body that cannot be decoded.

    Attributes:
        reason, field: what is wrong, and where if that is known.
        original: the bytes for the dead letter, decompressed as far as they could be.
    """

    status = 422
    code = "malformed"

    def __init__(self, reason: str, original: bytes, field: str = "") -> None:
        super().__init__(reason)
        self.reason, self.original, self.field = reason, original, field


class SpoolUnavailable(KidjamoError):
    """The spool cannot take records: full, broken, or in use by another process."""


class NotDurable(KidjamoError):
    """Neither Kafka nor the spool took the records; the sender must keep them and try again."""


class KafkaAway(KidjamoError):
    """Kafka did not answer, or not as it should."""


class DatabaseAway(KidjamoError):
    """The database did not answer, or refused."""


class NotErased(KidjamoError):
    """Counting after an erasure found rows; says in which tables."""


class PortBusy(KidjamoError):
    """Another process listens where we should."""
