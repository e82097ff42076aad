"""The bytes of a file, decompressed if it is compressed: gzip, zstd or bzip2, by its first bytes.

A file may consist of several members or frames, as parallel compressors write them; all are read.
Knows nothing of lines.
"""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipelines.corpus.formats import SNIFFED_BYTES, Format, sniff
from pipelines.errors import UnreadableFile

CHUNK_BYTES = 4 * 2**20
_COMPRESSED_BYTES = 2**20


def read_chunks(handle: Any) -> Iterator[bytes]:
    """Yield the content of a file in chunks of at most 4 MiB, none of them empty.

    `handle` is a binary file at its start, which can seek. Raises UnreadableFile if compressed data
    is damaged or ends early, or if the file is Parquet.
    """
    kind = sniff(handle.read(SNIFFED_BYTES))
    handle.seek(0)
    if kind is Format.PARQUET:
        raise UnreadableFile("is a Parquet file; rename it to end in .parquet")
    if kind is Format.LINES_GZIP:
        # reads all members, and zeros after the last, as tapes and block devices leave them
        return _checked(_read_all(gzip.GzipFile(fileobj=handle)))
    if kind is Format.LINES_ZSTD:
        return _checked(_read_all(pa.CompressedInputStream(pa.PythonFile(handle, "r"), "zstd")))
    if kind is Format.LINES_BZ2:
        return _checked(_bz2_chunks(handle))
    return _read_all(handle)


def is_compressed(handle: Any) -> bool:
    """Return whether a file is compressed, by its first bytes; `handle` is then at its start."""
    handle.seek(0)
    kind = sniff(handle.read(SNIFFED_BYTES))
    handle.seek(0)
    return kind is not None and kind.is_compressed


def _read_all(handle: Any) -> Iterator[bytes]:
    while chunk := handle.read(CHUNK_BYTES):
        yield chunk


def _bz2_chunks(handle: Any) -> Iterator[bytes]:
    """Yield the content of all streams of a bzip2 file. Python's own reader ignores whatever
    follows the first stream if that is not a second one, such as a damaged one."""
    decompressor = bz2.BZ2Decompressor()
    data = b""
    while True:
        if decompressor.eof:
            data = decompressor.unused_data or handle.read(_COMPRESSED_BYTES)
            if not data:
                return
            decompressor = bz2.BZ2Decompressor()
        elif decompressor.needs_input:
            data = handle.read(_COMPRESSED_BYTES)
            if not data:
                raise EOFError("Compressed file ended before the end-of-stream marker was reached")
        else:
            data = b""
        if chunk := decompressor.decompress(data, CHUNK_BYTES):
            yield chunk


def _checked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the chunks, and raise UnreadableFile for an error that a decompressor raises. Errors of
    the store, which have a number or a class of their own, pass."""
    try:
        yield from chunks
    except (EOFError, zlib.error) as error:
        raise UnreadableFile(f"the compressed data is damaged or ends early: {error}") from error
    except OSError as error:
        if error.errno is None and type(error) in (OSError, gzip.BadGzipFile):
            reason = f"the compressed data is damaged or ends early: {error}"
            raise UnreadableFile(reason) from error
        raise
