"""A file that changes while it is read is refused, and never read in part."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import job

from pipelines.corpus.changes import check_span, check_unchanged
from pipelines.corpus.files import SourceFile, list_files
from pipelines.corpus.rows import Corpus, open_corpus, read_rows, unreadable_reason
from pipelines.errors import FileChanged, InputError, UnreadableFile
from pipelines.stores.protocols import open_store

# more rows than one batch has
_ROWS = 5_000


def _parquet(word: str, rows: int = _ROWS, groups: int = 2) -> bytes:
    """Return a Parquet file; two of them with words of one length have the same size."""
    texts = [word * (row % 7) for row in range(rows)]
    table = pa.table({"id": [f"{word}{row}" for row in range(rows)], "text": texts})
    sink = io.BytesIO()
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(table, sink, row_group_size=max(1, rows // groups), **options)
    return sink.getvalue()


def _lines(word: str) -> bytes:
    return b"".join(f'{{"id": "{word}{row}", "text": "{word}"}}\n'.encode() for row in range(_ROWS))


CONTENTS = {"a.parquet": _parquet, "a.jsonl": _lines}


@pytest.fixture(params=["local", "s3", "gs", "abfs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty directory, for each kind of store."""
    if request.param == "local":
        return str(tmp_path)
    return f"{request.getfixturevalue(request.param).new_bucket()}/corpus"


def _write(url: str, content: bytes) -> None:
    filesystem, path = open_store(url, InputError)
    if os.path.isabs(path) and os.path.exists(path):
        before = os.stat(path).st_mtime_ns
        Path(path).write_bytes(content)
        # the disk's clock may have ticks of milliseconds
        os.utime(path, ns=(before + 1, before + 1))
    else:
        filesystem.pipe_file(path, content)


def _open(url: str) -> Corpus:
    spec = job(url)
    return open_corpus(spec, list_files(url))


def _read_all(corpus: Corpus) -> Iterator[pa.Table]:
    for fragment in corpus.fragments:
        yield from read_rows(corpus.spec, corpus.layout, fragment)
    check_span(corpus.spec, corpus.fragments)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_does_not_change_is_read(store: str, name: str) -> None:
    _write(f"{store}/{name}", CONTENTS[name]("one"))
    assert sum(rows.num_rows for rows in _read_all(_open(store))) == _ROWS
    (file,) = list_files(store)
    assert unreadable_reason(job(store), file) is None


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("word", ["two", "a longer word"])
def test_a_file_that_changes_while_its_rows_are_read_is_refused(
    store: str, name: str, word: str
) -> None:
    url = f"{store}/{name}"
    _write(url, CONTENTS[name]("one"))
    rows = _read_all(_open(store))
    next(rows)
    _write(url, CONTENTS[name](word))
    with pytest.raises(FileChanged, match=f"{name}: has changed since it was listed: it"):
        list(rows)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_was_replaced_after_it_was_listed_is_refused(store: str, name: str) -> None:
    url = f"{store}/{name}"
    _write(url, CONTENTS[name]("one"))
    corpus = _open(store)
    (file,) = corpus.files
    _write(url, CONTENTS[name]("two"))
    with pytest.raises(FileChanged):
        list(_read_all(corpus))
    with pytest.raises(FileChanged):
        unreadable_reason(job(store), file)


def test_a_file_whose_row_groups_changed_is_refused_as_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(_parquet("one"))
    corpus = _open(str(tmp_path))
    path.write_bytes(_parquet("one", groups=1))
    with pytest.raises(FileChanged):
        list(_read_all(corpus))


@pytest.mark.parametrize("content", [b"PAR1 half a file", b""])
def test_a_file_that_is_being_rewritten_is_not_taken_for_a_damaged_one(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(_parquet("one"))
    (file,) = list_files(str(tmp_path))
    path.write_bytes(content)
    with pytest.raises(FileChanged, match=f"it has {len(content)} bytes, and had "):
        open_corpus(job(tmp_path), [file])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 half a file")
    with pytest.raises(UnreadableFile):
        open_corpus(job(tmp_path), list_files(f"{tmp_path}/b.parquet"))


def test_a_file_that_lost_all_its_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(_parquet("one"))
    (file,) = list_files(str(tmp_path))
    path.write_bytes(_parquet("one", rows=0))
    with pytest.raises(FileChanged):
        open_corpus(job(tmp_path), [file])


def test_a_file_that_is_gone_is_refused(store: str) -> None:
    _write(f"{store}/a.parquet", _parquet("one"))
    (file,) = list_files(store)
    gone = replace(file, path=file.path.replace("a.parquet", "b.parquet"))
    with pytest.raises(FileChanged, match=r"b\.parquet: .*: it does not exist any more"):
        check_unchanged(job(store), gone)


def test_times_of_change_are_compared_to_the_nanosecond(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(_parquet("one"))
    os.utime(path, ns=(10**18, 10**18))
    (file,) = list_files(str(tmp_path))
    check_unchanged(job(tmp_path), file)
    os.utime(path, ns=(10**18, 10**18 + 1))
    message = f"its time of change is {10**18 + 1}, and was {10**18}"
    with pytest.raises(FileChanged, match=message):
        check_unchanged(job(tmp_path), file)


def test_a_file_of_a_store_without_versions_is_compared_by_size(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(_parquet("one"))
    file = SourceFile(str(tmp_path / "a.parquet"), len(_parquet("one")), "")
    check_unchanged(job(tmp_path), file)
    with pytest.raises(FileChanged):
        check_unchanged(job(tmp_path), replace(file, size_bytes=5))
