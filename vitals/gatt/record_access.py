"""Record access control point: fetch, count and release what a bracelet holds in flash. No I/O.

Op codes and layout follow the Bluetooth SIG's Record Access Control Point (characteristic 0x2A52): op code
u8, operator u8, operand. The filter is always the sequence number (filter type 1), here 32 bits wide.
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
    """What is asked or answered."""

    REPORT = 1
    DELETE = 2
    ABORT = 3
    REPORT_COUNT = 4
    COUNT = 5
    RESPONSE = 6


class Operator(IntEnum):
    """Which records are meant."""

    NONE = 0
    UP_TO = 2
    FROM = 3


class ResponseCode(IntEnum):
    """How a request ended."""

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
        """Notify every stored record with this sequence number or a later one."""
        return cls(OpCode.REPORT, Operator.FROM, seq)

    @classmethod
    def count_from(cls, seq: int) -> Self:
        """Tell how many records there are from this sequence number on."""
        return cls(OpCode.REPORT_COUNT, Operator.FROM, seq)

    @classmethod
    def release_up_to(cls, seq: int) -> Self:
        """Acknowledge: records up to this one are safe elsewhere and their flash may be used again."""
        return cls(OpCode.DELETE, Operator.UP_TO, seq)

    @classmethod
    def abort(cls) -> Self:
        """Stop a running report."""
        return cls(OpCode.ABORT, Operator.NONE)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode one write.

        Raises:
            MalformedRecord: wrong length, or a combination that means nothing.
        """
        match data[:2]:
            case b"\x03\x00" if len(data) == _BARE.size:
                return cls.abort()
            case b"\x01\x03" | b"\x02\x02" | b"\x04\x03" if len(data) == _FILTERED.size:
                op_code, operator, filter_type, seq = _FILTERED.unpack(data)
                if filter_type == _BY_SEQUENCE_NUMBER:
                    return cls(OpCode(op_code), Operator(operator), seq)
        raise MalformedRecord(_PROFILE, data, "not a request this service knows")

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
    """Answer to `Request.count_from`: how many records there are."""

    records: int

    def __bytes__(self) -> bytes:
        """Encode.

        Raises:
            ValueError: the count does not fit 32 bits.
        """
        return _pack(_COUNT, OpCode.COUNT, Operator.NONE, self.records)


@dataclass(frozen=True, slots=True)
class Response:
    """How the request with this op code ended."""

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
    """Decode what the control point indicates.

    Raises:
        MalformedRecord: wrong length, or codes that mean nothing.
    """
    try:
        if data[:2] == bytes((OpCode.COUNT, Operator.NONE)):
            return Count(_COUNT.unpack(data)[2])
        if data[:2] == bytes((OpCode.RESPONSE, Operator.NONE)):
            _, _, request, code = _RESPONSE.unpack(data)
            return Response(OpCode(request), ResponseCode(code))
    except (struct.error, ValueError) as error:
        raise MalformedRecord(_PROFILE, data, str(error)) from error
    raise MalformedRecord(_PROFILE, data, "not an answer this service knows")
