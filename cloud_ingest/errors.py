"""What can go wrong on the way in.

KidjamoError (vitals.errors)
 ├─ InvalidSettings      an environment the service refuses to start with
 ├─ Unacceptable         a request refused before any reading is looked at
 │   ├─ Unauthorized         401, no valid token
 │   ├─ Forbidden            403, a token that does not open this
 │   ├─ TooMany              429, with the time to wait
 │   ├─ BodyTooLarge         413
 │   ├─ UnknownEncoding      415
 │   └─ MalformedBody        422, keeps the bytes
 ├─ NotAllowed           (an InvalidReading) a reading its sender may not speak for: 403
 ├─ OAuthRefused         a request for a token that is not granted: RFC 6749, section 5.2
 ├─ NotRegistered        a command about a gateway that is not registered, or is already
 ├─ SpoolUnavailable     the spool is full, broken or held by another process
 ├─ NotDurable           neither Kafka nor the spool took the records: 503
 ├─ KafkaUnavailable     Kafka does not answer, or not as it should
 ├─ DatabaseUnavailable  PostgreSQL does not answer, or refuses: 503
 ├─ LeaseLost            another alarms process holds the lease
 ├─ NotErased            rows of an erased child are left
 └─ PortBusy             another process listens where we should
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from vitals.errors import InvalidReading, KidjamoError


class InvalidSettings(KidjamoError, ValueError):
    """Settings the service refuses to start with; says which variable and why."""


class Unacceptable(KidjamoError, ValueError):
    """A request refused as a whole; `status` is its HTTP answer, `code` its stable name.

    Attributes:
        field: what is at fault, where that is known.
    """

    status = 400
    code = "bad_request"
    headers: Mapping[str, str] = {}
    field = ""


class Unauthorized(Unacceptable):
    """No token, or none that is valid; the headers say which, as RFC 6750 wants it."""

    status = 401
    code = "unauthorized"

    def __init__(self, reason: str, *, invalid: bool) -> None:
        super().__init__(reason)
        challenge = f'Bearer error="invalid_token", error_description="{reason}"' if invalid else "Bearer"
        self.headers = {"WWW-Authenticate": challenge}


class Forbidden(Unacceptable):
    """A valid token that does not open this."""

    status = 403
    code = "forbidden"

    def __init__(self, scope: str) -> None:
        super().__init__(f"the token lacks the scope {scope}")
        self.headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}


class TooMany(Unacceptable):
    """More than a client may do; says when to come back."""

    status = 429
    code = "too_many"

    def __init__(self, what: str, wait_s: float) -> None:
        super().__init__(f"too many {what}; try again in {math.ceil(wait_s)} s")
        self.headers = {"Retry-After": str(math.ceil(wait_s))}


class BodyTooLarge(Unacceptable):
    """More bytes, or more readings, than one request may carry."""

    status = 413
    code = "too_large"
    headers: Mapping[str, str] = {"Connection": "close"}


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


class NotAllowed(InvalidReading):
    """A reading its sender may not speak for.

    Attributes:
        claimed: the device or gateway it named.
    """

    def __init__(self, field: str, reason: str, claimed: str | None) -> None:
        super().__init__(field, reason)
        self.claimed = claimed or ""


class OAuthRefused(KidjamoError):
    """A request for a token that is not granted.

    Attributes:
        code: the error of RFC 6749, section 5.2.
        status: 401 where the client is not known, else 400.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.status = code, 401 if code == "invalid_client" else 400


class NotRegistered(KidjamoError):
    """A command about a gateway that is not registered, or one to register it a second time."""


class SpoolUnavailable(KidjamoError):
    """The spool cannot take records: full, broken, or in use by another process."""


class NotDurable(KidjamoError):
    """Neither Kafka nor the spool took the records; the sender must keep them and try again."""


class KafkaUnavailable(KidjamoError):
    """Kafka did not answer, or answered with an error."""


class DatabaseUnavailable(KidjamoError):
    """PostgreSQL did not answer, or refused."""


class LeaseLost(KidjamoError):
    """Another alarms process holds the lease; two at work would send every notification twice."""


class NotErased(KidjamoError):
    """Counting after an erasure found rows; says in which tables."""


class PortBusy(KidjamoError):
    """Another process listens where we should."""
