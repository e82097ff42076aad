"""Tests with generated corpora of all shapes. Whole runs with quick engines read them, and DuckDB,
which shares no code with phifleet, reads the output for the checks."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from chaos.program import MARK, ChaosWorker
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from pipelines.job.spec import load_job
from pipelines.ledger.verify import verify
from pipelines.run import batch
from pipelines.run.cluster import Cluster, join_cluster, leave_cluster
from pipelines.run.prepared import prepare_job
from pipelines.storage import Storage

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_model")]

ANSWERED, EMPTY, NOT_TEXT = "answered", "empty", "not_text"
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)
CONTROL = st.sampled_from(["<|end|>", "</s>", "<|assistant|>", "\x00", "\ufeff", "\r\n\r\n"])
IDS = (
    pa.string(),
    pa.large_string(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.int64(),
    pa.uint16(),
)
TEXTS = (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))
NESTED = pa.struct(
    [("tags", pa.list_(pa.string())), ("scores", pa.map_(pa.string(), pa.float64()))]
)
BLANKS = (None, b"", b" \n\t", "\u2003\u3000".encode())
BROKEN = (b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80")


@dataclass(frozen=True)
class Table:
    """One file: its path, its rows, and the expected result of each."""

    path: str
    ids: list[int]
    texts: list[bytes | None]
    fates: list[str]
    row_group_size: int
    compression: str


@dataclass(frozen=True)
class Corpus:
    """The files of a corpus, and the types of their columns. `lines`: JSON lines, not Parquet."""

    tables: list[Table]
    id_type: pa.DataType
    text_type: pa.DataType
    lines: bool
    kept: list[Any]

    @property
    def fates(self) -> dict[str, str]:
        """The expected result of each document: answered, or the reason of its dead letter."""
        pairs = [zip(table.ids, table.fates, strict=True) for table in self.tables]
        return {self.id_of(number): fate for file in pairs for number, fate in file}

    def id_of(self, number: int) -> str:
        return str(number) if pa.types.is_integer(self.id_type) else f"paper {number} ü"

    def write(self, directory: Path) -> None:
        for table in self.tables:
            path = directory / (table.path + (".jsonl" if self.lines else ".parquet"))
            path.parent.mkdir(parents=True, exist_ok=True)
            if self.lines:
                path.write_text("".join(map(self._line, table.ids, table.texts)))
            else:
                self._write_parquet(table, path)

    def _line(self, number: int, text: bytes | None) -> str:
        whole = pa.types.is_integer(self.id_type)
        row = {"id": number if whole else self.id_of(number), "kept": number % 3 or None}
        if text is not None:
            row["text"] = text.decode()
        return json.dumps(row) + "\n"

    def _write_parquet(self, table: Table, path: Path) -> None:
        whole = pa.types.is_integer(self.id_type)
        ids = [number if whole else self.id_of(number) for number in table.ids]
        texts = pa.array(table.texts, pa.binary()).view(pa.string())
        columns = {
            "kept": pa.array([self.kept[number % len(self.kept)] for number in table.ids], NESTED),
            "text": texts.dictionary_encode()
            if pa.types.is_dictionary(self.text_type)
            else texts.cast(self.text_type),
            "id": pa.array(ids, pa.string()).dictionary_encode()
            if pa.types.is_dictionary(self.id_type)
            else pa.array(ids, self.id_type),
        }
        pq.write_table(
            pa.table(columns), path,
            row_group_size=table.row_group_size, compression=table.compression,
        )  # fmt: skip


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    lines = draw(st.booleans())
    fates = (ANSWERED, ANSWERED, EMPTY) if lines else (ANSWERED, ANSWERED, EMPTY, NOT_TEXT)
    numbers = iter(draw(st.permutations(range(60))))
    partitioned = draw(st.booleans())
    tables = []
    for file in range(draw(st.integers(1, 4))):
        row_fates = draw(st.lists(st.sampled_from(fates), max_size=12, min_size=file == 0))
        ids = [next(numbers) for _ in row_fates]
        tables.append(
            Table(
                path=f"day={file % 2}/{file} ä" if partitioned else f"{file}",
                ids=ids,
                texts=[
                    draw(text_of(fate, number)) for fate, number in zip(row_fates, ids, strict=True)
                ],
                fates=row_fates,
                row_group_size=draw(st.integers(1, 12)),
                compression=draw(st.sampled_from(["none", "snappy", "zstd", "gzip"])),
            )
        )
    kept = draw(st.lists(nested(), min_size=1, max_size=5))
    return Corpus(tables, draw(st.sampled_from(IDS)), draw(st.sampled_from(TEXTS)), lines, kept)


@st.composite
def text_of(draw: st.DrawFn, fate: str, number: int) -> bytes | None:
    if fate == EMPTY:
        return draw(st.sampled_from(BLANKS))
    text = f"{draw(WORDS)}{draw(CONTROL)}{MARK.format(number)}{draw(WORDS)}".encode()
    return text if fate == ANSWERED else text + draw(st.sampled_from(BROKEN))


def nested() -> st.SearchStrategy[Any]:
    tags = st.none() | st.lists(st.none() | WORDS, max_size=3)
    scores = st.none() | st.lists(st.tuples(WORDS, st.floats(0, 1)), max_size=2)
    return st.none() | st.fixed_dictionaries({"tags": tags, "scores": scores})


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CHAOS_ENGINE", "quick")
        environment.setenv("CHAOS_REQUEST_LOG", str(tmp_path_factory.mktemp("diary")))
        # the workers import the quick engine
        environment.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        environment.setattr(batch, "Worker", ChaosWorker)
        yield join_cluster()
        leave_cluster()


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(corpus=corpora())
def test_every_document_of_any_corpus_is_in_the_output_once(
    cluster: Cluster, corpus: Corpus
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        corpus.write(directory / "corpus")
        job = {
            "name": "generated",
            "input": {
                "path": str(directory / "corpus"),
                "id_column": "id",
                "keep_columns": ["kept"],
            },
            "output": {"path": str(directory / "out")},
            "model": {"name": "tiny-random"},
            "tasks": [{"name": "summary", "kind": "summarize", "max_words": 4}],
            "limits": {"max_dead_letter_fraction": 1.0},
        }
        (directory / "job.yaml").write_text(yaml.safe_dump(job))
        run = batch.BatchRun(prepare_job(load_job(directory / "job.yaml", [])), 1.0)
        manifest = run.execute(cluster, run.claim(cluster))
        verdict = verify(Storage(str(directory / "out")))
        assert verdict.complete, verdict
        results = count_results(directory / "out")
        note(f"{corpus}")
        assert results == Counter(corpus.fates.items())
        assert manifest["documents"] == len(corpus.fates)


def count_results(output: Path) -> Counter[tuple[str, str]]:
    """Return how often each document is in the output with each result."""
    results: Counter[tuple[str, str]] = Counter()
    for names, columns in (
        ("answers/*.parquet", "id::VARCHAR, 'answered'"),
        ("dead_letters/*.parquet", "doc_id::VARCHAR, reason"),
    ):
        if list(output.glob(names)):
            rows = duckdb.read_parquet(f"{output}/{names}").project(columns).fetchall()
            results.update(rows)
    return results
