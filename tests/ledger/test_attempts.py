"""Records of attempts, and what a worker concludes from them when a document crashes engines."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeEngine, tasks_of

from pipelines.documents import DocumentResult
from pipelines.engine.config import EngineConfig
from pipelines.engine.keeper import MOST_DEATHS_IN_A_ROW, EngineSupervisor
from pipelines.errors import EngineDied, EngineError, StorageError
from pipelines.job.task_specs import AskTask, SummarizeTask
from pipelines.ledger.attempts import ATTEMPTS, MAX_ATTEMPTS, Attempts
from pipelines.ledger.lease import take_lease
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import Commit
from pipelines.models.resolve import Model
from pipelines.run.metrics import EngineMetrics
from pipelines.run.unit_runner import UnitRunner
from pipelines.run.worker_config import WorkerConfig
from pipelines.storage import Storage
from pipelines.text.tokens import ChatTokenizer

UNIT_FILE = "_run/index/text"
TASKS = (SummarizeTask(name="summary"), AskTask(name="who", question="Who?"))


@pytest.fixture
def config(storage: Storage, tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> WorkerConfig:
    return WorkerConfig(
        run="test",
        pool="short",
        storage=storage,
        lease=take_lease(storage),
        engine=EngineConfig(tiny_model, 4096, gpu=False),
        tasks=tasks_of(TASKS, tiny_model, tiny_tokenizer),
        id_column="key",
        metadata={},
    )


def unit_of(storage: Storage, texts: list[str], file: str = UNIT_FILE) -> None:
    """Write a file of the index whose only unit has these texts, with ids d0, d1, ..."""
    numbers = range(len(texts))
    rows = pa.table(
        {
            "source": pa.array(["in.parquet"] * len(texts)),
            "row": pa.array(numbers, pa.int64()),
            "doc_id": pa.array([f"d{number}" for number in numbers]),
            "text": pa.array([text.encode() for text in texts], pa.large_binary()),
        }
    )
    with storage.new_file(file) as path:
        pq.write_table(rows, path)


class Engines:
    """Starts engines that crash on prompts that contain `dies_of`, and hang on `hangs_at`."""

    def __init__(
        self, tokens: ChatTokenizer, dies_of: str | None = None, hangs_at: str | None = None
    ):
        self._make: Callable[[], FakeEngine] = lambda: FakeEngine(
            tokens, dies_of=dies_of, hangs_at=hangs_at
        )
        self.started: list[FakeEngine] = []

    def __call__(self) -> FakeEngine:
        self.started.append(self._make())
        return self.started[-1]


class Counted(EngineMetrics):
    """Metrics that collect the reason of each document's dead letter, or None."""

    def __init__(self) -> None:
        self.reasons: list[str | None] = []

    def document(self, outcome: DocumentResult, seconds: float | None = None) -> None:
        self.reasons.append(outcome.problem.reason if outcome.problem else None)

    def unit(self, seconds: float) -> None:
        """Ignore the duration of a unit."""


def letters(storage: Storage, unit: int) -> dict[str, tuple[str, str, int]]:
    """Return reason, message and attempts of a unit's dead letters, by document id."""
    with storage.open(f"dead_letters/part-{unit:06d}.parquet") as file:
        rows = pq.read_table(file).to_pylist()
    return {row["doc_id"]: (row["reason"], row["message"], row["attempts"]) for row in rows}


def answered(storage: Storage, unit: int) -> list[str]:
    """Return the ids of the documents in a unit's published part."""
    with storage.open(f"answers/part-{unit:06d}.parquet") as file:
        return list(pq.read_table(file).column("key").to_pylist())


def test_an_attempt_knows_the_earlier_ones(storage: Storage) -> None:
    attempts = Attempts(storage, 3)
    first = attempts.begin(7)
    attempts.begin(8)
    second = attempts.begin(7)
    assert (first.number, first.isolated) == (1, False)
    assert (second.number, second.before, second.own_before) == (2, [first.record], 1)
    later = Attempts(storage, 4).begin(7)
    assert (later.number, later.own_before, later.isolated) == (3, 0, True)


def test_an_attempt_knows_which_documents_earlier_ones_had_in_flight(storage: Storage) -> None:
    attempts = Attempts(storage, 1)
    for position in (5, 2, 5):
        attempt = attempts.begin(7)
        attempts.record_document(attempt, 0, "d0")
        attempts.record_document(attempt, position, f"d{position}")
    assert attempts.begin(7).deaths_by_position == {5: 2, 2: 1}


def test_a_committed_unit_leaves_no_record_and_a_failed_attempt_only_earlier_ones(
    storage: Storage,
) -> None:
    attempts = Attempts(storage, 1)
    before = [attempts.begin(7).record for _ in range(2)]
    last = attempts.begin(7)
    attempts.record_document(last, 0, "d0")
    attempts.end(last, committed=False)
    assert storage.names(ATTEMPTS) == sorted(before)
    attempts.end(attempts.begin(7), committed=True)
    assert storage.names(ATTEMPTS) == []


def test_a_driver_that_stops_deletes_only_its_own_records(storage: Storage) -> None:
    older = Attempts(storage, 1).begin(7).record
    attempts = Attempts(storage, 2)
    attempts.record_document(attempts.begin(7), 3, "d3")
    attempts.begin(8)
    attempts.end_all()
    assert storage.names(ATTEMPTS) == [older]


async def test_a_document_that_crashes_engines_is_a_dead_letter_and_the_others_are_answered(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    texts = ["one", "a killer", "two", "a staller", "three", "another killer"]
    unit_of(config.storage, texts)
    engines = Engines(tiny_tokenizer, dies_of="killer", hangs_at="staller")
    keeper = EngineSupervisor(engines)
    metrics = Counted()
    runner = UnitRunner(config, keeper, metrics)
    assert await runner.run(7, UNIT_FILE, 0, "plan")
    assert answered(config.storage, 7) == ["d0", "d2", "d4"]
    assert metrics.reasons.count("engine_crash") == 2
    assert metrics.reasons.count("timeout") == 1
    died = "the engine died while it read only this document"
    hung = "the engine made no step in 9 s while it read only this document"
    assert letters(config.storage, 7) == {
        "d1": ("engine_crash", died, 3),
        "d3": ("timeout", hung, 3),
        "d5": ("engine_crash", died, 3),
    }
    # two crashes of the whole unit, then one for each of these documents in isolation
    assert len(engines.started) == 1 + 2 + 3
    assert keeper.restarts == 5
    assert (runner.progress.answered, runner.progress.dead_letters) == (3, 3)
    assert runner.progress.reasons == {"engine_crash": 2, "timeout": 1}
    assert config.storage.names(ATTEMPTS) == []


async def test_units_that_run_concurrently_with_a_crashing_one_are_answered(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    unit_of(config.storage, ["one", "a killer", "two"])
    engines = Engines(tiny_tokenizer, dies_of="killer")
    runner = UnitRunner(config, EngineSupervisor(engines), None)
    assert all(
        await asyncio.gather(*(runner.run(number, UNIT_FILE, 0, "plan") for number in range(3)))
    )
    for number in range(3):
        assert answered(config.storage, number) == ["d0", "d2"]
        assert list(letters(config.storage, number)) == ["d1"]
    assert runner.progress.answered == 6
    assert len(engines.started) <= 1 + 3 * (2 + 1)


async def test_isolation_mode_reads_one_document_at_a_time_with_the_engine_exclusively(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    unit_of(config.storage, ["apple", "pear", "plum"], "isolated.parquet")
    unit_of(config.storage, ["stone", "sand"] * 5)
    for _ in range(2):
        Attempts(config.storage, 1).begin(7)
    engine = FakeEngine(tiny_tokenizer)
    runner = UnitRunner(config, EngineSupervisor(lambda: engine), None)
    files = {6: UNIT_FILE, 7: "isolated.parquet", 8: UNIT_FILE}
    await asyncio.gather(*(runner.run(number, file, 0, "plan") for number, file in files.items()))
    words = re.findall("apple|pear|plum|stone|sand", " ".join(engine.prompts))
    first = words.index("apple")
    assert words[first : first + 6] == ["apple", "apple", "pear", "pear", "plum", "plum"]
    ends = [event for event in engine.events if not event.startswith("first")]
    isolated = [event for event in ends if first < int(event.split()[1]) <= first + 6]
    position = ends.index(isolated[0])
    assert ends[position : position + 12] == isolated


async def test_a_document_in_flight_when_two_workers_died_is_a_dead_letter_unread(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    unit_of(config.storage, ["one", "two", "three"])
    dead = Attempts(config.storage, 1)
    for _ in range(2):
        dead.begin(7)
    for _ in range(2):
        dead.record_document(dead.begin(7), 1, "d1")
    engines = Engines(tiny_tokenizer)
    await UnitRunner(config, EngineSupervisor(engines), None).run(7, UNIT_FILE, 0, "plan")
    assert answered(config.storage, 7) == ["d0", "d2"]
    message = "2 workers died while they read only this document"
    assert letters(config.storage, 7) == {"d1": ("engine_crash", message, 5)}
    assert not any("two" in prompt for prompt in engines.started[0].prompts)


async def test_a_document_in_flight_when_one_worker_died_is_read_first(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    unit_of(config.storage, ["one", "two", "three"])
    dead = Attempts(config.storage, 1)
    dead.begin(7)
    dead.record_document(dead.begin(7), 2, "d2")
    engines = Engines(tiny_tokenizer)
    await UnitRunner(config, EngineSupervisor(engines), None).run(7, UNIT_FILE, 0, "plan")
    assert answered(config.storage, 7) == ["d0", "d1", "d2"]
    assert "three" in engines.started[0].prompts[0]


async def test_engines_that_all_die_end_the_run_with_their_reason(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    unit_of(config.storage, [f"text {number}" for number in range(30)])
    engines = Engines(tiny_tokenizer, dies_of="text")
    with pytest.raises(
        EngineError, match=f"{MOST_DEATHS_IN_A_ROW} engines .* the engine died"
    ) as e:
        await UnitRunner(config, EngineSupervisor(engines), None).run(7, UNIT_FILE, 0, "plan")
    # the first two crashes were of the whole unit, before isolation mode
    last = MOST_DEATHS_IN_A_ROW - 3
    assert e.value.message.endswith(f" in.parquet row {last}, id 'd{last}'")
    assert len(engines.started) == MOST_DEATHS_IN_A_ROW
    assert Ledger(config.storage).committed() == set()


async def test_no_document_is_blamed_if_no_engine_answers_anything(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    unit_of(config.storage, ["one"])
    engines = Engines(tiny_tokenizer, dies_of="Question")
    runner = UnitRunner(config, EngineSupervisor(engines), None)
    with pytest.raises(EngineError, match=f"{MOST_DEATHS_IN_A_ROW} engines"):
        for number in range(MOST_DEATHS_IN_A_ROW):
            await runner.run(number, UNIT_FILE, 0, "plan")
    assert Ledger(config.storage).committed() == set()


async def test_an_isolated_unit_never_gets_an_engine_that_another_unit_crashed(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    unit_of(config.storage, ["a killer"])
    unit_of(config.storage, ["apple"], "isolated.parquet")
    for _ in range(2):
        Attempts(config.storage, 1).begin(8)
    engines = Engines(tiny_tokenizer, dies_of="killer")

    def start() -> FakeEngine:
        time.sleep(0.1)
        return engines()

    runner = UnitRunner(config, EngineSupervisor(start), None)
    await asyncio.gather(
        runner.run(7, UNIT_FILE, 0, "plan"), runner.run(8, "isolated.parquet", 0, "plan")
    )
    assert answered(config.storage, 8) == ["d0"]
    assert list(letters(config.storage, 7)) == ["d0"]


@pytest.mark.parametrize("attempts", [0, 2])
async def test_an_engine_that_died_idle_is_no_documents_fault(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer, attempts: int
) -> None:
    unit_of(config.storage, ["one"])
    for _ in range(attempts):
        Attempts(config.storage, 1).begin(7)
    engines = Engines(tiny_tokenizer)
    runner = UnitRunner(config, EngineSupervisor(engines), None)
    engines.started[0].dead = True
    assert await runner.run(7, UNIT_FILE, 0, "plan")
    assert answered(config.storage, 7) == ["d0"]
    assert len(engines.started) == 2


async def test_attempts_whose_workers_die_are_bounded(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    unit_of(config.storage, ["one"])
    runner = UnitRunner(config, EngineSupervisor(Engines(tiny_tokenizer)), None)
    for _ in range(MAX_ATTEMPTS):
        Attempts(config.storage, 1).begin(7)
    with pytest.raises(
        EngineError, match=f"unit 7: .* died in {MAX_ATTEMPTS} attempts of this run"
    ):
        await runner.run(7, UNIT_FILE, 0, "plan")
    # the attempts of an earlier driver do not count
    resumed = UnitRunner(
        WorkerConfig(**{**vars(config), "lease": take_lease(config.storage)}),
        EngineSupervisor(Engines(tiny_tokenizer)),
        None,
    )
    assert await resumed.run(7, UNIT_FILE, 0, "plan")


async def test_an_attempt_that_a_storage_error_ends_leaves_no_record(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit_of(config.storage, ["one"])

    def refuse(*_: object) -> bool:
        raise StorageError("no room")

    monkeypatch.setattr("pipelines.run.committing._RETRY_SECONDS", ())
    monkeypatch.setattr(Ledger, "commit", refuse)
    with pytest.raises(StorageError):
        await UnitRunner(config, EngineSupervisor(Engines(tiny_tokenizer)), None).run(
            7, UNIT_FILE, 0, "plan"
        )
    assert config.storage.names(ATTEMPTS) == []


async def test_an_engine_that_does_not_start_again_ends_the_run(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    unit_of(config.storage, ["a killer"])
    first = [FakeEngine(tiny_tokenizer, dies_of="killer")]

    def start() -> FakeEngine:
        if not first:
            raise EngineError("the engine did not start: out of memory")
        return first.pop()

    with pytest.raises(EngineError, match="out of memory"):
        await UnitRunner(config, EngineSupervisor(start), None).run(7, UNIT_FILE, 0, "plan")


async def test_an_engine_is_replaced_once_when_several_units_report_its_death(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    engines = Engines(tiny_tokenizer)
    keeper = EngineSupervisor(engines)
    dead = keeper.engine
    await asyncio.gather(*(keeper.replace(dead, EngineDied("x")) for _ in range(5)))
    assert len(engines.started) == 2
    assert engines.started[0].dead
    assert keeper.restarts == 1


async def test_a_commit_that_fails_for_a_while_is_repeated(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit_of(config.storage, ["one"])
    monkeypatch.setattr("pipelines.run.committing._RETRY_SECONDS", (0.0, 0.0, 0.0))
    refusals = [StorageError("no room")] * 3
    commit = Ledger.commit

    def refuse(ledger: Ledger, record: Commit) -> bool:
        if refusals:
            raise refusals.pop()
        return commit(ledger, record)

    monkeypatch.setattr(Ledger, "commit", refuse)
    engines = Engines(tiny_tokenizer)
    assert await UnitRunner(config, EngineSupervisor(engines), None).run(7, UNIT_FILE, 0, "plan")
    assert len(engines.started[0].prompts) == len(TASKS)
    assert answered(config.storage, 7) == ["d0"]
