"""Large files that only one CPU can index, because they are read from start to end."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.corpus.files import SourceFile

LARGE_BYTES = 256 * 2**20
"""The size of a file of JSON lines above which a notice names it."""
_SHOWN = 3


def undivided_files(files: Sequence[SourceFile]) -> list[SourceFile]:
    """Return the large files of JSON lines, the largest first.

    A Parquet file is divided at its row groups. Lines, compressed or not, are one piece: compressed
    data can be read from its start only, and the numbers of lines are counted from there.
    """
    large = [
        file
        for file in files
        if file.size_bytes > LARGE_BYTES and file.kind is not None and file.kind.is_lines
    ]
    return sorted(large, key=lambda file: (-file.size_bytes, file.path))


def describe_undivided(files: Sequence[SourceFile]) -> str:
    """Return a notice about files of `undivided_files`, "" if there are none."""
    if not files:
        return ""
    shown = ", ".join(
        f"{file.path} ({file.size_bytes / 2**20:,.0f} MiB)" for file in files[:_SHOWN]
    )
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return (
        f"{shown}{more}: read as one piece, which one CPU indexes; split into files of at most "
        f"{LARGE_BYTES // 2**20} MiB, several CPUs would index it at once"
    )
