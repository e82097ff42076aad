"""Whole runs over input of less usual types: what is in OUTPUT. Engines are fakes."""

from __future__ import annotations

import json
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scripted
from fakes import FakeEngine
from here import InProcessRun, in_process_run

from pipelines.errors import InputError
from pipelines.ledger.verify import verify
from pipelines.storage import Storage
from pipelines.text.tokens import ChatTokenizer

pytestmark = pytest.mark.usefixtures("tiny_model")
IDS = [uuid.UUID(int=number << 90) for number in range(3)]
LABEL = {"names": ["neg", "pos"], "_type": "ClassLabel"}
QUESTION = [{"name": "who", "kind": "ask", "question": "What is the company?"}]


def run_over(corpus: Path, tokenizer: ChatTokenizer, **options: Any) -> InProcessRun:
    engine = partial(FakeEngine, tokenizer, answers=scripted.read)
    return in_process_run(corpus.parent, corpus, corpus.parent / "out", make_engine=engine,
                          **options)  # fmt: skip


def parts(corpus: Path) -> list[Path]:
    return sorted((corpus.parent / "out").rglob("part-*.parquet"))


def write(path: Path, ids: pa.Array, texts: Any, **columns: Any) -> Path:
    features = json.dumps({"info": {"features": {"label": LABEL}}})
    table = pa.table({"doc": ids, "text": texts, **columns})
    pq.write_table(table.replace_schema_metadata({"huggingface": features}), path)
    return path


def test_uuids_join_answers_of_pages_to_the_input(
    tmp_path: Path, tiny_tokenizer: ChatTokenizer
) -> None:
    pages = [["A first page.", None, "The company is Acme."], ["The company is Beta."], None]
    ids = pa.array([each.bytes for each in IDS], pa.uuid())
    corpus = write(tmp_path / "in.parquet", ids, pages, label=[0, 1, 0], size=pa.array([1, 2, 3],
                   pa.uint64()))  # fmt: skip
    keep = {"keep_columns": ["label", "size"]}
    manifest = run_over(corpus, tiny_tokenizer, input=keep, tasks=QUESTION)()
    assert (manifest["answered"], manifest["dead_letters"]) == (2, 1)
    assert manifest["id_type"] == "UUID, written as text"
    assert manifest["dead_letter_reasons"] == {"empty": 1}
    assert verify(Storage(str(tmp_path / "out"))).problems == ()
    answers = [path for path in parts(corpus) if "who" in pq.read_schema(path).names]
    query = (
        "SELECT i.text[-1], o.who.text, o.who._evidence[1].page, o.label, typeof(o.size) "
        "FROM read_parquet(?) i JOIN read_parquet(?) o ON i.doc::VARCHAR = o.doc ORDER BY o.size"
    )
    files = [str(corpus), [str(path) for path in answers]]
    assert duckdb.connect().execute(query, files).fetchall() == [
        ("The company is Acme.", "Acme", 3, 0, "DECIMAL(20,0)"),
        ("The company is Beta.", "Beta", 1, 1, "DECIMAL(20,0)"),
    ]
    stored = pq.read_schema(answers[0]).metadata
    assert json.loads(stored[b"huggingface"]) == {"info": {"features": {"label": LABEL}}}


def test_a_value_that_cannot_be_kept_is_refused_before_an_engine_starts(
    tmp_path: Path, tiny_tokenizer: ChatTokenizer
) -> None:
    at = pa.array([None, 1], pa.timestamp("ns"))
    corpus = write(tmp_path / "in.parquet", pa.array(["a", "b"]), ["t", "u"], at=at)
    run = run_over(corpus, tiny_tokenizer, input={"keep_columns": ["at"]})
    with pytest.raises(InputError) as error:
        run()
    assert error.value.message.startswith(f"{corpus}: row 1: column 'at' has the value 1970-01-01 ")
    assert run.engines == []


def test_later_files_are_written_with_the_types_of_the_first(
    tmp_path: Path, tiny_tokenizer: ChatTokenizer
) -> None:
    corpus = tmp_path / "corpus"
    first = corpus / "year=2023"
    first.mkdir(parents=True)
    ids = pa.array([1, 2], pa.uint64())
    write(first / "a.parquet", ids, ["t", "u"], n=pa.array([1, 2]))
    keep = {"keep_columns": ["n", "year"]}
    run_over(corpus, tiny_tokenizer, input=keep)()
    second = corpus / "year=2024"
    second.mkdir()
    write(second / "b.parquet", pa.array([3], pa.int32()), ["v"], n=pa.array([3], pa.int8()))
    manifest = run_over(corpus, tiny_tokenizer, input=keep)()
    assert (manifest["answered"], manifest["id_type"]) == (3, "integer, written as decimal digits")
    tables = [pq.read_table(path) for path in parts(corpus) if "n" in pq.read_schema(path).names]
    rows = pa.concat_tables([table.select(["doc", "n", "year"]) for table in tables])
    expected = [("1", 1, 2023), ("2", 2, 2023), ("3", 3, 2024)]
    assert sorted(tuple(row.values()) for row in rows.to_pylist()) == expected
    (corpus / "year=x").mkdir()
    write(corpus / "year=x" / "c.parquet", ids.slice(0, 0), pa.array([], pa.string()), n=pa.array(
        [], pa.int64()))  # fmt: skip
    with pytest.raises(InputError, match="the partition 'year' has the value 'x' in the path"):
        run_over(corpus, tiny_tokenizer, input=keep)()
