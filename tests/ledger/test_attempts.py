"""Attempts on storage, and what a worker makes of them: with engines that die of a document."""

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
from pipelines.job.spec import AskTask, SummarizeTask
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

UNIT_FILE = "_run/index/text.parquet"
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
    """Starts engines that die of some texts and hang at others."""

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
    """Keeps what a worker's metrics would be told."""

    def __init__(self) -> None:
        self.reasons: list[str | None] = []

    def document(self, outcome: DocumentResult, seconds: float | None = None) -> None:
        self.reasons.append(outcome.problem.reason if outcome.problem else None)

    def unit(self, seconds: float) -> None:
        """Of no interest here."""


def letters(storage: Storage, unit: int) -> dict[str, tuple[str, str, int]]:
    """Reason, message and attempts of a unit's dead letters by document."""
    with storage.open(f"_errors/part-{unit:06d}.parquet") as file:
        rows = pq.read_table(file).to_pylist()
    return {row["doc_id"]: (row["reason"], row["message"], row["attempts"]) for row in rows}


def answered(storage: Storage, unit: int) -> list[str]:
    with storage.open(f"part-{unit:06d}.parquet") as file:
        return list(pq.read_table(file).column("key").to_pylist())


def test_an_attempt_tells_of_those_before_it(storage: Storage) -> None:
    attempts = Attempts(storage, 3)
    first = attempts.begin(7)
    attempts.begin(8)
    second = attempts.begin(7)
    assert (first.number, first.isolated) == (1, False)
    assert (second.number, second.before, second.own_before) == (2, [first.record], 1)
    later = Attempts(storage, 4).begin(7)
    assert (later.number, later.own_before, later.isolated) == (3, 0, True)


def test_the_document_in_hand_is_known_to_those_after(storage: Storage) -> None:
    attempts = Attempts(storage, 1)
    for place in (5, 2, 5):
        attempt = attempts.begin(7)
        attempts.record_document(attempt, 0, "d0")
        attempts.record_document(attempt, place, f"d{place}")
    assert attempts.begin(7).deaths_by_position == {5: 2, 2: 1}


def test_a_committed_unit_leaves_no_record_and_an_abandoned_one_those_of_others(
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


def test_a_driver_that_stops_takes_its_own_records_away(storage: Storage) -> None:
    others = Attempts(storage, 1).begin(7).record
    own = Attempts(storage, 2)
    own.record_document(own.begin(7), 3, "d3")
    own.begin(8)
    own.end_all()
    assert storage.names(ATTEMPTS) == [others]


async def test_a_document_that_kills_engines_is_left_out_and_its_neighbours_are_answered(
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
    died = "the engine died while it read this document alone"
    hung = "the engine made no step in 9 s while it read this document alone"
    assert letters(config.storage, 7) == {
        "d1": ("engine_crash", died, 3),
        "d3": ("timeout", hung, 3),
        "d5": ("engine_crash", died, 3),
    }
    # two together, then one for each of them alone
    assert len(engines.started) == 1 + 2 + 3
    assert keeper.restarts == 5
    assert (runner.progress.answered, runner.progress.dead_letters) == (3, 3)
    assert runner.progress.reasons == {"engine_crash": 2, "timeout": 1}
    assert config.storage.names(ATTEMPTS) == []


async def test_units_beside_one_that_kills_the_engine_are_answered(
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


async def test_careful_reading_has_the_engine_alone_a_document_at_a_time(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    unit_of(config.storage, ["apple", "pear", "plum"], "careful.parquet")
    unit_of(config.storage, ["stone", "sand"] * 5)
    for _ in range(2):
        Attempts(config.storage, 1).begin(7)
    engine = FakeEngine(tiny_tokenizer)
    runner = UnitRunner(config, EngineSupervisor(lambda: engine), None)
    files = {6: UNIT_FILE, 7: "careful.parquet", 8: UNIT_FILE}
    await asyncio.gather(*(runner.run(number, file, 0, "plan") for number, file in files.items()))
    asked = re.findall("apple|pear|plum|stone|sand", " ".join(engine.prompts))
    first = asked.index("apple")
    assert asked[first : first + 6] == ["apple", "apple", "pear", "pear", "plum", "plum"]
    ends = [event for event in engine.events if not event.startswith("first")]
    of_careful = [e for e in ends if first < int(e.split()[1]) <= first + 6]
    place = ends.index(of_careful[0])
    assert ends[place : place + 12] == of_careful


async def test_a_document_that_two_workers_died_of_is_left_out_unread(
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
    message = "2 workers died while they read this document alone"
    assert letters(config.storage, 7) == {"d1": ("engine_crash", message, 5)}
    assert not any("two" in prompt for prompt in engines.started[0].prompts)


async def test_a_document_in_hand_once_may_be_innocent_and_is_read_first(
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
    # two deaths were of them all together
    last = MOST_DEATHS_IN_A_ROW - 3
    assert e.value.message.endswith(f"died: in.parquet row {last}, id 'd{last}'")
    assert len(engines.started) == MOST_DEATHS_IN_A_ROW
    assert Ledger(config.storage).committed() == set()


async def test_no_document_is_blamed_where_no_engine_answers_anything(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    unit_of(config.storage, ["one"])
    engines = Engines(tiny_tokenizer, dies_of="Question")
    runner = UnitRunner(config, EngineSupervisor(engines), None)
    with pytest.raises(EngineError, match=f"{MOST_DEATHS_IN_A_ROW} engines"):
        for number in range(MOST_DEATHS_IN_A_ROW):
            await runner.run(number, UNIT_FILE, 0, "plan")
    assert Ledger(config.storage).committed() == set()


async def test_a_careful_unit_is_never_given_an_engine_that_died_beside_it(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    unit_of(config.storage, ["a killer"])
    unit_of(config.storage, ["apple"], "careful.parquet")
    for _ in range(2):
        Attempts(config.storage, 1).begin(8)
    engines = Engines(tiny_tokenizer, dies_of="killer")

    def start() -> FakeEngine:
        time.sleep(0.1)
        return engines()

    runner = UnitRunner(config, EngineSupervisor(start), None)
    await asyncio.gather(
        runner.run(7, UNIT_FILE, 0, "plan"), runner.run(8, "careful.parquet", 0, "plan")
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


async def test_attempts_that_die_with_their_workers_are_bounded(
    config: WorkerConfig, tiny_tokenizer: ChatTokenizer
) -> None:
    unit_of(config.storage, ["one"])
    runner = UnitRunner(config, EngineSupervisor(Engines(tiny_tokenizer)), None)
    for _ in range(MAX_ATTEMPTS):
        Attempts(config.storage, 1).begin(7)
    with pytest.raises(EngineError, match=f"unit 7: {MAX_ATTEMPTS} attempts of this run died"):
        await runner.run(7, UNIT_FILE, 0, "plan")
    # those of a run before are no reason not to try
    resumed = UnitRunner(
        WorkerConfig(**{**vars(config), "lease": take_lease(config.storage)}),
        EngineSupervisor(Engines(tiny_tokenizer)),
        None,
    )
    assert await resumed.run(7, UNIT_FILE, 0, "plan")


async def test_an_attempt_that_ends_without_fault_of_a_document_leaves_no_record(
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


async def test_an_engine_is_replaced_once_however_many_saw_it_die(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    engines = Engines(tiny_tokenizer)
    keeper = EngineSupervisor(engines)
    dead = keeper.engine
    await asyncio.gather(*(keeper.replace(dead, EngineDied("x")) for _ in range(5)))
    assert len(engines.started) == 2
    assert engines.started[0].dead
    assert keeper.restarts == 1


async def test_a_commit_that_is_refused_for_a_while_is_tried_again(
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
