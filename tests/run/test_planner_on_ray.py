"""Tests of the planner on Ray: an error in a task there is raised here with its own message."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here import in_process_run

from jobs.control import Stopped, stop_on_signals
from pipelines.corpus.files import SourceFile
from pipelines.documents import MAX_TEXT_BYTES
from pipelines.errors import InputError, UnreadableFile
from pipelines.job.spec import InputSpec
from pipelines.run import indexing
from pipelines.run.cluster import join_cluster, leave_cluster
from pipelines.run.indexing import SMALL_CORPUS_BYTES, unreadable_files

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("tiny_model")]


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    join_cluster()
    yield
    leave_cluster()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Write a file of two row groups, large enough to be read on Ray; return its directory."""
    (tmp_path / "corpus").mkdir()
    dice = random.Random(0)  # noqa: S311
    texts = [dice.randbytes(8_000).hex() for _ in range(600)]
    rows = pa.table({"doc": range(600), "text": texts})
    pq.write_table(rows, tmp_path / "corpus/a.parquet", row_group_size=300)
    # the size after compression
    assert (tmp_path / "corpus/a.parquet").stat().st_size > SMALL_CORPUS_BYTES
    return tmp_path / "corpus"


def test_a_damaged_file_is_an_error_with_its_name(corpus: Path, tmp_path: Path) -> None:
    path = corpus / "a.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:10] + bytes(200) + data[210:])
    with pytest.raises(UnreadableFile) as error:
        in_process_run(tmp_path, corpus, tmp_path / "out")()
    assert error.value.message.startswith(f"{path}: cannot be read")
    assert error.value.message.endswith("or skip it with --skip-bad-files")
    assert error.value.exit_code == 2


def test_a_file_with_other_columns_is_an_error_even_if_bad_files_are_skipped(
    corpus: Path, tmp_path: Path
) -> None:
    path = corpus / "b.parquet"
    pq.write_table(pa.table({"doc": [600], "body": ["t"]}), path)
    with pytest.raises(InputError) as error:
        in_process_run(tmp_path, corpus, tmp_path / "out", skip_bad_files=True)()
    assert error.value.message.startswith(f"{path}: no column 'text'")
    assert error.value.exit_code == 2


@pytest.mark.slow
def test_a_text_over_the_byte_limit_is_a_dead_letter(corpus: Path, tmp_path: Path) -> None:
    size = MAX_TEXT_BYTES + 1
    rows = pa.table({"doc": [0, 1], "text": ["A text.", "a" * size]})
    pq.write_table(rows, corpus / "a.parquet")
    assert in_process_run(tmp_path, corpus, tmp_path / "out")()["answered"] == 1
    (dead_letter,) = pq.read_table(tmp_path / "out/dead_letters").to_pylist()
    assert (dead_letter["doc_id"], dead_letter["row"], dead_letter["reason"]) == (1, 1, "too_large")
    assert dead_letter["message"].startswith(
        f"the text has {size} bytes, at most {size - 1} are allowed: split "
    )


def test_a_signal_is_handled_while_ray_reads_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object) -> None:
        time.sleep(60)

    monkeypatch.setattr(indexing, "unreadable_reason", slow)
    spec = InputSpec(path="corpus")
    large = SourceFile("corpus/a.parquet", SMALL_CORPUS_BYTES + 1, "")
    threading.Timer(2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Stopped, match="SIGTERM"), stop_on_signals():
        unreadable_files(spec, [large])
