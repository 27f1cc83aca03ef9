"""The body of a request, limited in size before and after decompression, and in time."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterable
from typing import TypeVar

import zstandard
from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError

from cloud_ingest.access.permissions import Caller
from cloud_ingest.api.dependencies import services_of
from cloud_ingest.errors import BodyTooLarge, MalformedBody, UnknownEncoding
from vitals.errors import InvalidReading
from vitals.reading import invalid_reading, parse_json

Model = TypeVar("Model", bound=BaseModel)

BODY_TIMEOUT_S = 30.0
MAX_BODY = 8 * 2**20
MAX_DECOMPRESSED = 32 * 2**20
MAX_VALUES = 1_000_000
"""Commas and opening brackets of a JSON body: 10,000 readings with every field have 220,000. Each value takes
about 80 bytes once it is parsed, so that 32 MiB of `{},{},…` would take a gigabyte."""
_DECOMPRESS_ON_THREAD = 64 * 1024
"""Compressed bodies above this size would block the event loop for too long."""
_GZIP = 16 + zlib.MAX_WBITS
_ZSTD_WINDOW = 8 * 2**20


async def read_document(request: Request, caller: Caller, model: type[Model]) -> Model:
    """Read the body and validate it.

    Raises:
        MalformedBody: not a document of this model; names the field and the reason.
    """
    body = await read_body(request, caller)
    try:
        return model.model_validate(parse_json(body))
    except InvalidReading as error:
        raise MalformedBody(error.reason, body, error.field) from None
    except ValidationError as error:
        invalid = invalid_reading(error)
        raise MalformedBody(invalid.reason, body, invalid.field) from None


async def read_body(request: Request, caller: Caller) -> bytes:
    """Read and decompress the body, and charge its size to the caller's rate limit.

    Raises:
        HTTPException: 408, the body did not arrive in time.
        ApiError: too large, an unknown encoding, or not decompressible.
    """
    authorizer, encoding = services_of(request).authorizer, request.headers.get("content-encoding")
    sent = await read_raw_body(request, MAX_BODY)
    charged = MAX_DECOMPRESSED  # where decompression stops at the limit
    try:
        if encoding and len(sent) > _DECOMPRESS_ON_THREAD:
            body = await asyncio.to_thread(decompress, sent, encoding)
        else:
            body = decompress(sent, encoding)
        charged = len(body)
    except MalformedBody as error:
        charged = len(error.original)
        raise
    finally:
        if authorizer:
            authorizer.charge(caller, charged)
    check_count(body)
    return body


async def read_raw_body(request: Request, limit: int) -> bytes:
    """Read the body as it was sent, at most `limit` bytes.

    Raises:
        HTTPException: 408, the body did not arrive in time.
        BodyTooLarge: more bytes than that.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await read_bounded(request.stream(), request.headers.get("content-length"), limit)
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s") from None


async def read_bounded(chunks: AsyncIterable[bytes], declared: str | None, limit: int = MAX_BODY) -> bytes:
    """Join the chunks of a body.

    Args:
        chunks: the body as it arrives.
        declared: the Content-Length header, where there is one.
        limit: the largest body accepted, in bytes.

    Raises:
        BodyTooLarge: more than that, declared or sent.
    """
    if declared and declared.isdecimal() and int(declared) > limit:
        raise BodyTooLarge(f"the body has {declared} bytes, at most {limit} are accepted")
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise BodyTooLarge(f"the body has more than {limit} bytes; send smaller batches")
    return bytes(body)


def decompress(body: bytes, encoding: str | None) -> bytes:
    """Undo a Content-Encoding.

    Raises:
        UnknownEncoding: not gzip, zstd or identity.
        BodyTooLarge: more than 32 MiB when decompressed.
        MalformedBody: not in this encoding; carries what could be decompressed.
    """
    match (encoding or "identity").strip().lower():
        case "identity" | "":
            return body
        case "gzip" | "x-gzip":
            return _gunzip(body)
        case "zstd":
            return _unzstd(body)
    raise UnknownEncoding("Content-Encoding must be gzip or zstd")


def check_count(body: bytes) -> None:
    """Limit the number of values of a JSON body before it is parsed.

    Raises:
        BodyTooLarge: more than a million.
    """
    if len(body) > MAX_VALUES and sum(map(body.count, (b",", b"{", b"["))) > MAX_VALUES:
        raise BodyTooLarge(f"the body holds more than {MAX_VALUES} values; send smaller batches")


def _gunzip(body: bytes) -> bytes:
    out, rest = bytearray(), body
    while rest:
        member = zlib.decompressobj(_GZIP)
        try:
            out += member.decompress(rest, MAX_DECOMPRESSED + 1 - len(out))
        except zlib.error:
            raise MalformedBody("the body is not gzip", bytes(out) or body) from None
        _check_size(out)
        if not member.eof:
            raise MalformedBody("the gzip body is truncated", bytes(out))
        rest = member.unused_data
    return bytes(out)


def _unzstd(body: bytes) -> bytes:
    out = bytearray()
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(
        body, read_across_frames=True
    )
    try:
        while chunk := reader.read(2**20):
            out += chunk
            _check_size(out)
    except zstandard.ZstdError:
        reason = f"the body is not zstd, or needs a window of more than {_ZSTD_WINDOW >> 20} MiB"
        raise MalformedBody(reason, bytes(out) or body) from None
    if body and not out:
        raise MalformedBody("the zstd body is truncated", body)
    return bytes(out)


def _check_size(out: bytearray) -> None:
    if len(out) > MAX_DECOMPRESSED:
        raise BodyTooLarge(f"the body decompresses to more than {MAX_DECOMPRESSED} bytes")
