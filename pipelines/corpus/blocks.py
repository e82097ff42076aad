"""Blocks of whole lines of a file, however long one line is. Knows nothing of JSON."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipelines.errors import UnreadableFile

MAX_LINE_BYTES = 256 * 2**20
"""The length above which a line is not kept in memory, and cannot be read."""
_SHOWN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive whole lines of a file.

    `data` are their bytes; only the last line of a file may lack its end. `first_line` is the
    number of the first one in the file, from 0. With `cut`, the block is the beginning of one line
    that is longer than `max_line_bytes`.
    """

    data: bytes
    first_line: int
    cut: bool = False


def blocks_of(
    chunks: Iterable[bytes], first_line: int = 0, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[Block]:
    """Yield blocks about as large as the chunks, which are consecutive bytes of a file; larger ones
    where a line is longer. They begin with the line `first_line`. A mark of the byte order at the
    start of the file (UTF-8's) is left out.

    Raises UnreadableFile if the mark is that of UTF-16.
    """
    line = first_line
    pending: list[bytes] = []
    size = 0
    skipping = False
    for chunk in chunks if first_line else _without_mark(chunks):
        rest = chunk
        if skipping:
            _, newline, rest = chunk.partition(b"\n")
            skipping = not newline
            line += len(newline)
        end = rest.rfind(b"\n") + 1
        if end:
            data = b"".join([*pending, rest[:end]])
            yield Block(data, line)
            line += data.count(b"\n")
            pending, size, rest = [], 0, rest[end:]
        if rest:
            pending.append(rest)
            size += len(rest)
        if size > max_line_bytes:
            yield Block(pending[0][:_SHOWN_BYTES], line, cut=True)
            pending, size, skipping = [], 0, True
    if pending:
        yield Block(b"".join(pending), line)


def _without_mark(chunks: Iterable[bytes]) -> Iterator[bytes]:
    first = True
    for chunk in chunks:
        if first and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UnreadableFile(
                "is UTF-16, and JSON lines are UTF-8; convert it, such as with iconv -f UTF-16 "
                "-t UTF-8"
            )
        yield chunk.removeprefix(codecs.BOM_UTF8) if first else chunk
        first = False
