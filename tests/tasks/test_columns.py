"""Tests of the columns and rows of parts and of `dead_letters/`."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.documents import (
    Answer,
    AnswerValue,
    DeadLetter,
    Document,
    DocumentResult,
    Evidence,
    EvidenceStatus,
    Fields,
    Label,
    LabelSet,
    Problem,
    Reply,
    Summary,
    Usage,
)
from pipelines.tasks.columns import AnswerColumn, dead_letters_table, part_table
from pipelines.tasks.schema import from_shorthand

TASKS = (
    AnswerColumn("summary", "summarize"),
    AnswerColumn("topic", "classify"),
    AnswerColumn("who", "ask"),
    AnswerColumn("facts", "extract", from_shorthand({"n": "integer", "on": ["date"]})),
)
NESTED = pa.struct([("tags", pa.list_(pa.string())), ("size", pa.int32())])
VALUES: tuple[AnswerValue, ...] = (
    Summary("short"),
    Label("a", 0.5),
    Reply(
        "Ann",
        (
            Evidence("", EvidenceStatus.SHOWN, "Ann signed", 3, 13, page=2),
            Evidence("", EvidenceStatus.ABSENT, quote="Bob"),
        ),
    ),
    Fields({"n": 3, "on": ["1999-12-31"]}, (Evidence("n", EvidenceStatus.FOUND, "three", 0, 5),)),
)


def unit_rows(count: int) -> pa.Table:
    return pa.table(
        {
            "source": pa.array(["f.parquet"] * count, pa.string()),
            "row": pa.array(range(count), pa.int64()),
            "doc_id": pa.array([f"d{row}" for row in range(count)], pa.string()),
            "text": pa.array([b"text"] * count, pa.large_binary()),
            "kept.meta": pa.array(
                [{"tags": ["x", None], "size": row} for row in range(count)], NESTED
            ),
            "kept.source": pa.array(["wire"] * count, pa.string()),
        }
    )


def result(row: int, *failed: str) -> DocumentResult:
    """Return a document's result in which these tasks failed."""
    answers = [
        Answer(task.name, None, Problem("rejected", "no"))
        if task.name in failed
        else Answer(task.name, value, None, "single", 1, Usage(9, 4, 2), "stop")
        for task, value in zip(TASKS, VALUES, strict=True)
    ]
    return DocumentResult(Document(f"d{row}", "text", None, "f.parquet", row), tuple(answers))


def dead(row: int) -> DocumentResult:
    """Return the result of a document that could not be read."""
    return DocumentResult(
        Document(f"d{row}", None, row=row), problem=Problem("empty", "the text is null")
    )


ALL = tuple(column.name for column in TASKS)


def test_a_part_has_the_documented_columns_in_order() -> None:
    part = part_table(unit_rows(1), [result(0)], TASKS, "key")
    assert part.column_names == ["key", "meta", "source", "summary", "topic", "who", "facts"]
    common = {
        "status": pa.string(),
        "strategy": pa.string(),
        "chunks": pa.int32(),
        "prompt_tokens": pa.int64(),
        "output_tokens": pa.int64(),
        "finish_reason": pa.string(),
    }
    evidence = pa.struct(
        {
            "path": pa.string(),
            "status": pa.string(),
            "text": pa.string(),
            "start": pa.int64(),
            "end": pa.int64(),
            "page": pa.int32(),
            "quote": pa.string(),
        }
    )
    beside = {"_evidence": pa.list_(evidence), "_answer": pa.struct(common)}
    assert part.schema.types == [
        pa.string(),
        NESTED,
        pa.string(),
        pa.struct({"text": pa.string(), **beside}),
        pa.struct({"label": pa.string(), "confidence": pa.float64(), **beside}),
        pa.struct({"text": pa.string(), **beside}),
        pa.struct(
            {
                "n": pa.int64(),
                "on": pa.list_(pa.date32()),
                **beside,
            }
        ),
    ]


def test_a_part_has_every_value_and_only_answered_documents() -> None:
    results = [result(0), dead(1), result(2, *ALL), result(3)]
    rows = part_table(unit_rows(4), results, TASKS, "id").to_pylist()
    assert [row["id"] for row in rows] == ["d0", "d3"]
    last = rows[1]
    assert last["meta"] == {"tags": ["x", None], "size": 3}
    assert last["source"] == "wire"
    assert last["summary"] == {
        "text": "short",
        "_evidence": [],
        "_answer": {
            "status": "answered",
            "strategy": "single",
            "chunks": 1,
            "prompt_tokens": 9,
            "output_tokens": 2,
            "finish_reason": "stop",
        },
    }
    assert (last["topic"]["label"], last["topic"]["confidence"]) == ("a", 0.5)
    missing = {"path": "", "text": None, "start": None, "end": None, "page": None, "quote": None}
    assert last["who"]["_evidence"] == [
        {**missing, "status": "shown", "text": "Ann signed", "start": 3, "end": 13, "page": 2},
        {**missing, "status": "absent", "quote": "Bob"},
    ]
    assert (last["facts"]["n"], last["facts"]["on"]) == (3, [date(1999, 12, 31)])
    assert last["facts"]["_evidence"] == [
        {**missing, "path": "n", "status": "found", "text": "three", "start": 0, "end": 5}
    ]


def test_several_labels_are_a_list_with_the_confidence_of_each() -> None:
    column = AnswerColumn("topics", "classify", multiple=True)
    values = (LabelSet((Label("a", 0.5), Label("b"))), LabelSet(()), None)
    cells = pa.array([column.value_cell(value) for value in values], column.type).to_pylist()
    assert [cell["labels"] for cell in cells] == [["a", "b"], [], None]
    assert [cell["confidence"] for cell in cells] == [[0.5, None], [], None]
    assert [cell["_evidence"] for cell in cells] == [[], [], None]


def test_a_failed_task_of_an_answered_document_is_null_with_its_status() -> None:
    (row,) = part_table(unit_rows(1), [result(0, "who")], TASKS, "id").to_pylist()
    assert (row["who"]["text"], row["who"]["_evidence"]) == (None, None)
    assert row["who"]["_answer"]["status"] == "rejected"
    assert row["summary"]["_answer"]["status"] == "answered"


def test_parts_of_differing_content_have_one_schema() -> None:
    full = part_table(unit_rows(2), [result(0), result(1, "topic")], TASKS, "id")
    none_answered = part_table(unit_rows(1), [dead(0)], TASKS, "id")
    none_there = part_table(unit_rows(0), [], TASKS, "id")
    assert pa.concat_tables([full, none_answered, none_there], promote_options="none").num_rows == 2
    assert full.schema.types[3:] == [column.type for column in TASKS]


def test_dead_letters_name_the_document_or_its_failed_tasks() -> None:
    assert [letter.task for letter in dead(0).dead_letters()] == [None]
    assert [letter.task for letter in result(0, "who", "topic").dead_letters()] == ["topic", "who"]
    assert result(0).dead_letters() == []


@pytest.mark.parametrize(("doc_id", "id_type"), [("a", pa.string()), (7, pa.int64())])
def test_the_errors_table_has_a_row_for_each_dead_letter(
    doc_id: str | int, id_type: pa.DataType
) -> None:
    letter = DeadLetter(doc_id, "f", 3, None, Problem("empty", "the text is null"), 2)
    table = dead_letters_table([letter], id_type)
    assert table.to_pylist() == [
        {
            "doc_id": doc_id,
            "source": "f",
            "row": 3,
            "task": None,
            "reason": "empty",
            "message": "the text is null",
            "attempts": 2,
        }
    ]
    assert dead_letters_table([], id_type).schema == table.schema


EXTRACTED = AnswerColumn(
    "facts",
    "extract",
    from_shorthand(
        {
            "company": "string",
            "revenue": "number",
            "staff": "integer",
            "listed": "boolean",
            "on": "date",
            "risks": ["string"],
            "auditor": {"name": "string"},
        }
    ),
)
EMPTY: dict[str, Any] = {
    "company": None, "revenue": None, "staff": None, "listed": None, "on": None, "risks": [],
    "auditor": None,
}  # fmt: skip
STATED: dict[str, Any] = {
    "company": "Acme", "revenue": 12, "staff": 3, "listed": False, "on": "2020-02-29",
    "risks": ["fire"], "auditor": {"name": "Ann"},
}  # fmt: skip


@pytest.fixture
def extracted(tmp_path: Path) -> Path:
    """Write two parts of one output: the first without any field's value, the second with all."""
    for number, values in enumerate((EMPTY, STATED)):
        answer = Answer("facts", Fields(values, ()), None, "single", 1, Usage(), "stop")
        results = [DocumentResult(Document(f"d{number}", "text"), (answer,))]
        part = part_table(unit_rows(1), results, [EXTRACTED], "id")
        pq.write_table(part, tmp_path / f"part-{number:06d}.parquet")
    return tmp_path


def test_extracted_fields_have_their_types_in_pyarrow_and_parts_need_no_cast(
    extracted: Path,
) -> None:
    parts = [pq.read_table(path) for path in sorted(extracted.glob("*.parquet"))]
    whole = pa.concat_tables(parts, promote_options="none")
    types = {field.name: field.type for field in whole.schema.field("facts").type}
    assert [types[name] for name in STATED] == [
        pa.string(), pa.float64(), pa.int64(), pa.bool_(), pa.date32(), pa.list_(pa.string()),
        pa.struct({"name": pa.string()}),
    ]  # fmt: skip
    empty, full = whole.column("facts").to_pylist()
    assert {name: empty[name] for name in STATED} == EMPTY
    assert {name: full[name] for name in STATED} == {**STATED, "on": date(2020, 2, 29)}


def test_extracted_fields_are_read_by_pandas(extracted: Path) -> None:
    import pandas as pd

    frame = pd.read_parquet(extracted)
    facts = frame.loc[1, "facts"]
    assert isinstance(facts, dict)
    assert (facts["staff"], facts["on"], list(facts["risks"])) == (3, date(2020, 2, 29), ["fire"])


def test_extracted_fields_have_their_types_in_duckdb(extracted: Path) -> None:
    import duckdb

    query = (
        "SELECT typeof(facts.revenue), typeof(facts.staff), typeof(facts.on), "
        "typeof(facts.risks), facts.auditor.name, facts.on + 1 "
        "FROM read_parquet(?) ORDER BY facts.staff NULLS FIRST"
    )
    rows = duckdb.connect().execute(query, [f"{extracted}/*.parquet"]).fetchall()
    types = ("DOUBLE", "BIGINT", "DATE", "VARCHAR[]")
    assert rows == [(*types, None, None), (*types, "Ann", date(2020, 3, 1))]
