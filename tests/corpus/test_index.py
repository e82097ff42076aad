"""The index: every row is in one unit of its pool, every unit a row group of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus.files import list_files
from pipelines.corpus.fragments import Fragment
from pipelines.corpus.ids import digest_ids, hash_ids
from pipelines.corpus.index import IndexConfig, SpanIndex, cut_spans, index_span
from pipelines.corpus.rows import open_corpus
from pipelines.job.spec import InputSpec
from pipelines.models.cost import CostModel
from pipelines.models.devices import CPU
from pipelines.models.resolve import Model
from pipelines.storage import Storage
from pipelines.text.chunking import ChunkSize
from pipelines.text.lengths import PromptShape, ReadingPlan
from pipelines.text.tokens import ChatTokenizer

SHAPE = PromptShape(10, (5,), (20,))
READING = ReadingPlan("single", 1000, ChunkSize(64), SHAPE, SHAPE, 1000, 200, 200, 200)


@pytest.fixture
def config(tmp_path: Path, tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> IndexConfig:
    spec = InputSpec(path=str(tmp_path / "corpus.parquet"), id_column="id", keep_columns=("text",))
    cost = CostModel(tiny_model, CPU, READING)
    layout = open_corpus(spec, list_files(str(_write(tmp_path, ["a"])))).layout
    storage = Storage(str(tmp_path / "out"))
    return IndexConfig(spec, layout, tiny_tokenizer, READING, cost, 0.5, storage, "index")


def _write(directory: Path, texts: list[str | None], row_group_size: int | None = None) -> Path:
    ids = [f"d{number}" for number in range(len(texts))]
    table = pa.table({"id": ids, "text": pa.array(texts, pa.string())})
    pq.write_table(table, directory / "corpus.parquet", row_group_size=row_group_size)
    return directory / "corpus.parquet"


def _index(config: IndexConfig, number: int = 0) -> SpanIndex:
    corpus = open_corpus(config.input, list_files(config.input.path))
    return index_span(number, corpus.fragments, replace(config, layout=corpus.layout))


def _rows(config: IndexConfig, number: int = 0) -> pa.Table:
    return pq.read_table(config.storage.path(f"index/rows-{number:05d}"))


def _unit_ids(config: IndexConfig, index: SpanIndex) -> list[list[str]]:
    file = pq.ParquetFile(config.storage.path("index/text-00000"))
    assert file.num_row_groups == len(index.units)
    return [
        file.read_row_group(unit.row_group).column("doc_id").to_pylist() for unit in index.units
    ]


def test_every_row_is_in_one_unit_and_in_the_rows_file(config: IndexConfig, tmp_path: Path) -> None:
    _write(tmp_path, [f"Text {number}. " * (number % 90) for number in range(1500)], 400)
    index = _index(config)
    ids = [doc_id for unit in _unit_ids(config, index) for doc_id in unit]
    assert sorted(ids) == sorted(f"d{number}" for number in range(1500))
    rows = _rows(config)
    assert rows.column("row").to_pylist() == list(range(1500))
    assert (index.rows, index.tokens) == (1500, sum(rows.column("tokens").to_pylist()))
    assert [unit.rows for unit in index.units] == [len(unit) for unit in _unit_ids(config, index)]


def test_the_rows_of_many_files_are_indexed_in_order(config: IndexConfig, tmp_path: Path) -> None:
    sizes = [3, 0, 600, 1, 511, 1, 2, 5]
    directory = tmp_path / "files"
    directory.mkdir()
    for number, rows in enumerate(sizes):
        text = "A long text. " * (200_000 if number == 3 else 1)
        ids = pa.array([f"{number}-{row}" for row in range(rows)], pa.string())
        table = pa.table({"id": ids, "text": pa.array([text] * rows, pa.string())})
        pq.write_table(table, directory / f"{number}.parquet")
    spec = config.input.model_copy(update={"path": str(directory)})
    _index(replace(config, input=spec))
    expected = [f"{number}-{row}" for number, rows in enumerate(sizes) for row in range(rows)]
    assert _rows(config).column("doc_id").to_pylist() == expected


def test_a_unit_has_the_digest_of_its_ids_in_any_order(config: IndexConfig, tmp_path: Path) -> None:
    _write(tmp_path, [f"Text {number}. " * (number % 90) for number in range(500)])
    index = _index(config)
    assert len({unit.ids for unit in index.units}) == len(index.units) > 1
    for unit, ids in zip(index.units, _unit_ids(config, index), strict=True):
        assert unit.ids == digest_ids(hash_ids(pa.chunked_array([ids[::-1]])))
        assert unit.ids != digest_ids(hash_ids(pa.chunked_array([[*ids[1:], ids[1]]])))


def test_tokens_are_exact(
    config: IndexConfig, tmp_path: Path, tiny_tokenizer: ChatTokenizer
) -> None:
    texts = ["a", "Some words.", "<|end|></s>", "é" * 50, "x" * 700_000, "y" * 700_000]
    _write(tmp_path, [*texts])
    _index(config)
    counted = _rows(config).column("tokens").to_pylist()
    assert counted == [len(tiny_tokenizer.encode(text)) for text in texts]


def test_units_cost_about_the_requested_time(config: IndexConfig, tmp_path: Path) -> None:
    _write(tmp_path, [f"Text {number}. " * 20 for number in range(2000)])
    seconds = [unit.seconds for unit in _index(config).units]
    assert len(seconds) > 3
    assert all(0.5 <= cost < 0.6 for cost in seconds[:-1])


def test_a_unit_has_documents_of_one_pool_and_states_its_longest_prompt(
    config: IndexConfig, tmp_path: Path, tiny_tokenizer: ChatTokenizer
) -> None:
    short, long, over = "few words", "many words " * 100, "too many words " * 500
    _write(tmp_path, [short, long, over] * 5)
    index = _index(config)
    lengths = {text: len(tiny_tokenizer.encode(text)) for text in (short, long, over)}
    by_pool = {unit.pool: unit for unit in index.units}
    assert by_pool["short"].rows == 10 and by_pool["long"].rows == 5
    assert by_pool["short"].longest == lengths[short] + 35
    assert by_pool["long"].longest == lengths[long] + 35
    assert index.problems == {"too_long": 5}


def test_texts_that_cannot_be_read_are_counted_and_cost_nothing(
    config: IndexConfig, tmp_path: Path
) -> None:
    _write(tmp_path, [None, "", "  ", "text"])
    index = _index(config)
    assert index.problems == {"empty": 3}
    assert _rows(config).column("problem").to_pylist() == ["empty", "empty", "empty", None]
    (unit,) = index.units
    assert unit.rows == 4
    assert unit.prompt_tokens == SHAPE.overhead + 5 + _rows(config).column("tokens")[3].as_py()


def test_invalid_ids_are_named_by_file_row_and_value(config: IndexConfig, tmp_path: Path) -> None:
    raw = pa.array([b"a", None, b"", b"caf\xe9", b"b"])
    ids = pa.Array.from_buffers(pa.string(), 5, raw.buffers())
    pq.write_table(pa.table({"id": ids, "text": ["t"] * 5}), tmp_path / "corpus.parquet")
    path = str(tmp_path / "corpus.parquet")
    rows = ("row 1: null", "row 2: empty", r"row 3: b'caf\xe9'")
    assert _index(config).bad_ids == tuple(f"{path} {row}" for row in rows)


def test_kept_columns_count_towards_a_units_bytes(
    config: IndexConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.corpus.units.MAX_UNIT_BYTES", 100_000)
    rows = 40
    pages = pa.table(
        {"id": [*map(str, range(rows))], "text": ["t"] * rows, "page": ["p" * 9000] * rows}
    )
    pq.write_table(pages, tmp_path / "corpus.parquet")
    kept = InputSpec(path=config.input.path, id_column="id", keep_columns=("page",))
    assert [unit.rows for unit in _index(replace(config, input=kept)).units] == [11, 11, 11, 7]


def test_spans_keep_the_order_and_leave_work_for_every_cpu() -> None:
    fragments = [Fragment("f", number, number, 10 * 2**20) for number in range(64)]
    spans = cut_spans(fragments, cpus=4)
    assert [fragment for span in spans for fragment in span] == fragments
    assert 12 <= len(spans) <= 32
    assert len(cut_spans([Fragment("f", 0, 0, 2**31)], 4)) == 1
    assert cut_spans([], 4) == []
