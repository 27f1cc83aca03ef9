"""What can go wrong in a gateway.

KidjamoError
 └─ GatewayError
     ├─ InvalidConfig       a setting that is missing, unknown or impossible, with its remedy
     ├─ DataDirUnavailable  the data directory cannot be used, or another gateway uses it
     ├─ OutboxUnavailable   the outbox was closed before something could be made durable
     ├─ RadioUnavailable    no Bluetooth adapter, or its plug-in cannot be opened
     ├─ BrokerUnavailable   the MQTT broker cannot be reached, refuses or does not answer
     ├─ LinkLost            a bracelet went away, fell silent or answered nonsense
     │   └─ WrongBracelet   a device that uses a bracelet's name and is another one
     ├─ RequestRefused      a bracelet is there and does not do what was asked
     ├─ DeliveryFailed      the API did not accept a batch; it must be sent again
     │   └─ BatchRejected   the API answered, and refuses the batch or fails on it
     ├─ NotRunning          a command for a running gateway, and there is none
     ├─ CommandFailed       a command that could not be carried out, with the remedy
     └─ PageUnavailable     the carers' page cannot be served where it should
"""

from __future__ import annotations

from vitals.errors import KidjamoError


class GatewayError(KidjamoError):
    """Root of the errors a gateway raises on purpose."""


class InvalidConfig(GatewayError):
    """A configuration nobody should start with.

    Attributes:
        field: dotted path of the setting, empty when the whole file is at fault.
        reason: what is wrong.
        remedy: what to do about it.
        place: file and line, "gateway.toml:12"; empty where there is none.
        also: what else is wrong with the same configuration.
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
        told = ": ".join(filter(None, [place, field, f"{reason}. {remedy}"]))
        super().__init__("\n".join([told, *map(str, also)]))
        self.field, self.reason, self.remedy, self.place, self.also = field, reason, remedy, place, also


class DataDirUnavailable(GatewayError):
    """The data directory cannot be used; two gateways must not share one."""


class OutboxUnavailable(GatewayError):
    """The outbox is closed; what was handed in last is not durable."""


class RadioUnavailable(GatewayError):
    """Bluetooth cannot be used at the moment."""


class BrokerUnavailable(GatewayError):
    """The MQTT broker cannot be reached, refuses the connection or does not answer."""


class LinkLost(GatewayError):
    """A link to a bracelet ended; it is to be connected again."""


class WrongBracelet(LinkLost):
    """A device that uses the name of a bracelet and is another one."""


class RequestRefused(GatewayError):
    """A bracelet that is there has no such characteristic, or refuses the request."""


class DeliveryFailed(GatewayError):
    """The API did not accept a batch.

    Attributes:
        retry_after_s: seconds to wait before the next request, where the API named them.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class BatchRejected(DeliveryFailed):
    """The API refuses a batch as a whole, or fails on it; a smaller batch may be accepted."""


class PageUnavailable(GatewayError):
    """The carers' page cannot be served; says what to change."""


class NotRunning(GatewayError):
    """No gateway runs on this data directory."""


class CommandFailed(GatewayError):
    """A command that could not be carried out; says what to do."""
