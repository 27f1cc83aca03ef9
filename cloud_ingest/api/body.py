"""The bytes of a request, bounded before and after decompression."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable

import zstandard

from cloud_ingest.errors import BodyTooLarge, MalformedBody, UnknownEncoding

MAX_BODY = 8 * 2**20
MAX_DECOMPRESSED = 32 * 2**20
MAX_VALUES = 1_000_000
"""Commas and opening brackets of a JSON body: 10,000 readings with every field have 220,000. Each value takes
some 80 bytes once it is read, so that 32 MiB of `{},{},…` would take a gigabyte."""
_GZIP = 16 + zlib.MAX_WBITS
_ZSTD_WINDOW = 8 * 2**20


async def read_bounded(chunks: AsyncIterable[bytes], declared: str | None, most: int = MAX_BODY) -> bytes:
    """Collect a body.

    Args:
        chunks: the body as it arrives.
        declared: the Content-Length header, where there is one.
        most: bytes that are accepted, 8 MiB where nothing is said.

    Raises:
        BodyTooLarge: more than that, declared or sent.
    """
    if declared and declared.isdecimal() and int(declared) > most:
        raise BodyTooLarge(f"the body has {declared} bytes, at most {most} are accepted")
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > most:
            raise BodyTooLarge(f"the body has more than {most} bytes; send smaller batches")
    return bytes(body)


def decompress(body: bytes, encoding: str | None) -> bytes:
    """Undo a Content-Encoding.

    Raises:
        UnknownEncoding: neither gzip, zstd nor identity.
        BodyTooLarge: more than 32 MiB come out.
        MalformedBody: not what the header says; keeps what could be decompressed.
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
    """Look how many values a JSON body may hold before it is read.

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
            raise MalformedBody("the gzip body ends too early", bytes(out))
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
        wide = f"the body is not zstd, or needs a window of more than {_ZSTD_WINDOW >> 20} MiB"
        raise MalformedBody(wide, bytes(out) or body) from None
    if body and not out:
        raise MalformedBody("the zstd body ends too early", body)
    return bytes(out)


def _check_size(out: bytearray) -> None:
    if len(out) > MAX_DECOMPRESSED:
        raise BodyTooLarge(f"the body decompresses to more than {MAX_DECOMPRESSED} bytes")
