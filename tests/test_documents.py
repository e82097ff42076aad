"""Tests that rows become documents, and that an unreadable text gets a problem with a reason."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipelines import documents
from pipelines.corpus.texts import decode_text, documents_of
from pipelines.documents import (
    Answer,
    Chunk,
    Document,
    DocumentResult,
    Problem,
    Summary,
)
from pipelines.text.prompts import PromptPrefix


def unit_rows(count: int) -> pa.Table:
    return pa.table(
        {
            "source": pa.array(["f.parquet"] * count, pa.string()),
            "row": pa.array(range(count), pa.int64()),
            "doc_id": pa.array([f"d{row}" for row in range(count)], pa.string()),
            "text": pa.array([b"text"] * count, pa.large_binary()),
        }
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (" \n\t\u2003".encode(), "empty"),
        (b"ok \xff", "not_text"),
        (b"\xed\xa0\x80", "not_text"),
    ],
)
def test_text_that_cannot_be_read_has_a_reason(raw: bytes | None, reason: str) -> None:
    problem = decode_text(raw)
    assert isinstance(problem, Problem)
    assert problem.reason == reason


def test_text_over_the_byte_limit_is_too_large_and_at_it_is_not() -> None:
    largest = bytearray(b"a" * documents.MAX_TEXT_BYTES)
    assert isinstance(decode_text(bytes(largest)), str)
    problem = decode_text(bytes(largest + b"a"))
    assert isinstance(problem, Problem)
    assert (problem.reason, str(documents.MAX_TEXT_BYTES) in problem.message) == ("too_large", True)


def test_text_is_read_as_it_is() -> None:
    assert decode_text(" \ufeffé<|end|>\x00\n".encode()) == " \ufeffé<|end|>\x00\n"


def test_rows_become_documents_in_order() -> None:
    rows = unit_rows(2).set_column(3, "text", pa.array([b"one", b"\xff"], pa.large_binary()))
    good, bad = documents_of(rows)
    assert (good.doc_id, good.text, good.problem, good.row) == ("d0", "one", None, 0)
    assert (bad.text, bad.problem and bad.problem.reason, bad.row) == (None, "not_text", 1)


def test_large_values_are_not_part_of_a_repr() -> None:
    text, ids = "word " * 50_000, tuple(range(50_000))
    result = DocumentResult(Document("a", text), (Answer("s", Summary("short")),))
    for value in (result, Chunk(0, 9, ids), PromptPrefix(list(ids), 7)):
        assert len(repr(value)) < 1_000
