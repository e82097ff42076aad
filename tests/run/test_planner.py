"""Tests of a corpus that is so small that the planner indexes it in this process, without Ray."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from pipelines.corpus.files import list_files
from pipelines.corpus.index import IndexConfig, cut_spans
from pipelines.corpus.rows import open_corpus
from pipelines.job.spec import InputSpec
from pipelines.models.cost import CPU, CostModel
from pipelines.models.resolve import Model
from pipelines.run.planner import duplicate_ids, index_spans
from pipelines.storage import Storage
from pipelines.text.chunking import ChunkSize
from pipelines.text.lengths import PromptShape, ReadingPlan
from pipelines.text.tokens import ChatTokenizer

SHAPE = PromptShape(10, (5,), (20,))
READING = ReadingPlan("single", 1000, ChunkSize(64), SHAPE, SHAPE, 1000, 200, 200, 200)


def test_a_small_corpus_is_indexed_and_its_ids_compared_without_ray(
    tmp_path: Path, tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    path = tmp_path / "corpus.parquet"
    rows = {"id": ["a", "b", "a", "c"], "text": ["one", "two", "three", "four"]}
    pq.write_table(pa.table(rows), path, row_group_size=2)
    corpus = open_corpus(InputSpec(path=str(path), id_column="id"), list_files(str(path)))
    cost = CostModel(tiny_model, CPU, READING)
    storage = Storage(str(tmp_path / "out"))
    config = IndexConfig(
        corpus.spec, corpus.layout, tiny_tokenizer, READING, cost, 0.5, storage, "index"
    )
    (index,) = index_spans(cut_spans(corpus.fragments, cpus=2), config)
    duplicates = duplicate_ids(storage, ["index/rows-00000"], index.rows)
    assert (index.rows, sum(unit.rows for unit in index.units)) == (4, 4)
    assert len(duplicates) == 1 and duplicates[0].startswith("'a': ")
    assert not ray.is_initialized()
