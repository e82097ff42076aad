"""Large files that one CPU indexes are named in a notice."""

from __future__ import annotations

from pipelines.corpus.files import SourceFile
from pipelines.corpus.undivided import LARGE_BYTES, describe_undivided, undivided_files


def test_large_files_of_lines_are_named_the_largest_first() -> None:
    files = [
        SourceFile("a.parquet", 2 * LARGE_BYTES, ""),
        SourceFile("b.jsonl.gz", LARGE_BYTES + 1, ""),
        SourceFile("c.jsonl.gz", LARGE_BYTES, ""),
        SourceFile("e.jsonl", 9 * LARGE_BYTES, ""),
        SourceFile("d.json.zst", 4 * LARGE_BYTES, ""),
    ]
    large = undivided_files(files)
    assert [file.path for file in large] == ["d.json.zst", "b.jsonl.gz"]
    assert describe_undivided(large) == (
        "d.json.zst (1,024 MiB), b.jsonl.gz (256 MiB): read as one piece, which one CPU indexes; "
        "split into files of at most 256 MiB, several CPUs would index it at once"
    )


def test_only_the_first_of_many_files_are_named() -> None:
    files = [SourceFile(f"{n}.jsonl.gz", LARGE_BYTES + 1, "") for n in range(5)]
    assert "2.jsonl.gz (256 MiB) and 2 more: read" in describe_undivided(undivided_files(files))


def test_without_large_files_there_is_no_notice() -> None:
    assert describe_undivided(undivided_files([SourceFile("a.jsonl", 9, "")])) == ""
