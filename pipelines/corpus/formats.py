"""The formats of input files: by a file's name, and by its first bytes.

Knows names and magic numbers; opens nothing.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Format(StrEnum):
    """A format of input files: Parquet, or JSON lines, which may be compressed."""

    PARQUET = "parquet"
    LINES = "jsonl"
    LINES_GZIP = "jsonl.gz"
    LINES_ZSTD = "jsonl.zst"
    LINES_BZ2 = "jsonl.bz2"

    @property
    def is_lines(self) -> bool:
        """Return whether the file consists of lines of JSON, compressed or not."""
        return self is not Format.PARQUET

    @property
    def is_compressed(self) -> bool:
        """Return whether the whole file is one compressed stream, read from its start only."""
        return self not in (Format.PARQUET, Format.LINES)


ENDINGS = (
    *(".parquet", ".parq", ".pq"),
    *(
        f"{ending}{compression}"
        for ending in (".jsonl", ".ndjson", ".json")
        for compression in ("", ".gz", ".gzip", ".zst", ".zstd", ".bz2")
    ),
)
"""The endings of the names of input files, in small letters; capital letters mean the same."""
_COMPRESSED = {
    "gz": Format.LINES_GZIP,
    "gzip": Format.LINES_GZIP,
    "zst": Format.LINES_ZSTD,
    "zstd": Format.LINES_ZSTD,
    "bz2": Format.LINES_BZ2,
}
SNIFFED_BYTES = 4096
"""The number of bytes from a file's start that `sniff` needs."""
_MAGIC = (
    (re.compile(rb"PAR[1E]"), Format.PARQUET),
    (re.compile(rb"\x1f\x8b"), Format.LINES_GZIP),
    # a frame, or a skippable frame, with which pzstd and seekable files begin
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), Format.LINES_ZSTD),
    (
        re.compile(rb"BZh[1-9](\x31\x41\x59\x26\x53\x59|\x17\x72\x45\x38\x50\x90|\Z)"),
        Format.LINES_BZ2,
    ),
    (re.compile(rb"(\xef\xbb\xbf)?\s*[{\[]"), Format.LINES),
)


def format_of(name: str) -> Format | None:
    """Return the format that the ending of a file's name states, or None for any other ending."""
    lower = name.lower()
    if not lower.endswith(ENDINGS):
        return None
    ending = lower.rpartition(".")[2]
    if ending in ("parquet", "parq", "pq"):
        return Format.PARQUET
    return _COMPRESSED.get(ending, Format.LINES)


def sniff(first_bytes: bytes) -> Format | None:
    """Return the format that a file's first bytes show, or None if they show none that is read.

    `first_bytes` are the first SNIFFED_BYTES, or all that the file has. An array of JSON counts as
    lines, so that the reader of lines can say what to do with it; a compressed file counts as
    compressed lines, whatever it contains.
    """
    matches = (kind for magic, kind in _MAGIC if magic.match(first_bytes))
    return next(matches, None)
