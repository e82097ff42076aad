from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeEngine, tasks_of

from pipelines.corpus.ids import digest_ids, hash_ids
from pipelines.engine.config import EngineConfig
from pipelines.engine.keeper import EngineSupervisor
from pipelines.errors import Fenced
from pipelines.job.task_specs import ClassifyTask, SummarizeTask
from pipelines.ledger.lease import take_lease
from pipelines.ledger.ledger import Ledger
from pipelines.models.resolve import Model
from pipelines.run.unit_runner import UnitRunner
from pipelines.run.worker_config import WorkerConfig
from pipelines.storage import Storage
from pipelines.text.tokens import ChatTokenizer

TASKS = (SummarizeTask(name="summary"), ClassifyTask(name="topic", labels=("a", "b")))
TEXTS = [b"one text", None, b"another text", b"\xff\xfe", b"  "]


@pytest.fixture
def config(tmp_path: Path, tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> WorkerConfig:
    (tmp_path / "_run/index").mkdir(parents=True)
    rows = pa.table(
        {
            "source": pa.array(["in.parquet"] * 5),
            "row": pa.array(range(5), pa.int64()),
            "doc_id": pa.array([f"d{number}" for number in range(5)]),
            "text": pa.array(TEXTS, pa.large_binary()),
            "kept.title": pa.array([f"title {number}" for number in range(5)]),
        }
    )
    pq.write_table(rows, tmp_path / "_run/index/text", row_group_size=5)
    engine = EngineConfig(tiny_model, 4096, gpu=False)
    tasks = tasks_of(TASKS, tiny_model, tiny_tokenizer)
    storage = Storage(str(tmp_path))
    lease = take_lease(storage)
    return WorkerConfig("test", "short", storage, lease, engine, tasks, "key", {"made": "here"})


async def _run(config: WorkerConfig, engine: FakeEngine) -> tuple[bool, UnitRunner]:
    runner = UnitRunner(config, EngineSupervisor(lambda: engine), None)
    return await runner.run(7, "_run/index/text", 0, "plan"), runner


async def test_a_unit_becomes_a_part_dead_letters_and_a_commit(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    committed, _ = await _run(config, FakeEngine(tiny_tokenizer))
    part = pq.read_table(config.storage.path("answers/part-000007.parquet"))
    letters = pq.read_table(config.storage.path("dead_letters/part-000007.parquet"))
    (record,) = Ledger(config.storage).commits([7])
    assert committed
    assert part.column_names == ["key", "title", "summary", "topic"]
    assert part.column("key").to_pylist() == ["d0", "d2"]
    assert part.column("title").to_pylist() == ["title 0", "title 2"]
    assert letters.column("reason").to_pylist() == ["empty", "not_text", "empty"]
    assert letters.column("row").to_pylist() == [1, 3, 4]
    assert (record.rows, record.answered, record.dead_letters) == (5, 2, 3)
    assert record.reasons == {"empty": 2, "not_text": 1}
    ids = pa.chunked_array([["d4", "d3", "d2", "d1", "d0"]])
    assert (record.plan, record.ids) == ("plan", digest_ids(hash_ids(ids)))


async def test_a_part_has_the_configured_metadata(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    await _run(config, FakeEngine(tiny_tokenizer))
    metadata = pq.read_schema(config.storage.path("answers/part-000007.parquet")).metadata
    assert metadata[b"made"] == b"here"


async def test_a_second_commit_of_a_unit_is_rejected_and_leaves_no_file(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    await _run(config, FakeEngine(tiny_tokenizer))
    before = config.storage.read("answers/part-000007.parquet")
    staged = config.storage.names("_run/staging")
    committed, _ = await _run(config, FakeEngine(tiny_tokenizer, answers=lambda *_: ("a", None)))
    assert not committed
    assert config.storage.read("answers/part-000007.parquet") == before
    assert config.storage.names("_run/staging") == staged


async def test_a_fenced_worker_stages_and_commits_nothing(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    take_lease(config.storage)
    with pytest.raises(Fenced, match="took over as generation 2"):
        await _run(config, FakeEngine(tiny_tokenizer))
    assert Ledger(config.storage).committed() == set()
    assert config.storage.names("_run/staging") == config.storage.names("") == []


async def test_progress_counts_documents_and_reasons(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    _, runner = await _run(config, FakeEngine(tiny_tokenizer))
    progress = runner.progress
    assert (progress.answered, progress.dead_letters) == (2, 3)
    assert progress.reasons == {"empty": 2, "not_text": 1}


async def test_a_commit_record_is_plain_json(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    await _run(config, FakeEngine(tiny_tokenizer))
    record = json.loads(config.storage.read("_run/commits/000007.json"))
    assert record["part"]["rows"] == 2
    assert record["unit"] == 7


def test_units_run_without_ray() -> None:
    program = "import sys, pipelines.run.unit_runner; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr
