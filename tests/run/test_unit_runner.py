from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeEngine, tasks_of

from pipelines.checks.preparing import mark_checked, prepare_checks
from pipelines.corpus.ids import digest_ids, hash_ids
from pipelines.documents import Usage
from pipelines.engine.config import EngineConfig
from pipelines.engine.keeper import EngineSupervisor
from pipelines.errors import Fenced
from pipelines.job.check_specs import BlocklistCheck, PiiCheck
from pipelines.job.task_specs import ClassifyTask, SummarizeTask
from pipelines.ledger.lease import take_lease
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import Commit
from pipelines.ledger.used import ENGINE_DIED, FENCED, IDLE, LOST_RACE, WATCHDOG
from pipelines.models.resolve import Model
from pipelines.run.unit_runner import UnitRunner
from pipelines.run.worker_account import WorkerAccount
from pipelines.run.worker_config import WorkerConfig
from pipelines.storage import Storage
from pipelines.tasks.kinds import Sampling
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


async def _run(config: WorkerConfig, engine: FakeEngine) -> tuple[Commit | None, UnitRunner]:
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


async def test_checks_are_applied_and_counted_in_the_commit_and_the_progress(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    checks = prepare_checks(
        (
            PiiCheck(action="null", tasks=("summary",)),
            BlocklistCheck(action="dead_letter", phrases=("b",)),
        )
    )
    config = replace(config, tasks=mark_checked(config.tasks, checks), checks=checks)

    def answers(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
        if sampling.choices:
            return ("b" if "another text" in prompt else "a"), None
        return "ask bob@example.com", None

    _, runner = await _run(config, FakeEngine(tiny_tokenizer, answers=answers))
    part = pq.read_table(config.storage.path("answers/part-000007.parquet")).to_pylist()
    letters = pq.read_table(config.storage.path("dead_letters/part-000007.parquet")).to_pylist()
    (record,) = Ledger(config.storage).commits([7])
    assert [row["summary"]["text"] for row in part] == [None, None]
    assert [row["topic"]["label"] for row in part] == ["a", None]
    assert [row["topic"]["_answer"]["status"] for row in part] == ["answered", "check_failed"]
    assert part[0]["summary"]["_answer"]["checks"] == [
        {"check": "pii", "rule": "email", "path": "", "within": "value", "action": "null"}
    ]
    assert record.reasons == {"check_failed": 1, "empty": 2, "not_text": 1}
    assert record.checks == {"blocklist": 1, "pii": 2}
    assert (record.answered, record.dead_letters) == (2, 3)
    assert [row["message"] for row in letters if row["task"] == "topic"] == [
        "check 'blocklist': found phrases[0] in a value; to keep such answers, give the check the "
        "action flag"
    ]
    found = {("pii", "null"): 2, ("blocklist", "dead_letter"): 1}
    assert runner.progress.units[record.unit].checks == found
    assert "bob@example.com" not in str(part) + str(letters)


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


async def test_a_commit_states_what_the_worker_has_used_and_all_tokens_are_accounted_for(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    engine = FakeEngine(tiny_tokenizer)
    committed, runner = await _run(config, engine)
    assert committed is not None
    assert committed.tokens == engine.used == runner.account.tokens
    assert committed.used.worker == runner.account.holder.worker
    assert 0 < committed.used.answering_seconds <= runner.account.seconds
    assert set(committed.used.waste) <= {IDLE}


@pytest.mark.parametrize(("way", "reason"), [("dies_of", ENGINE_DIED), ("hangs_at", WATCHDOG)])
async def test_the_time_and_the_tokens_lost_with_an_engine_are_waste_of_the_commit(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer, way: str, reason: str
) -> None:
    # one document at a time, so that the first is answered when the engine dies of the second
    dying = FakeEngine(tiny_tokenizer, kv_cache_tokens=1000, min_request_tokens=1000)
    setattr(dying, way, "another text")
    engines = [dying, FakeEngine(tiny_tokenizer)]
    queue = iter(engines)
    account = WorkerAccount()
    supervisor = EngineSupervisor(lambda: next(queue), account)
    runner = UnitRunner(config, supervisor, None, account)
    committed = await runner.run(7, "_run/index/text", 0, "plan")
    assert committed is not None
    waste = committed.used.waste[reason]
    assert waste.tokens == dying.used != Usage()
    assert waste.seconds > 0
    assert (committed.used.starts, committed.used.restarts) == (2, 1)
    assert committed.tokens == engines[1].used
    assert committed.tokens + committed.used.wasted.tokens == account.tokens


async def test_in_isolation_the_tokens_of_dead_letters_and_of_test_prompts_are_waste(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    engines: list[FakeEngine] = []

    def start() -> FakeEngine:
        engines.append(FakeEngine(tiny_tokenizer, dies_of="another text"))
        return engines[-1]

    account = WorkerAccount()
    runner = UnitRunner(config, EngineSupervisor(start, account), None, account)
    committed = await runner.run(7, "_run/index/text", 0, "plan")
    assert committed is not None and committed.reasons["engine_crash"] == 1
    everything = sum((engine.used for engine in engines), Usage())
    assert committed.tokens + committed.used.wasted.tokens == everything
    assert account.tokens == everything
    assert committed.used.waste[ENGINE_DIED].tokens.prompt_tokens > 0


async def test_a_unit_that_lost_the_race_is_waste_of_the_next_commit(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    await _run(config, FakeEngine(tiny_tokenizer))
    engine = FakeEngine(tiny_tokenizer)
    lost, runner = await _run(config, engine)
    assert lost is None
    assert runner.account.clock.total().waste[LOST_RACE].tokens == engine.used
    assert runner.account.progress.units == {}


async def test_a_fenced_unit_is_waste(config: WorkerConfig, tiny_tokenizer: ChatTokenizer) -> None:
    take_lease(config.storage)
    engine = FakeEngine(tiny_tokenizer)
    runner = UnitRunner(config, EngineSupervisor(lambda: engine), None)
    with pytest.raises(Fenced):
        await runner.run(7, "_run/index/text", 0, "plan")
    assert runner.account.clock.total().waste[FENCED].tokens == engine.used


def test_units_run_without_ray() -> None:
    program = "import sys, pipelines.run.unit_runner; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr
