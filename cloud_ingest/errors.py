"""Exceptions of the ingestion service.

KidjamoError (vitals.errors)
 ├─ InvalidSettings      settings the service refuses to start with
 ├─ ApiError             a request refused before any reading is processed
 │   ├─ Unauthorized         401, no valid token
 │   ├─ Forbidden            403, a token without the scope
 │   ├─ TooManyRequests      429, with the time to wait
 │   ├─ BodyTooLarge         413
 │   ├─ UnknownEncoding      415
 │   └─ MalformedBody        422, carries the bytes
 ├─ NotAllowed           (an InvalidReading) a reading its sender is not allowed to send: 403
 ├─ OAuthRefused         a token request that is not granted: RFC 6749, section 5.2
 ├─ NotRegistered        a command about a gateway that is not registered, or is registered already
 ├─ SpoolUnavailable     the spool is full, damaged or locked by another process
 ├─ NotDurable           Kafka and the spool did not take the records: 503
 ├─ KafkaUnavailable     Kafka does not answer, or answers with an error
 ├─ DatabaseUnavailable  PostgreSQL does not answer, or refuses: 503
 ├─ LeaseLost            another alarms process has taken over
 ├─ NotErased            rows of an erased child remain
 └─ PortBusy             the port or address cannot be listened on
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from vitals.errors import InvalidReading, KidjamoError


class InvalidSettings(KidjamoError, ValueError):
    """Settings the service refuses to start with; the message names the variable and the reason."""


class ApiError(KidjamoError, ValueError):
    """A request refused as a whole.

    Attributes:
        status: HTTP status of the response.
        code: stable name of the error in the response.
        field: the field at fault; empty where unknown.
    """

    status = 400
    code = "bad_request"
    headers: Mapping[str, str] = {}
    field = ""


class Unauthorized(ApiError):
    """No token, or an invalid one; the headers say which (RFC 6750, section 3)."""

    status = 401
    code = "unauthorized"

    def __init__(self, reason: str, *, invalid: bool) -> None:
        super().__init__(reason)
        challenge = f'Bearer error="invalid_token", error_description="{reason}"' if invalid else "Bearer"
        self.headers = {"WWW-Authenticate": challenge}


class Forbidden(ApiError):
    """A valid token without the required scope."""

    status = 403
    code = "forbidden"

    def __init__(self, scope: str) -> None:
        super().__init__(f"the token lacks the scope {scope}")
        self.headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}


class TooManyRequests(ApiError):
    """More requests or readings than a client may send; the headers say when to retry."""

    status = 429
    code = "too_many"

    def __init__(self, what: str, wait_s: float) -> None:
        super().__init__(f"too many {what}; try again in {math.ceil(wait_s)} s")
        self.headers = {"Retry-After": str(math.ceil(wait_s))}


class BodyTooLarge(ApiError):
    """More bytes or readings than one request may carry."""

    status = 413
    code = "too_large"
    headers: Mapping[str, str] = {"Connection": "close"}


class UnknownEncoding(ApiError):
    """A Content-Encoding other than gzip and zstd."""

    status = 415
    code = "unsupported_encoding"


class MalformedBody(ApiError):
    """A body that cannot be decoded.

    Attributes:
        reason: what is wrong.
        original: the bytes for the dead letter, decompressed as far as possible.
    """

    status = 422
    code = "malformed"

    def __init__(self, reason: str, original: bytes, field: str = "") -> None:
        super().__init__(reason)
        self.reason, self.original, self.field = reason, original, field


class NotAllowed(InvalidReading):
    """A reading its sender is not allowed to send.

    Attributes:
        claimed: the device or gateway it names.
    """

    def __init__(self, field: str, reason: str, claimed: str | None) -> None:
        super().__init__(field, reason)
        self.claimed = claimed or ""


class OAuthRefused(KidjamoError):
    """A token request that is not granted.

    Attributes:
        code: the error of RFC 6749, section 5.2.
        status: 401 where the client is unknown, else 400.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.status = code, 401 if code == "invalid_client" else 400


class NotRegistered(KidjamoError):
    """A command about a gateway that is not registered, or an attempt to register it twice."""


class SpoolUnavailable(KidjamoError):
    """The spool cannot take records: full, damaged, or locked by another process."""


class NotDurable(KidjamoError):
    """Kafka and the spool did not take the records; the sender must keep them and retry."""


class KafkaUnavailable(KidjamoError):
    """Kafka did not answer, or answered with an error."""


class DatabaseUnavailable(KidjamoError):
    """PostgreSQL did not answer, or refused."""


class LeaseLost(KidjamoError):
    """Another alarms process has taken over; two at once would notify people twice."""


class NotErased(KidjamoError):
    """Rows remain after an erasure; the message names the tables."""


class PortBusy(KidjamoError):
    """The port is in use by another process, or the address cannot be listened on."""
