"""The rows of chosen documents are found in the corpus and written by unit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus.chosen import (
    ChosenConfig,
    ChosenDocuments,
    gather_units,
    write_chosen,
    write_chosen_rows,
)
from pipelines.corpus.ids import digest_ids, hash_ids
from pipelines.corpus.index import IndexConfig
from pipelines.corpus.rows import open_corpus
from pipelines.corpus.sources import list_input
from pipelines.corpus.units import Unit
from pipelines.job.spec import InputSpec, parse_job
from pipelines.models.cost import CostModel
from pipelines.models.resolve import Model
from pipelines.run.cluster import Cluster
from pipelines.storage import Storage
from pipelines.text.tokens import ChatTokenizer

USUAL = ("one", "two", "three", "four")


def hashes(*docs: str) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return hash_ids(pa.chunked_array([list(docs)]))


def documents(unit: list[str], **asked: tuple[str, ...]) -> ChosenDocuments:
    names = {int(hashes(doc)[0]): tasks for doc, tasks in asked.items()}
    return ChosenDocuments(hashes(*unit), names)


@pytest.fixture
def spec(tmp_path: Path) -> InputSpec:
    """Return the input of a corpus of two files, each with a row group for every two documents."""
    (tmp_path / "in").mkdir()
    for name, docs in (("x", "abcd"), ("y", "efgh")):
        rows = {"doc": list(docs), "text": [f"Text {doc}." * (ord(doc) - 96) for doc in docs]}
        pq.write_table(pa.table(rows), tmp_path / f"in/{name}.parquet", row_group_size=2)
    return parse_job({
        "input": {"path": str(tmp_path / "in"), "id_column": "doc"},
        "output": {"path": "out"}, "tasks": [{"name": "one", "kind": "summarize"}],
    }).input  # fmt: skip


def written(
    directory: Path, spec: InputSpec, chosen: dict[int, ChosenDocuments], model: Model,
    tokenizer: ChatTokenizer,
) -> tuple[Storage, list[Unit]]:  # fmt: skip
    """Write the chosen rows, a span for each row group; return OUTPUT and the units."""
    from fakes import tasks_of

    tasks = tasks_of(parse_job({
        "input": {"path": "in"}, "output": {"path": "out"},
        "tasks": [{"name": name, "kind": "summarize"} for name in USUAL],
    }).tasks, model, tokenizer)  # fmt: skip
    storage = Storage(str(directory / "out"))
    corpus = open_corpus(spec, list_input(spec).files)
    device = Cluster(cpus=1, gpus=0, accelerator=None).device
    index = IndexConfig(
        spec, corpus.layout, tokenizer, tasks.reading, CostModel(model, device, tasks.reading),
        1.0, storage, "_run/index/0001-x",
    )  # fmt: skip
    config = ChosenConfig(index, "_run/index/0001-x/chosen", USUAL, len(USUAL))
    assert write_chosen(storage, config.chosen, chosen) == sum(len(c.ids) for c in chosen.values())
    spans = [write_chosen_rows(at, [f], config) for at, f in enumerate(corpus.fragments)]
    return storage, list(gather_units(storage, index.directory, spans))


def rows_of(storage: Storage, unit: Unit) -> dict[str, list[str]]:
    """Return the tasks to ask about each document of a unit."""
    with storage.open(unit.file) as handle:
        rows = pq.ParquetFile(handle).read_row_group(unit.row_group)
    assert rows["text"].to_pylist()[0].startswith(b"Text ")
    return dict(zip(rows["doc_id"].to_pylist(), rows["asked"].to_pylist(), strict=True))


def test_a_unit_has_its_rows_in_one_row_group_wherever_they_lie(
    tmp_path: Path, spec: InputSpec, tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    chosen = {
        7: documents(["a"], a=("two",)),
        3: documents(["b", "c", "g"], c=("one", "two")),
        5: documents(["h"]),
        6: documents(["e", "d"]),
    }
    storage, units = written(tmp_path, spec, chosen, tiny_model, tiny_tokenizer)
    assert [unit.number for unit in units] == [3, 5, 6, 7]
    rows = {unit.number: rows_of(storage, unit) for unit in units}
    usual = list(USUAL)
    assert rows == {
        3: {"b": usual, "c": ["one", "two"], "g": usual}, 5: {"h": usual},
        6: {"d": usual, "e": usual}, 7: {"a": ["two"]},
    }  # fmt: skip
    for unit in units:
        assert unit.rows == len(rows[unit.number])
        assert unit.ids == digest_ids(hashes(*rows[unit.number]))
        assert unit.pool == "short" and unit.longest > 0 and unit.seconds > 0
    # a quarter of the tasks is asked about the shortest document
    by_number = {unit.number: unit for unit in units}
    assert by_number[7].prompt_tokens * 4 < by_number[5].prompt_tokens
    assert by_number[7].longest < by_number[5].longest


def test_a_span_without_a_chosen_row_writes_no_file(
    tmp_path: Path, spec: InputSpec, tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    storage, units = written(tmp_path, spec, {0: documents(["h"])}, tiny_model, tiny_tokenizer)
    assert storage.names("_run/index/0001-x") == ["chosen", "text-00003"]
    assert [unit.rows for unit in units] == [1]
    _, none = written(tmp_path, spec, {0: documents(["absent"])}, tiny_model, tiny_tokenizer)
    assert none == []
