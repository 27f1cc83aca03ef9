"""Errors of the gateway.

KidjamoError
 └─ GatewayError
     ├─ InvalidConfig       a setting is missing, unknown or invalid
     ├─ DataDirUnavailable  the data directory cannot be used, or another gateway uses it
     ├─ OutboxUnavailable   the outbox was closed before a write became durable
     ├─ RadioUnavailable    no Bluetooth adapter, or its plug-in cannot be opened
     ├─ BrokerUnavailable   the MQTT broker cannot be reached, refuses or does not answer
     ├─ LinkLost            a bracelet disconnected, timed out or sent an invalid answer
     │   └─ WrongBracelet   another device uses a bracelet's name
     ├─ RequestRefused      a connected bracelet rejected a request
     ├─ DeliveryFailed      the API did not accept a batch; send it again
     │   └─ BatchRejected   the API rejects the batch as a whole, or fails on it
     ├─ NotRunning          a command needs a running gateway and there is none
     ├─ CommandFailed       a command failed
     └─ PageUnavailable     the carers' page cannot be served
"""

from __future__ import annotations

from vitals.errors import KidjamoError


class GatewayError(KidjamoError):
    """Base class of the gateway's errors."""


class InvalidConfig(GatewayError):
    """The configuration is invalid.

    Attributes:
        field: dotted path of the setting; empty for the file as a whole.
        reason: what is wrong.
        remedy: how to correct it.
        place: file and line, as in "gateway.toml:12"; empty if unknown.
        also: further errors in the same configuration.
    """

    def __init__(
        self,
        field: str,
        reason: str,
        remedy: str,
        *,
        place: str = "",
        also: tuple[InvalidConfig, ...] = (),
    ) -> None:
        text = ": ".join(filter(None, [place, field, f"{reason}. {remedy}"]))
        super().__init__("\n".join([text, *map(str, also)]))
        self.field, self.reason, self.remedy, self.place, self.also = field, reason, remedy, place, also


class DataDirUnavailable(GatewayError):
    """The data directory cannot be used, or another gateway uses it."""


class OutboxUnavailable(GatewayError):
    """The outbox is closed; the latest writes are not durable."""


class RadioUnavailable(GatewayError):
    """Bluetooth is not available at the moment."""


class BrokerUnavailable(GatewayError):
    """The MQTT broker cannot be reached, refuses the connection or does not answer."""


class LinkLost(GatewayError):
    """The link to a bracelet ended; connect again."""


class WrongBracelet(LinkLost):
    """Another device uses the name of a bracelet."""


class RequestRefused(GatewayError):
    """A connected bracelet lacks the characteristic or rejected the request."""


class DeliveryFailed(GatewayError):
    """The API did not accept a batch.

    Attributes:
        retry_after_s: the API's `Retry-After`, in seconds; None if it sent none.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class BatchRejected(DeliveryFailed):
    """The API refuses a batch as a whole, or fails on it; a smaller batch may be accepted."""


class PageUnavailable(GatewayError):
    """The carers' page cannot be served; the text says what to change."""


class NotRunning(GatewayError):
    """No gateway is running on this data directory."""


class CommandFailed(GatewayError):
    """A command failed; the text says what to do."""
