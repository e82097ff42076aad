"""Every part of a run has the same types, also where all values are missing, and the parts become
Delta and Iceberg tables without being rewritten."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scripted
from fakes import FakeEngine
from here import in_process_run
from pyiceberg.catalog.memory import InMemoryCatalog

from pipelines.ledger.delta_types import delta_schema
from pipelines.models.resolve import Model
from pipelines.text.tokens import ChatTokenizer

FACTS = {
    "type": "object",
    "properties": {
        "owner": {"type": "string"},
        "size": {"type": "number"},
        "count": {"type": "integer"},
        "open": {"type": "boolean"},
        "released": {"type": "string", "format": "date"},
        "seen": {"type": "string", "format": "date-time"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "maker": {"type": "object", "properties": {"name": {"type": "string"}}},
        "parts": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
        "prices": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}
TASKS = [
    {"name": "summary", "kind": "summarize", "max_words": 20},
    {"name": "topic", "kind": "classify", "labels": ["red", "green"]},
    {"name": "topics", "kind": "classify", "labels": ["red", "green"], "multiple": True},
    {"name": "owner", "kind": "ask", "question": "What is the owner?"},
    {"name": "facts", "kind": "extract", "schema": FACTS},
    {"name": "note", "kind": "write", "prompt": "Write a line."},
]
FORM = """{"owner": "Zoe", "size": 1.5, "count": 2, "open": true, "released": "2024-02-03",
"seen": "2024-02-03T04:05:06Z", "tags": ["a"], "maker": {"name": "M"}, "parts": [{"name": "p"}],
"prices": {"old": 1.0}, "quotes": {}}"""


@pytest.fixture
def answers(tmp_path: Path, tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> Path:
    """Return OUTPUT/answers of a run with a part for each of three documents, of which one has no
    form and no kept value."""
    texts = ["The owner is Zoe.", f"{scripted.BROKEN_ALWAYS} Nothing.", "The owner is Zoe."]
    columns = {
        "doc": pa.array(["a", "b", "c"]),
        "text": texts,
        "title": pa.array(["t", None, "u"]),
        "n": pa.array([1, None, 3], pa.int64()),
        "words": pa.array([["x"], None, []], pa.list_(pa.string())),
    }
    pq.write_table(pa.table(columns), tmp_path / "corpus.parquet")

    def answer(prompt: str, sampling: object) -> tuple[str, float | None]:
        if getattr(sampling, "labels", None):
            return "[]", None
        if getattr(sampling, "schema", None):
            return ("nothing" if scripted.BROKEN_ALWAYS in prompt else FORM), None
        return scripted.read(prompt, sampling)  # type: ignore[arg-type]

    in_process_run(
        tmp_path,
        tmp_path / "corpus.parquet",
        tmp_path / "out",
        make_engine=lambda: FakeEngine(tiny_tokenizer, answers=answer),
        input={"keep_columns": ["title", "n", "words"]},
        tasks=TASKS,
    )()
    return tmp_path / "out/answers"


def parts(answers: Path) -> list[pa.Table]:
    return [pq.ParquetFile(path).read() for path in sorted(answers.glob("*.parquet"))]


def test_all_parts_have_the_same_types_and_none_is_null(answers: Path) -> None:
    first, *others = (part.schema for part in parts(answers))
    assert all(schema.equals(first) for schema in others) and len(others) == 2
    assert ": null" not in first.to_string() and "struct<>" not in first.to_string()
    (missing,) = (row for part in parts(answers) for row in part.to_pylist() if row["n"] is None)
    assert missing["facts"]["owner"] is missing["title"] is missing["words"] is None
    assert delta_schema(first).names == first.names


def test_the_parts_become_a_delta_table(answers: Path) -> None:
    deltalake.convert_to_deltalake(str(answers))
    table = pa.table(deltalake.DeltaTable(str(answers)).to_pyarrow_table())
    assert by_document(table) == by_document(pa.concat_tables(parts(answers)))


def test_the_parts_become_an_iceberg_table(answers: Path) -> None:
    catalog = InMemoryCatalog("test", warehouse=str(answers.parent / "warehouse"))
    catalog.create_namespace("ns")
    table = catalog.create_table("ns.answers", schema=parts(answers)[0].schema)
    table.add_files([str(path) for path in sorted(answers.glob("*.parquet"))])
    got, right = (
        {doc: without_empty(row) for doc, row in by_document(rows).items()}
        for rows in (table.scan().to_arrow(), pa.concat_tables(parts(answers)))
    )
    assert got == right


def without_empty(value: object) -> object:
    """Return a value in which empty lists are None: pyiceberg reads a missing list of structs as an
    empty one."""
    if not isinstance(value, dict):
        return value or None if isinstance(value, list) else value
    return {name: without_empty(item) for name, item in value.items()}


def by_document(table: pa.Table) -> dict[str, dict[str, object]]:
    """Return the rows of a table by document, maps as mappings."""
    rows = table.to_pylist(maps_as_pydicts="strict")
    return {row["doc"]: row for row in rows}
