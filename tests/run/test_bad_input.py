"""Tests of bad input, each with a whole run: errors and their messages, dead letters, and unusual
input that works. Engines are fakes, everything else is real."""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scripted
from fakes import FakeEngine
from here import InProcessRun, in_process_run

from pipelines.errors import InputError
from pipelines.ledger.names import INDEX
from pipelines.ledger.verify import verify
from pipelines.models.phi3 import CONTROL_TOKENS
from pipelines.storage import Storage
from pipelines.text.tokens import ChatTokenizer

pytestmark = pytest.mark.usefixtures("tiny_model")


def strings(values: list[bytes | None]) -> pa.Array:
    """Return a string column with these bytes, valid UTF-8 or not."""
    raw = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(values), raw.buffers(), raw.null_count)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "corpus").mkdir()
    return tmp_path / "corpus"


def write(path: Path, docs: Any, texts: Any = None, **columns: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    texts = [f"Text number {number}." for number in range(len(docs))] if texts is None else texts
    pq.write_table(pa.table({"doc": docs, "text": texts, **columns}), path)
    return path


def run_over(corpus: Path, **options: Any) -> InProcessRun:
    return in_process_run(corpus.parent, corpus, corpus.parent / "out", **options)


def error_of(run: InProcessRun) -> str:
    """Return the message of the InputError with which a run ends before it starts an engine."""
    before = run.storage.entries(INDEX)
    with pytest.raises(InputError) as error:
        run()
    assert run.engines == []
    # no copy of the texts is left
    assert run.storage.entries(INDEX) == before
    return error.value.message


def answered(corpus: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(corpus.parent / "out/answers").to_pylist()
    return rows


def dead_letters(corpus: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(corpus.parent / "out/dead_letters").to_pylist()
    return rows


@pytest.mark.parametrize(
    ("docs", "named"),
    [
        (["a", None, "b"], "row 1: null"),
        (["a", "b", ""], "row 2: empty"),
        (strings([b"a", b"caf\xe9", b"b"]), r"row 1: b'caf\xe9'"),
        (pa.array([None, 7, 8], pa.int64()), "row 0: null"),
    ],
)
def test_an_invalid_id_is_an_error_with_file_row_value_and_remedy(
    corpus: Path, docs: Any, named: str
) -> None:
    path = write(corpus / "a.parquet", docs)
    message = error_of(run_over(corpus))
    assert f"{path} {named}" in message
    assert "input.id_column: 'doc' has values that are null, empty or not UTF-8" in message
    assert "Give every document a unique id, or set input.id_column to another column" in message


def test_a_duplicate_id_is_an_error_with_both_files_and_rows(corpus: Path) -> None:
    first = write(corpus / "a.parquet", ["x", "same"])
    second = write(corpus / "b.parquet", ["y", "z", "same"])
    message = error_of(run_over(corpus))
    assert f"'same': {first} row 1, {second} row 2" in message
    assert "input.id_column: 'doc' has duplicate values" in message
    assert "Give every document a unique id" in message


def test_an_error_lists_the_first_ten_invalid_ids(corpus: Path) -> None:
    write(corpus / "a.parquet", pa.array(["sound", *[None] * 30], pa.string()))
    assert error_of(run_over(corpus)).count(" row ") == 10


def test_a_corpus_runs_into_the_same_output_after_it_is_repaired(corpus: Path) -> None:
    write(corpus / "a.parquet", ["same", "same"])
    error_of(run_over(corpus))
    write(corpus / "a.parquet", ["one", "two"])
    assert run_over(corpus)()["answered"] == 2


UNREADABLE: dict[bytes | None, tuple[str, str]] = {
    None: ("empty", "the text is null: add a text"),
    b"": ("empty", "the text is empty: add a text"),
    " \n\u2003".encode(): ("empty", "the text is only white space: add a text"),
    b"caf\xe9": ("not_text", "byte 3, 0xe9, is not valid UTF-8: store the text as UTF-8"),
}


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_text_that_cannot_be_read_is_a_dead_letter_with_file_row_value_and_remedy(
    corpus: Path, text: bytes | None
) -> None:
    path = write(corpus / "a.parquet", ["sound", "bad"], strings([b"A text.", text]))
    assert run_over(corpus)()["dead_letters"] == 1
    (letter,) = dead_letters(corpus)
    reason, expected = UNREADABLE[text]
    assert (letter["doc_id"], letter["task"], letter["reason"]) == ("bad", None, reason)
    assert (letter["source"], letter["row"]) == (str(path), 1)
    assert letter["message"].startswith(expected)
    assert [row["doc"] for row in answered(corpus)] == ["sound"]


def test_control_strings_in_a_text_stay_text(corpus: Path, tiny_tokenizer: ChatTokenizer) -> None:
    nasty = "".join(["A text", *CONTROL_TOKENS, "</s><unk>."])
    write(corpus / "a.parquet", ["plain", "nasty"], ["A text.", nasty])
    run = run_over(corpus)
    assert run()["answered"] == 2
    plain, with_control_strings = sorted(
        (ids for engine in run.engines for ids in engine.asked),
        key=lambda ids: nasty in tiny_tokenizer.decode(ids),
    )
    assert nasty in tiny_tokenizer.decode(with_control_strings)
    controls = [
        [token for token in ids if token in tiny_tokenizer.control_ids]
        for ids in (plain, with_control_strings)
    ]
    assert controls[0] == controls[1]


@pytest.mark.parametrize(
    ("docs", "texts", "named"),
    [
        ([1.5], ["t"], "column 'doc' is double; ids must be strings, integers,"),
        (["b"], [7], "column 'text' is int64; text must be a column of strings,"),
        ([7], ["t"], "column 'doc' is int64, but string in"),
    ],
)
def test_a_column_of_the_wrong_type_is_an_error_with_file_and_column(
    corpus: Path, docs: Any, texts: Any, named: str
) -> None:
    write(corpus / "a.parquet", ["a"])
    path = write(corpus / "b.parquet", docs, texts)
    assert error_of(run_over(corpus)).startswith(f"{path}: {named}")


def test_a_missing_column_is_an_error_with_file_column_and_key(corpus: Path) -> None:
    path = write(corpus / "a.parquet", ["a"])
    message = error_of(run_over(corpus, input={"keep_columns": ["title"]}))
    assert message.startswith(
        f"{path}: no column 'title', which input.keep_columns names; it has doc"
    )


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def damage(data: bytes) -> bytes:
    """Overwrite a part of the first page with zeros; the footer stays intact."""
    return data[:10] + bytes(20) + data[30:]


@pytest.mark.parametrize("spoil", [cut, damage])
def test_a_damaged_file_is_an_error_with_its_name_and_the_remedy(corpus: Path, spoil: Any) -> None:
    write(corpus / "a.parquet", ["a"])
    path = write(corpus / "b.parquet", ["b", "c"])
    path.write_bytes(spoil(path.read_bytes()))
    message = error_of(run_over(corpus))
    assert message.startswith(f"{path}: cannot be read")
    assert message.endswith(
        "; replace the file with an intact copy, or skip it with --skip-bad-files"
    )


def test_a_corpus_without_a_readable_file_is_an_error(corpus: Path) -> None:
    path = write(corpus / "a.parquet", ["a", "b"])
    path.write_bytes(cut(path.read_bytes()))
    message = error_of(run_over(corpus, skip_bad_files=True))
    assert message.startswith(
        f"input.path: none of the files can be read to its end; the first: {path}: cannot be read"
    )


@pytest.mark.parametrize("spoil", [cut, damage])
def test_a_skipped_file_is_listed_and_is_new_work_after_it_is_repaired(
    corpus: Path, spoil: Any
) -> None:
    write(corpus / "a.parquet", ["a"])
    path = write(corpus / "b.parquet", ["b", "c"])
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    manifest = run_over(corpus, skip_bad_files=True)()
    assert (manifest["documents"], len(manifest["skipped_files"])) == (1, 1)
    assert manifest["skipped_files"][0].startswith(f"{path}: cannot be read")
    verdict = verify(Storage(str(corpus.parent / "out")))
    assert (verdict.complete, verdict.skipped_files) == (True, tuple(manifest["skipped_files"]))
    path.write_bytes(whole)
    assert run_over(corpus)()["documents"] == 3
    assert sorted(row["doc"] for row in answered(corpus)) == ["a", "b", "c"]


SHAPES: dict[str, tuple[Any, Any]] = {
    "integer ids": (pa.array([7, 8], pa.int32()), ["t", "u"]),
    "dictionary ids": (pa.array(["a", "b"]).dictionary_encode(), ["t", "u"]),
    "large_string text": (["a", "b"], pa.array(["t", "u"], pa.large_string())),
    "dictionary text": (["a", "b"], pa.array(["t", "t"]).dictionary_encode()),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_columns_of_other_encodings_work(corpus: Path, shape: str) -> None:
    docs, texts = SHAPES[shape]
    write(corpus / "a.parquet", docs, texts)
    assert run_over(corpus)()["answered"] == 2
    ids = pa.array(docs).to_pylist()
    assert sorted(row["doc"] for row in answered(corpus)) == ids


def test_nested_columns_and_partitions_are_kept_and_empty_files_have_no_rows(corpus: Path) -> None:
    meta = [{"tags": ["x", None], "by": {"name": "Ann"}}, None]
    write(corpus / "year=2024/a.parquet", ["a", "b"], meta=meta)
    table = pq.read_table(corpus / "year=2024/a.parquet", partitioning=None)
    pq.write_table(table.slice(0, 0), corpus / "year=2024/none.parquet")
    assert run_over(corpus, input={"keep_columns": ["meta", "year"]})()["answered"] == 2
    kept = {row["doc"]: (row["meta"], row["year"]) for row in answered(corpus)}
    assert kept == {"a": (meta[0], 2024), "b": (None, 2024)}


def test_a_file_that_changes_during_the_index_is_refused(corpus: Path) -> None:
    path = write(corpus / "a.parquet", ["a", "b"])
    done = threading.Event()

    def touch() -> None:
        while not done.wait(0.001):
            os.utime(path)

    writer = threading.Thread(target=touch)
    writer.start()
    try:
        message = error_of(run_over(corpus))
    finally:
        done.set()
        writer.join()
    assert message.startswith(f"{path}: has changed since it was listed: its time of change is ")
    assert run_over(corpus)()["answered"] == 2


def test_the_manifest_lists_the_files_that_are_not_read(corpus: Path) -> None:
    write(corpus / "a.parquet", ["a"])
    (corpus / "b.csv").write_text("doc,text")
    expected = {"other_ending": {"count": 1, "first": ["b.csv"]}}
    for _ in range(2):
        manifest = run_over(corpus)()
        assert (manifest["files_not_read"], manifest["skipped_files"]) == (expected, [])
    run = in_process_run(corpus.parent, corpus.parent, corpus.parent / "out")
    assert run()["files_not_read"]["output"] == {"count": 1, "first": ["out/"]}


def test_added_files_must_have_the_column_types_of_earlier_files(corpus: Path) -> None:
    job = {"input": {"keep_columns": ["n"]}}
    write(corpus / "a.parquet", [1, 2], n=[1, 2])
    run_over(corpus, **job)()
    later = corpus / "b.parquet"
    for docs, n, differs in (
        ([3], ["one"], "'n' is string, but int64"),
        (["3"], [1], "'doc' is string, but integer"),
    ):
        write(later, docs, n=n)
        assert error_of(run_over(corpus, **job)).startswith(
            f"{later}: column {differs} in the files that this run has read before; "
        )
    write(later, [3], n=pa.array([None], pa.null()))
    run_over(corpus, **job)()
    assert sorted((row["doc"], row["n"]) for row in answered(corpus)) == [
        (1, 1), (2, 2), (3, None)
    ]  # fmt: skip


def test_an_empty_corpus_is_done(corpus: Path) -> None:
    write(corpus / "a.parquet", pa.array([], pa.string()), pa.array([], pa.string()))
    for _ in range(2):
        manifest = run_over(corpus)()
        assert (manifest["status"], manifest["documents"]) == ("done", 0)
        without_rows = {"count": 1, "first": [str(corpus / "a.parquet")]}
        assert manifest["files_without_rows"] == without_rows


@pytest.mark.parametrize(("kind", "reason"), [("dies_of", "engine_crash"), ("hangs_at", "timeout")])
def test_a_text_on_which_engines_die_is_a_dead_letter_and_the_others_are_answered(
    corpus: Path, tiny_tokenizer: ChatTokenizer, kind: str, reason: str
) -> None:
    write(corpus / "a.parquet", ["a", "b", "c"], ["A text.", "This one is poison.", "Another."])
    faults: dict[str, Any] = {kind: "poison"}
    run = run_over(corpus, make_engine=partial(FakeEngine, tiny_tokenizer, **faults))
    assert run()["answered"] == 2
    (letter,) = dead_letters(corpus)
    assert (letter["doc_id"], letter["task"], letter["reason"]) == ("b", None, reason)


def test_an_answer_that_stays_invalid_is_a_dead_letter_for_its_task_only(
    corpus: Path, tiny_tokenizer: ChatTokenizer
) -> None:
    facts = {"name": "facts", "kind": "extract", "fields": {"company": "string"}}
    summary = {"name": "summary", "kind": "summarize", "max_words": 4}
    texts = [f"The company is Acme. {mark} #1#" for mark in ("Sound.", scripted.BROKEN_ALWAYS)]
    write(corpus / "a.parquet", ["sound", "broken"], texts)
    engine = partial(FakeEngine, tiny_tokenizer, answers=scripted.read)
    manifest = run_over(corpus, make_engine=engine, tasks=[facts, summary])()
    assert (manifest["answered"], manifest["dead_letters"]) == (2, 0)
    (letter,) = dead_letters(corpus)
    assert (letter["doc_id"], letter["task"], letter["reason"]) == (
        "broken",
        "facts",
        "invalid_answer",
    )
    rows = {row["doc"]: row for row in answered(corpus)}
    assert rows["sound"]["facts"]["company"] == "Acme"
    assert {row["summary"]["_answer"]["status"] for row in rows.values()} == {"answered"}
