"""The decompression of files: all members of each format, and damage is never the end."""

from __future__ import annotations

import bz2
import gzip
import io
from collections.abc import Callable

import pyarrow as pa
import pytest

from pipelines.corpus.compression import read_chunks
from pipelines.errors import UnreadableFile

LINES = b"".join(b'{"id": "%d", "text": "text %d"}\n' % (n, n * 7919) for n in range(20_000))
HALF = len(LINES) // 2


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    compressed: bytes = sink.getvalue().to_pybytes()
    return compressed


def _read(raw: bytes) -> bytes:
    return b"".join(read_chunks(io.BytesIO(raw)))


COMPRESS = pytest.mark.parametrize("compress", [gzip.compress, _zstd, bz2.compress])


@COMPRESS
def test_all_members_of_a_compressed_file_are_read(compress: Callable[[bytes], bytes]) -> None:
    assert _read(compress(LINES)) == LINES
    assert _read(compress(LINES[:HALF]) + compress(b"") + compress(LINES[HALF:])) == LINES
    assert _read(compress(b"")) == b""


@COMPRESS
@pytest.mark.parametrize("missing", [1, 4, 9, 1000])
def test_a_truncated_file_is_an_error(compress: Callable[[bytes], bytes], missing: int) -> None:
    for whole in (compress(LINES), compress(LINES) + compress(LINES)):
        with pytest.raises(UnreadableFile, match="damaged or ends early"):
            _read(whole[:-missing])


@COMPRESS
def test_bytes_behind_the_last_member_are_an_error(compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(UnreadableFile, match="damaged or ends early"):
        _read(compress(LINES) + b"something else")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_a_damaged_byte_is_an_error(compress: Callable[[bytes], bytes]) -> None:
    raw = bytearray(compress(LINES))
    raw[len(raw) // 2] ^= 0xFF
    with pytest.raises(UnreadableFile, match="damaged or ends early"):
        _read(bytes(raw))


def test_zeros_behind_gzip_are_padding() -> None:
    assert _read(gzip.compress(LINES) + bytes(512)) == LINES


def test_skippable_frames_of_zstd_are_skipped() -> None:
    frame = b"\x5e\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"12345"
    assert _read(frame + _zstd(LINES[:HALF]) + frame + _zstd(LINES[HALF:])) == LINES


def test_a_highly_compressed_file_is_read_in_chunks() -> None:
    zeros = bytes(16 * 2**20)
    for raw in (gzip.compress(zeros), _zstd(zeros), bz2.compress(zeros)):
        sizes = [len(chunk) for chunk in read_chunks(io.BytesIO(raw))]
        assert sum(sizes) == len(zeros)
        assert max(sizes) <= 4 * 2**20


def test_plain_files_are_read_as_they_are() -> None:
    assert _read(LINES) == LINES
    assert _read(b"") == b""


def test_a_parquet_file_is_not_taken_for_lines() -> None:
    with pytest.raises(UnreadableFile, match="is a Parquet file; rename it"):
        _read(b"PAR1....")


def test_errors_of_the_store_pass() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 4096:
                raise ConnectionResetError(104, "reset")
            return super().read(min(size or 0, 4096))

    for compress in (gzip.compress, _zstd, bz2.compress):
        with pytest.raises(ConnectionResetError):
            b"".join(read_chunks(Failing(compress(LINES))))
