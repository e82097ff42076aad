"""Units answered one document at a time, with engines that die of some texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from fakes import FakeEngine, Rule, an_answer, tasks_of

from pipelines.documents import Document, DocumentResult
from pipelines.engine.keeper import MOST_DEATHS_IN_A_ROW, EngineSupervisor
from pipelines.errors import EngineError
from pipelines.job.task_specs import SummarizeTask
from pipelines.ledger.attempts import ATTEMPTS, Attempt, Attempts
from pipelines.models.resolve import Model
from pipelines.run.answerer import DocumentAnswerer
from pipelines.run.isolation import IsolatedReader
from pipelines.run.worker_account import WorkerAccount
from pipelines.storage import Storage
from pipelines.tasks.kinds import Sampling, TaskSet
from pipelines.text.tokens import ChatTokenizer


class Isolation:
    """An isolated reader over engines that are all made alike; `engines` are those started."""

    def __init__(self, directory: Path, tasks: TaskSet) -> None:
        self.storage = Storage(str(directory))
        self.tasks = tasks
        self.engine_options: dict[str, str] = {}
        self.rule: Rule = an_answer
        self.engines: list[FakeEngine] = []

    def start(self) -> FakeEngine:
        options = self.engine_options
        self.engines.append(
            FakeEngine(
                self.tasks.tokenizer,
                dies_of=options.get("dies_of"),
                hangs_at=options.get("hangs_at"),
                answers=self.rule,
            )
        )
        return self.engines[-1]

    @property
    def prompts(self) -> list[str]:
        return [prompt for engine in self.engines for prompt in engine.prompts]

    async def read(
        self, *texts: str, deaths: Mapping[int, int] | None = None
    ) -> list[DocumentResult]:
        supervisor = EngineSupervisor(self.start)
        answerer = DocumentAnswerer(self.tasks, supervisor, None)
        attempts = Attempts(self.storage, 1)
        reader = IsolatedReader(answerer, supervisor, attempts, self.tasks)
        documents = [
            Document(f"d{number}", text, source="in.parquet", row=number)
            for number, text in enumerate(texts)
        ]
        attempt = Attempt(7, "record", ("first", "second"), 0, deaths or {})
        account = WorkerAccount()
        account.begin(7)
        meter = account.attempt(7, len(documents), attempt.number)
        return list((await reader.answer(attempt, documents, meter)).documents)


@pytest.fixture
def isolation(tmp_path: Path, tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> Isolation:
    return Isolation(tmp_path, tasks_of((SummarizeTask(name="s"),), tiny_model, tiny_tokenizer))


def problems(results: list[DocumentResult]) -> list[str | None]:
    return [result.problem.reason if result.problem else None for result in results]


async def test_one_document_at_a_time_is_sent_to_the_engine(isolation: Isolation) -> None:
    results = await isolation.read("one", "two", "three")
    assert problems(results) == [None] * 3
    (engine,) = isolation.engines
    assert [event.split()[0] for event in engine.events if "first" not in event] == [
        "start",
        "end",
    ] * 3


async def test_suspects_are_read_first_and_results_keep_the_units_order(
    isolation: Isolation,
) -> None:
    results = await isolation.read("one", "two", "three", deaths={2: 1})
    assert "three" in isolation.prompts[0]
    assert [result.document.doc_id for result in results] == ["d0", "d1", "d2"]


async def test_a_document_is_recorded_before_it_is_sent(isolation: Isolation) -> None:
    recorded: list[str] = []

    def note_record(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
        record = json.loads(isolation.storage.read(f"{ATTEMPTS}/record.document"))
        recorded.append(record["doc_id"])
        return "an answer", None

    isolation.rule = note_record
    await isolation.read("one", "two", deaths={1: 1})
    assert recorded == ["d1", "d0"]


@pytest.mark.parametrize(
    ("option", "reason"), [("dies_of", "engine_crash"), ("hangs_at", "timeout")]
)
async def test_a_document_that_ends_the_engine_is_a_dead_letter_and_the_next_is_answered(
    isolation: Isolation, option: str, reason: str
) -> None:
    isolation.engine_options = {option: "bad"}
    results = await isolation.read("one", "a bad text", "two")
    assert problems(results) == [None, reason, None]
    assert results[1].problem and "while it read only this document" in results[1].problem.message
    assert results[1].attempts == 3
    assert len(isolation.engines) == 2


async def test_the_next_engine_answers_a_test_prompt_before_a_document_is_blamed(
    isolation: Isolation,
) -> None:
    isolation.engine_options = {"dies_of": "bad"}
    await isolation.read("a bad text", "two")
    assert not any("bad" in prompt for prompt in isolation.engines[1].prompts)
    assert ["two" in prompt for prompt in isolation.engines[1].prompts] == [False, True]


async def test_a_document_at_which_two_attempts_died_is_a_dead_letter_without_a_prompt(
    isolation: Isolation,
) -> None:
    results = await isolation.read("one", "two", deaths={1: 2})
    assert problems(results) == [None, "engine_crash"]
    assert not any("two" in prompt for prompt in isolation.prompts)


async def test_engines_that_die_of_the_test_prompt_end_the_run_and_name_the_document(
    isolation: Isolation,
) -> None:
    # every prompt ends with the question
    isolation.engine_options = {"dies_of": "Question"}
    with pytest.raises(EngineError, match=f"^{MOST_DEATHS_IN_A_ROW} engines in a row") as raised:
        await isolation.read("one", "two")
    assert raised.value.message.endswith("while it read in.parquet row 0, id 'd0'")
    assert len(isolation.engines) == MOST_DEATHS_IN_A_ROW
