"""Pieces of a large file of JSON lines that is not compressed, which several CPUs can read.

Knows bytes and line ends; knows nothing of JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.corpus.compression import CHUNK_BYTES, is_compressed

PIECE_BYTES = 128 * 2**20
"""A file larger than twice this size is divided into pieces of about this size."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes [start:end] of a file, whole lines, of which the first has the number `first_line`,
    from 0."""

    start: int
    end: int
    first_line: int


def divide(handle: Any, size_bytes: int, piece_bytes: int = PIECE_BYTES) -> list[Piece]:
    """Return the pieces of a file, in order; none if it is compressed or too small to be divided.

    Reads the whole file, to count its lines. `handle` is a binary file of `size_bytes`.
    """
    if size_bytes <= 2 * piece_bytes or is_compressed(handle):
        return []
    pieces: list[Piece] = []
    start = offset = line = first_line = 0
    while chunk := handle.read(CHUNK_BYTES):
        end = chunk.rfind(b"\n") + 1
        if end and offset + end - start >= piece_bytes:
            pieces.append(Piece(start, offset + end, first_line))
            start = offset + end
            first_line = line + chunk.count(b"\n", 0, end)
        line += chunk.count(b"\n")
        offset += len(chunk)
    return [*pieces, Piece(start, offset, first_line)] if offset > start else pieces


def read_piece(handle: Any, piece: Piece) -> Iterator[bytes]:
    """Yield the content of a piece in chunks. `handle` is a binary file, which can seek."""
    handle.seek(piece.start)
    left = piece.end - piece.start
    while left and (chunk := handle.read(min(left, CHUNK_BYTES))):
        left -= len(chunk)
        yield chunk
