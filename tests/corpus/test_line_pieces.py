"""Large files of JSON lines are read in pieces, with the same rows as in one."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from corpora import job, read
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpus.files import list_files
from pipelines.corpus.fragments import Fragment
from pipelines.corpus.line_pieces import PIECE_BYTES, Piece, divide, read_piece
from pipelines.corpus.rows import open_corpus, read_rows


@given(st.lists(st.binary(max_size=20), max_size=30), st.integers(1, 40), st.integers(1, 9))
def test_pieces_are_whole_lines_and_cover_the_file(
    lines: list[bytes], piece_bytes: int, chunk_bytes: int
) -> None:
    class Short(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size if size and size > 0 else 99, chunk_bytes))

    data = b"\n".join([b"{}", *lines])
    pieces = divide(Short(data), len(data), piece_bytes)
    if len(data) <= 2 * piece_bytes:
        assert pieces == []
        return
    assert b"".join(chunk for piece in pieces for chunk in read_piece(Short(data), piece)) == data
    for piece in pieces:
        assert piece.start == 0 or data[piece.start - 1 : piece.start] == b"\n"
        assert piece.first_line == data.count(b"\n", 0, piece.start)
        assert piece is pieces[-1] or piece.end - piece.start >= piece_bytes


def test_a_compressed_file_is_not_divided_whatever_its_name() -> None:
    data = gzip.compress(b'{"id": 1}\n' * 1000, compresslevel=0)
    assert divide(io.BytesIO(data), len(data), 100) == []


def _large(path: Path) -> Path:
    """Write a file of 300 MB: a mark of the byte order, blank lines, broken lines."""
    text = "x" * 2**20
    with path.open("wb") as file:
        file.write(b"\xef\xbb\xbf")
        for number in range(290):
            line = json.dumps({"id": f"{number}", "text": text}).encode()
            file.write(line[:-1] if number % 50 == 7 else line)
            file.write(b"\n\n" if number % 3 == 0 else b"\n")
    return path


@pytest.mark.slow
def test_a_large_file_is_read_in_pieces_with_the_rows_of_one(tmp_path: Path) -> None:
    path = _large(tmp_path / "a.jsonl")
    corpus = open_corpus(job(path), list_files(str(path)))
    assert len(corpus.fragments) > 1
    assert sum(fragment.size_bytes for fragment in corpus.fragments) == path.stat().st_size
    assert all(fragment.size_bytes >= PIECE_BYTES for fragment in corpus.fragments[:-1])

    def rows(fragments: list[Fragment]) -> list[dict[str, object]]:
        tables = [
            table.drop_columns(["text"])
            for fragment in fragments
            for table in read_rows(corpus.spec, corpus.layout, fragment)
        ]
        found: list[dict[str, object]] = pa.concat_tables(tables).to_pylist()
        return found

    whole = rows([replace(corpus.fragments[0], piece=None)])
    assert rows(list(corpus.fragments)) == whole
    assert [row["row"] for row in whole] == [n + (n + 2) // 3 for n in range(290)]
    assert sum(row["broken"] is not None for row in whole) == 6


@pytest.mark.parametrize("start", [b"\xff\xfe", b"\xef\xbb\xbf"])
def test_a_mark_of_the_byte_order_within_a_file_makes_a_broken_line(
    tmp_path: Path, start: bytes
) -> None:
    first, second = b'{"id": "a", "text": "t"}\n', b'{"id": "b", "text": "t"}\n'
    path = tmp_path / "a.jsonl"
    path.write_bytes(first + start + second)
    corpus = open_corpus(job(path), list_files(str(path)))
    size = path.stat().st_size
    piece = Piece(len(first), size, 1)
    fragment = replace(corpus.fragments[0], first_row=1, piece=piece)
    (table,) = read_rows(corpus.spec, corpus.layout, fragment)
    assert table.column("doc_id").to_pylist() == [f"{path}:2"]
    assert read(path).num_rows == 2
