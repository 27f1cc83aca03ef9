import gzip
from collections.abc import AsyncIterator

import pytest
import zstandard

from cloud_ingest.api.body import MAX_BODY, MAX_DECOMPRESSED, check_count, decompress, read_bounded
from cloud_ingest.errors import BodyTooLarge, MalformedBody, UnknownEncoding

TEXT = b'{"patient_id": "patient-001-ss"}'


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for part in pieces:
        yield part


async def test_read_bounded_collects_the_chunks() -> None:
    assert await read_bounded(chunks(b"ab", b"", b"c"), None) == b"abc"


async def test_read_bounded_refuses_a_declared_size_above_the_limit_unread() -> None:
    with pytest.raises(BodyTooLarge, match="8388609"):
        await read_bounded(chunks(), "8388609")


async def test_read_bounded_refuses_more_bytes_than_declared_or_allowed() -> None:
    part = bytes(2**20)
    assert len(await read_bounded(chunks(*[part] * 8), None)) == MAX_BODY
    with pytest.raises(BodyTooLarge):
        await read_bounded(chunks(*[part] * 8, b"1"), "5")


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (TEXT, None),
        (TEXT, "identity"),
        (gzip.compress(TEXT, mtime=0), "gzip"),
        (gzip.compress(TEXT[:9], mtime=0) + gzip.compress(TEXT[9:], mtime=0), "GZIP"),
        (zstandard.compress(TEXT), "zstd"),
        (zstandard.ZstdCompressor(write_content_size=False).compress(TEXT), "zstd"),
    ],
)
def test_decompress_round_trip(body: bytes, encoding: str | None) -> None:
    assert decompress(body, encoding) == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_decompress_stops_at_the_limit(encoding: str) -> None:
    fits, bomb = bytes(MAX_DECOMPRESSED), bytes(MAX_DECOMPRESSED + 1)
    compress = gzip.compress if encoding == "gzip" else zstandard.compress
    assert decompress(compress(fits), encoding) == fits
    with pytest.raises(BodyTooLarge, match="decompresses"):
        decompress(compress(bomb), encoding)


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
def test_decompress_refuses_other_encodings(encoding: str) -> None:
    with pytest.raises(UnknownEncoding):
        decompress(TEXT, encoding)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_decompress_keeps_bytes_that_are_not_compressed(encoding: str) -> None:
    with pytest.raises(MalformedBody) as refused:
        decompress(TEXT, encoding)
    assert refused.value.original == TEXT


def test_body_of_a_million_values_is_refused_before_it_is_parsed() -> None:
    check_count(b'{"readings": [' + b"{}," * 400_000 + b"{}]}")
    with pytest.raises(BodyTooLarge, match="1000000 values"):
        check_count(b'{"readings": [' + b"{}," * 600_000 + b"{}]}")


def test_decompress_of_truncated_gzip_keeps_readable_bytes() -> None:
    whole = gzip.compress(TEXT, mtime=0)
    for length in range(1, len(whole)):
        with pytest.raises(MalformedBody) as refused:
            decompress(whole[:length], "gzip")
        assert TEXT.startswith(refused.value.original) or refused.value.original == whole[:length]
