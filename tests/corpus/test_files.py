"""The files of a corpus: which are found, which are skipped, and what is an error."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest
from corpora import write

from pipelines.corpus.files import list_files
from pipelines.errors import InputError, StorageError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a directory with four files of a corpus, and others that are no part of it."""
    files = ("b.parquet", "a.parquet", "sub/c.parquet", "lines.jsonl")
    skipped = ("_x.parquet", ".y.parquet", "_run/z.parquet", "sub/.tmp/w.parquet", "note.txt")
    for name in (*files, *skipped):
        write(tmp_path / "data" / name)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["a.parquet", "b.parquet", "lines.jsonl", "sub/c.parquet"]),
        ("/", ["a.parquet", "b.parquet", "lines.jsonl", "sub/c.parquet"]),
        ("/*.parquet", ["a.parquet", "b.parquet"]),
        ("/**/*.parquet", ["a.parquet", "b.parquet", "sub/c.parquet"]),
        ("/[ab].parquet", ["a.parquet", "b.parquet"]),
        ("/sub/c.parquet", ["sub/c.parquet"]),
        ("/_x.parquet", ["_x.parquet"]),
        ("/_run", ["_run/z.parquet"]),
    ],
)
def test_files_are_found_by_path_directory_and_glob(
    tree: Path, pattern: str, names: list[str]
) -> None:
    files = list_files(f"{tree}{pattern}")
    assert [Path(file.path).relative_to(tree).as_posix() for file in files] == names
    assert all(file.size_bytes == Path(file.path).stat().st_size for file in files)


@pytest.mark.parametrize("pattern", ["", "/*.parquet"])
def test_linked_files_are_found_and_their_changes_are_seen(
    tree: Path, tmp_path: Path, pattern: str
) -> None:
    blobs = tmp_path / "blobs"
    write(blobs / "one.parquet")
    (tree / "link.parquet").symlink_to(blobs / "one.parquet")
    (tree / "gone.parquet").symlink_to(blobs / "nothing.parquet")
    files = {file.path: file for file in list_files(f"{tree}{pattern}")}
    assert f"{tree}/gone.parquet" not in files
    linked = files[f"{tree}/link.parquet"]
    assert linked.size_bytes == (blobs / "one.parquet").stat().st_size
    os.utime(blobs / "one.parquet", (1, 1))
    assert linked not in list_files(f"{tree}{pattern}")


def test_a_linked_directory_is_read_and_a_link_to_a_parent_is_not(
    tree: Path, tmp_path: Path
) -> None:
    write(tmp_path / "more" / "d.parquet")
    (tree / "more").symlink_to(tmp_path / "more")
    (tree / "sub" / "up").symlink_to(tree)
    names = [Path(file.path).relative_to(tree).as_posix() for file in list_files(str(tree))]
    assert names == ["a.parquet", "b.parquet", "lines.jsonl", "more/d.parquet", "sub/c.parquet"]


@pytest.mark.parametrize(("pattern", "count"), [("", 3), ("/**/*.parquet", 2), ("/sub", 1)])
def test_files_below_the_output_are_skipped(tree: Path, pattern: str, count: int) -> None:
    assert len(list_files(f"{tree}{pattern}", exclude=f"{tree}/sub")) == count
    files = list_files(f"{tree}{pattern}")
    # a corpus may be in a directory below the output
    assert list_files(f"{tree}{pattern}", exclude=f"{tree.parent}") == files


def test_the_output_is_skipped_however_its_path_is_spelled(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree.parent / "link").symlink_to(tree)
    monkeypatch.chdir(tree / "sub")
    for path, output in (
        (str(tree), f"{tree}/sub/../sub"),
        (str(tree), f"{tree.parent}/link/sub"),
        (f"{tree.parent}/link", f"{tree}/sub"),
        ("..", f"{tree}/sub"),
    ):
        assert len(list_files(path, exclude=output)) == 3
    assert len(list_files(str(tree), exclude=f"{tree.parent}/link")) == 4


def test_a_directory_that_cannot_be_listed_is_named(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def scan_unless_forbidden(path: str) -> object:
        if Path(path) in (tree / "sub", tree / "_run"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan_unless_forbidden)
    with pytest.raises(StorageError, match=f"Permission denied: '{tree}/sub'"):
        list_files(str(tree))


def test_a_directory_named_like_a_glob_is_a_directory(tmp_path: Path) -> None:
    write(tmp_path / "[old]" / "a.parquet")
    assert len(list_files(f"{tmp_path}/[old]")) == 1


@pytest.mark.parametrize("pattern", ["/sub/.tmp/*.csv", "/nothing", "/*.csv"])
def test_a_path_without_files_is_refused(tree: Path, pattern: str) -> None:
    with pytest.raises(InputError, match=r"no file of Parquet or JSON lines at"):
        list_files(f"{tree}{pattern}")


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(InputError, match=r"input\.path: nope://x: .*Protocol not known: nope"):
        list_files("nope://x")


def test_a_files_version_changes_with_its_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    before = list_files(str(path))
    assert before == list_files(str(path))
    write(path, pa.table({"id": ["a"], "text": ["other"]}))
    assert before != list_files(str(path))
