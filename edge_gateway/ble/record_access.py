"""Requests to a bracelet's record access control point, and their responses."""

from __future__ import annotations

import asyncio
import time

from edge_gateway.ble.peripheral import Peripheral
from edge_gateway.errors import LinkLost
from vitals.gatt import bracelet, record_access
from vitals.gatt.record_access import OpCode, Request, Response, ResponseCode

_ANSWER_S = 10.0
"""Longest time without a record or a response while a request is open."""


class RecordAccess:
    """Sends one request at a time and waits for its response."""

    def __init__(self, peripheral: Peripheral) -> None:
        self._peripheral = peripheral
        self._responses: asyncio.Queue[Response] = asyncio.Queue()
        self._active_at = 0.0

    def note_activity(self) -> None:
        """Restart the time limit of the open request: a stored record arrived."""
        self._active_at = time.monotonic()

    def receive(self, data: bytes) -> None:
        """Parse an indication of the control point.

        Raises:
            MalformedRecord: it cannot be parsed.
        """
        indication = record_access.parse_indication(data)
        if isinstance(indication, Response) and indication.request is not OpCode.ABORT:
            self._responses.put_nowait(indication)

    async def request(self, request: Request) -> ResponseCode:
        """Send a request and return the outcome in its response.

        Raises:
            LinkLost: no response in time, or the link failed.
        """
        while not self._responses.empty():
            self._responses.get_nowait()
        self.note_activity()
        await self._peripheral.write(bracelet.RECORD_ACCESS, bytes(request))
        self.note_activity()
        while True:
            try:
                async with asyncio.timeout(1.0):
                    response = await self._responses.get()
            except TimeoutError:
                if time.monotonic() - self._active_at > _ANSWER_S:
                    raise LinkLost(f"no answer to {request.op_code.name}") from None
                continue
            if response.request is request.op_code:
                return response.code
