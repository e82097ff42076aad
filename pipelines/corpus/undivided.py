"""Large files that only one CPU can index, because they are compressed as one stream."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.corpus.files import SourceFile

LARGE_BYTES = 256 * 2**20
"""The size of a compressed file above which a notice names it."""
_SHOWN = 3


def undivided_files(files: Sequence[SourceFile]) -> list[SourceFile]:
    """Return the large compressed files, the largest first.

    A Parquet file is divided at its row groups, and lines at their ends; compressed lines can be
    read from their start only.
    """
    large = [file for file in files if file.size_bytes > LARGE_BYTES and _is_stream(file)]
    return sorted(large, key=lambda file: (-file.size_bytes, file.path))


def _is_stream(file: SourceFile) -> bool:
    return file.kind is not None and file.kind.is_compressed


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
