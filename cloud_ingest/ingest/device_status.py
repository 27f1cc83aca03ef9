"""Device-status records, published when the state of a bracelet changes and once a minute."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from vitals.reading import Reading, Signal

REPEAT_S = 60.0
MAX_DEVICES = 20_000


class _Last(NamedTuple):
    message_id: UUID
    signal: Signal
    at: float


class DeviceStatusGate:
    """A filter that passes the first state of a device, each change, and one a minute of the readings' time.

    Live and late readings are tracked separately, because they interleave. At most 20,000 devices are
    tracked; the next reading of a device that was dropped passes.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, bool], _Last] = OrderedDict()

    def due(self, reading: Reading, message_id: UUID) -> bool:
        """Return whether to publish the state in this reading; the same for a reading that is sent again."""
        if reading.signal is None:
            return False
        key = (reading.device_id, bool(reading.late))
        at = reading.timestamp.timestamp()
        last = self._last.get(key)
        # Signal has no nested models: comparing its attributes is equivalent to ==, in a third of the time.
        if last and vars(last.signal) == vars(reading.signal) and abs(at - last.at) < REPEAT_S:
            self._last.move_to_end(key)
            return last.message_id == message_id
        self._last[key] = _Last(message_id, reading.signal, at)
        self._last.move_to_end(key)
        if len(self._last) > MAX_DEVICES:
            self._last.popitem(last=False)
        return True


def device_status(reading: Reading, message_id: UUID, ingestion_timestamp: str) -> dict[str, Any]:
    """Return the device-status document of a reading that carries a signal."""
    wire = reading.model_dump(mode="json", include={"device_id", "patient_id", "gateway_id", "timestamp"})
    signal = reading.signal.model_dump(mode="json") if reading.signal else {}
    return {
        "status_id": str(uuid5(message_id, "device-status")),
        "message_id": str(message_id),
        "ingestion_timestamp": ingestion_timestamp,
        **wire,
        **signal,
    }
