"""Record access control point: fetch, count and release the records in a bracelet's flash. No I/O.

Op codes and layout follow the Bluetooth SIG's Record Access Control Point (characteristic 0x2A52): op code
u8, operator u8, operand. The filter is always the sequence number (filter type 1), which has 32 bits here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from vitals.errors import MalformedRecord

_PROFILE = "record access"
_BY_SEQUENCE_NUMBER = 1
_FILTERED = struct.Struct("<BBBI")
_BARE = struct.Struct("<BB")
_COUNT = struct.Struct("<BBI")
_RESPONSE = struct.Struct("<BBBB")


class OpCode(IntEnum):
    """Type of a request or response."""

    REPORT = 1
    DELETE = 2
    ABORT = 3
    REPORT_COUNT = 4
    COUNT = 5
    RESPONSE = 6


class Operator(IntEnum):
    """Selection of records."""

    NONE = 0
    UP_TO = 2
    FROM = 3


class ResponseCode(IntEnum):
    """Result of a request."""

    SUCCESS = 1
    NOT_SUPPORTED = 2
    NO_RECORDS = 6
    NOT_COMPLETED = 8


@dataclass(frozen=True, slots=True)
class Request:
    """One write to the control point: `report_from(n)`, `count_from(n)`, `release_up_to(n)` or `abort()`."""

    op_code: OpCode
    operator: Operator
    seq: int | None = None

    @classmethod
    def report_from(cls, seq: int) -> Self:
        """Request the records from this sequence number on."""
        return cls(OpCode.REPORT, Operator.FROM, seq)

    @classmethod
    def count_from(cls, seq: int) -> Self:
        """Request the number of records from this sequence number on."""
        return cls(OpCode.REPORT_COUNT, Operator.FROM, seq)

    @classmethod
    def release_up_to(cls, seq: int) -> Self:
        """Acknowledge the records up to this sequence number; their flash may be reused."""
        return cls(OpCode.DELETE, Operator.UP_TO, seq)

    @classmethod
    def abort(cls) -> Self:
        """Stop a report in progress."""
        return cls(OpCode.ABORT, Operator.NONE)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode one write.

        Raises:
            MalformedRecord: wrong length, or an invalid combination of codes.
        """
        match data[:2]:
            case b"\x03\x00" if len(data) == _BARE.size:
                return cls.abort()
            case b"\x01\x03" | b"\x02\x02" | b"\x04\x03" if len(data) == _FILTERED.size:
                op_code, operator, filter_type, seq = _FILTERED.unpack(data)
                if filter_type == _BY_SEQUENCE_NUMBER:
                    return cls(OpCode(op_code), Operator(operator), seq)
        raise MalformedRecord(_PROFILE, data, "unknown request")

    def __bytes__(self) -> bytes:
        """Encode.

        Raises:
            ValueError: the sequence number does not fit 32 bits.
        """
        if self.seq is None:
            return _BARE.pack(self.op_code, self.operator)
        return _pack(_FILTERED, self.op_code, self.operator, _BY_SEQUENCE_NUMBER, self.seq)


@dataclass(frozen=True, slots=True)
class Count:
    """Response to `Request.count_from`: the number of records."""

    records: int

    def __bytes__(self) -> bytes:
        """Encode.

        Raises:
            ValueError: the count does not fit 32 bits.
        """
        return _pack(_COUNT, OpCode.COUNT, Operator.NONE, self.records)


@dataclass(frozen=True, slots=True)
class Response:
    """Result of the request with this op code."""

    request: OpCode
    code: ResponseCode

    def __bytes__(self) -> bytes:
        """Encode."""
        return _RESPONSE.pack(OpCode.RESPONSE, Operator.NONE, self.request, self.code)


def _pack(layout: struct.Struct, *fields: int) -> bytes:
    try:
        return layout.pack(*fields)
    except struct.error as error:
        raise ValueError(f"{_PROFILE}: {error}") from error


def parse_indication(data: bytes) -> Count | Response:
    """Decode an indication of the control point.

    Raises:
        MalformedRecord: wrong length, or unknown codes.
    """
    try:
        if data[:2] == bytes((OpCode.COUNT, Operator.NONE)):
            return Count(_COUNT.unpack(data)[2])
        if data[:2] == bytes((OpCode.RESPONSE, Operator.NONE)):
            _, _, request, code = _RESPONSE.unpack(data)
            return Response(OpCode(request), ResponseCode(code))
    except (struct.error, ValueError) as error:
        raise MalformedRecord(_PROFILE, data, str(error)) from error
    raise MalformedRecord(_PROFILE, data, "unknown response")
