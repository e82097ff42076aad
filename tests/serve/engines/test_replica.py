"""Tests of a replica without Ray: the prompts for its engine, its replies, and its load."""

from __future__ import annotations

import asyncio
import pydoc_data.topics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from endpoints import TASKS, prepared_endpoint
from fakes import FakeEngine

from jobs.show import preview_document
from pipelines.corpus.units import LONG, SHORT
from pipelines.documents import DocumentResult
from pipelines.engine.config import EngineConfig
from pipelines.job.spec import load_job
from pipelines.models.resolve import Model
from pipelines.run.prepared import prepare_job
from serve.engines.chat import CHAT
from serve.engines.offer import PreparedEndpoint
from serve.engines.replica import (
    DOCUMENT,
    FULL,
    FULLNESS,
    OK,
    OVERLOADED,
    REFUSED,
    EngineReplica,
    EventBatch,
    ReplicaRequest,
)
from serve.events import read_events
from serve.spec import parse_serve
from serve.wire import usage_json

SHORT_TEXT, LONG_TEXT = "A short text.", "\n".join(pydoc_data.topics.topics.values())[:300_000]


@dataclass
class RecordedMetrics:
    """Records a replica's metrics."""

    tags: dict[str, str]
    answered: list[bool] = field(default_factory=list)
    outstanding: list[int] = field(default_factory=list)

    def document(self, result: DocumentResult, seconds: float) -> None:
        assert seconds > 0
        self.answered.append(result.answered)

    def in_flight(self, tokens: int) -> None:
        self.outstanding.append(tokens)


class FakeReplica(EngineReplica):
    """A replica whose engine records its prompts."""

    engine: FakeEngine
    metrics: RecordedMetrics

    def create_metrics(self, tags: dict[str, str]) -> Any:
        self.metrics = RecordedMetrics(tags)
        return self.metrics

    def start(self, config: EngineConfig) -> Any:
        self.engine = FakeEngine(self._prepared.tokenizer, max_model_len=config.max_model_len)
        return self.engine, None

    @property
    def prepared(self) -> PreparedEndpoint:
        return self._prepared

    async def _warm_up(self) -> None: ...


async def replica_of(**spec: Any) -> FakeReplica:
    replica = FakeReplica.__new__(FakeReplica)
    parsed = parse_serve({"model": {"name": "tiny-random"}, "tasks": TASKS, **spec})
    await replica.__init__(parsed, SHORT, False)  # type: ignore[misc]  # Ray Serve awaits it, too
    return replica


@pytest.fixture
async def replica(tiny_model: Model) -> FakeReplica:
    assert tiny_model
    return await replica_of()


@pytest.fixture(scope="module")
def prepared(tiny_model: Model) -> Iterator[PreparedEndpoint]:
    assert tiny_model
    yield prepared_endpoint()


def request_of(prepared: PreparedEndpoint, text: str, *names: str) -> ReplicaRequest:
    return ReplicaRequest(
        DOCUMENT, "d", text=text, specs=prepared.specs(names or ["summary", "auditor"])
    )


@pytest.mark.parametrize("text", [SHORT_TEXT, LONG_TEXT], ids=["whole", "300,000 characters"])
async def test_the_engine_gets_the_same_prompts_as_in_a_job(
    replica: FakeReplica, prepared: PreparedEndpoint, tmp_path: Path, text: str
) -> None:
    pq.write_table(pa.table({"id": ["d"], "text": [text]}), tmp_path / "corpus.parquet")
    job = {
        "input": {"path": str(tmp_path / "corpus.parquet")},
        "output": {"path": str(tmp_path / "out")},
        "model": {"name": "tiny-random"},
        "tasks": TASKS,
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    shown = preview_document(prepare_job(load_job(tmp_path / "job.yaml")), "d")
    tag, _ = await replica.answer(request_of(prepared, text))
    assert tag == OK
    # besides prompts about passages there are prompts that combine their results
    prompts = {tuple(ids) for ids in replica.engine.asked}
    job_prompts = {tuple(prompt["token_ids"]) for prompt in shown["prompts"]}
    assert job_prompts <= prompts
    combining = [prompt for prompt in replica.engine.prompts if "These notes" in prompt]
    assert len(prompts - job_prompts) <= len(combining)
    assert bool(combining) == (len(shown["chunks"]) > 1)


INSTRUCTIONS = "All are annual reports."
OWN_WORDS: list[dict[str, Any]] = [
    {
        "name": "auditor",
        "kind": "ask",
        "question": "Who audited it?",
        "instructions": "With the title.",
        "examples": [{"text": "Dr. Ann audited it.", "answer": "Dr. Ann", "quote": "Dr. Ann"}],
    },
    {"name": "topic", "kind": "classify", "labels": {"risk": "may go wrong", "other": None}},
    {"name": "facts", "kind": "extract", "fields": {"company": ["string", "the issuer"]}},
]


async def test_instructions_examples_and_descriptions_make_the_same_prompts_as_in_a_job(
    tiny_model: Model, tmp_path: Path
) -> None:
    assert tiny_model
    replica = await replica_of(instructions=INSTRUCTIONS, tasks=OWN_WORDS)
    pq.write_table(pa.table({"id": ["d"], "text": [SHORT_TEXT]}), tmp_path / "corpus.parquet")
    job = {
        "input": {"path": str(tmp_path / "corpus.parquet")},
        "output": {"path": str(tmp_path / "out")},
        "model": {"name": "tiny-random"},
        "instructions": INSTRUCTIONS,
        "tasks": OWN_WORDS,
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    shown = preview_document(prepare_job(load_job(tmp_path / "job.yaml")), "d")
    for prompt in shown["prompts"]:
        start, end = prompt["document_span"]
        tokenizer = replica.prepared.tokenizer
        assert tokenizer.decode(prompt["token_ids"][start:end]).strip() == SHORT_TEXT
        assert f"{INSTRUCTIONS}\n\nRead the document." in prompt["text"]
    words = ("With the title.", "Answer: Dr. Ann", "- risk: may go wrong", "(the issuer)")
    assert all(any(word in prompt["text"] for prompt in shown["prompts"]) for word in words)
    references: list[list[Any]] = [
        ["auditor", "topic", "facts"],
        [{**task, "name": f"own_{task['name']}"} for task in OWN_WORDS],
    ]
    for tasks in references:
        replica.engine.asked.clear()
        specs = replica.prepared.specs(tasks)
        tag, _ = await replica.answer(ReplicaRequest(DOCUMENT, "d", text=SHORT_TEXT, specs=specs))
        assert tag == OK
        # the fake engine's answer is no form, so that the last task is asked again
        asked = {tuple(ids) for ids in replica.engine.asked}
        assert {tuple(prompt["token_ids"]) for prompt in shown["prompts"]} <= asked


def test_instructions_and_examples_of_a_request_count_to_its_prompt_tokens(
    prepared: PreparedEndpoint,
) -> None:
    plain = {"name": "who", "kind": "ask", "question": "Who?"}
    example = {"answer": "Ann", "text": "Ann came. " * 100}
    counts = [
        ReplicaRequest(DOCUMENT, "d", text="a" * 400, specs=prepared.specs([task])).prompt_tokens
        for task in (plain, {**plain, "examples": [example]}, {**plain, "instructions": "b" * 400})
    ]
    assert counts[0] == 100
    assert 350 < counts[1] < 370
    assert 200 < counts[2] < 210


async def test_without_a_long_pool_a_longer_document_is_read_in_chunks(
    replica: FakeReplica, prepared: PreparedEndpoint
) -> None:
    text = LONG_TEXT[:30_000]
    _, body = await replica.answer(request_of(prepared, text))
    assert {answer["_answer"]["status"] for answer in body["answers"].values()} == {"answered"}
    assert {answer["_answer"]["strategy"] for answer in body["answers"].values()} == {"map_reduce"}
    both = prepared_endpoint(pools={"long": {}})
    tasks = both.tasks(both.specs(["summary"]))
    assert both.pool_of_document(text, tasks) == LONG
    assert (
        both.pool_of_document(SHORT_TEXT, tasks) == both.pool_of_document(LONG_TEXT, tasks) == SHORT
    )


async def test_an_answer_has_the_columns_of_a_part(
    replica: FakeReplica, prepared: PreparedEndpoint
) -> None:
    _, body = await replica.answer(request_of(prepared, SHORT_TEXT))
    assert body["id"] == "d"
    summary, auditor = body["answers"]["summary"], body["answers"]["auditor"]
    assert summary["text"] == "an answer"
    assert auditor["_evidence"][0]["status"] == "absent"
    assert summary["_answer"]["status"] == auditor["_answer"]["status"] == "answered"
    assert body["usage"]["output_tokens"] == 6


async def test_a_failed_task_has_the_reason_and_the_others_are_answered(
    replica: FakeReplica, prepared: PreparedEndpoint
) -> None:
    replica.engine.rejects = "Who audited"
    _, body = await replica.answer(request_of(prepared, SHORT_TEXT))
    assert body["answers"]["summary"]["_answer"]["status"] == "answered"
    assert body["answers"]["auditor"]["_answer"]["status"] == "rejected"
    assert "refused because" in body["answers"]["auditor"]["_answer"]["message"]


async def test_a_document_that_is_not_read_at_all_is_rejected_with_the_reason(
    tiny_model: Model,
) -> None:
    assert tiny_model
    replica = await replica_of(long_documents={"strategy": "reject", "single_pass_tokens": 16})
    request = request_of(replica.prepared, LONG_TEXT)
    tag, (status, error) = await replica.answer(request)
    assert (tag, status, error["error"]["code"]) == (REFUSED, 422, "too_long")
    replies = [reply async for reply in replica.stream(request)]
    assert replies[-1] == (REFUSED, (422, error))


async def test_a_stream_reports_progress_and_ends_with_the_complete_answer(
    replica: FakeReplica, prepared: PreparedEndpoint
) -> None:
    request = request_of(prepared, LONG_TEXT)
    replies = [reply async for reply in replica.stream(request)]
    assert {tag for tag, _ in replies} == {OK}
    batches: list[EventBatch] = [content for _, content in replies]
    events = read_events("".join(batch.events for batch in batches))
    names = [name for name, _ in events]
    assert names[0] == "progress"
    assert names[-1] == "done"
    read = [data["read_characters"] for name, data in events if name == "progress"]
    assert read == sorted(read)
    assert read[-1] == len(LONG_TEXT)
    assert names.count("answer") == 2
    parts = [data for name, data in events if name == "part"]
    assert len(parts) > 20
    assert parts[0]["value"] == {"text": "an answer", "_evidence": []}
    _, whole = await replica.answer(request)
    assert events[-1][1]["answers"] == whole["answers"]
    # after the first batch another replica could still send the complete answer
    assert [batch.has_answer for batch in batches] == [False, *[True] * (len(batches) - 1)]
    assert batches[0].used is None
    assert batches[-1].used is not None
    assert usage_json(batches[-1].used) == events[-1][1]["usage"] == whole["usage"]


async def test_a_stream_reports_every_part_and_joins_what_was_written(
    replica: FakeReplica, prepared: PreparedEndpoint
) -> None:
    tasks: list[Mapping[str, Any]] = [
        {"name": "german", "kind": "write", "prompt": "Translate it.", "over": "parts"},
        {"name": "topics", "kind": "classify", "labels": ["a", "b"], "multiple": True},
    ]
    replica.engine.answers = lambda prompt, sampling: (
        '["a","b"]' if sampling.labels else "Satz.",
        None,
    )
    text = "One sentence. " * 1000
    request = ReplicaRequest(DOCUMENT, "d", text=text, specs=prepared.specs(tasks))
    events = read_events("".join([reply.events async for _, reply in replica.stream(request)]))
    parts = [data for name, data in events if name == "part" and data["task"] == "german"]
    assert "".join(text[part["start"] : part["end"]] for part in parts) == text
    assert {part["value"]["text"] for part in parts} == {"Satz."}
    answers = events[-1][1]["answers"]
    assert answers["german"]["text"] == " ".join(["Satz."] * len(parts))
    assert answers["german"]["_evidence"] == []
    assert answers["german"]["_answer"]["strategy"] == "parts"
    assert (answers["topics"]["labels"], answers["topics"]["confidence"][1:]) == (
        ["a", "b"], answers["topics"]["confidence"][:1],
    )  # fmt: skip
    read = [data["read_characters"] for name, data in events if name == "progress"]
    assert read == sorted(read)
    assert read[-1] == len(text)


async def test_a_request_to_a_full_engine_is_rejected_with_a_retry_delay(
    replica: FakeReplica, prepared: PreparedEndpoint
) -> None:
    big = request_of(prepared, "word " * 200_000)
    first = asyncio.create_task(replica.answer(big))
    await asyncio.sleep(0.01)
    assert replica.record_autoscaling_stats()[FULLNESS] == 1
    second = asyncio.create_task(replica.answer(big))
    await asyncio.sleep(0.01)
    assert replica.record_autoscaling_stats()[FULLNESS] == 2
    assert replica.record_routing_stats() == {FULL: True}
    tag, seconds = await replica.answer(request_of(prepared, SHORT_TEXT))
    assert tag == OVERLOADED
    assert seconds >= 1
    replies = [reply async for reply in replica.stream(request_of(prepared, SHORT_TEXT))]
    assert [tag for tag, _ in replies] == [OVERLOADED]
    for task in (first, second):
        task.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert replica.record_autoscaling_stats()[FULLNESS] == 0
    assert replica.record_routing_stats() == {FULL: False}


async def test_closing_a_stream_stops_the_engines_work(
    replica: FakeReplica, prepared: PreparedEndpoint
) -> None:
    stream = replica.stream(request_of(prepared, LONG_TEXT))
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    await asyncio.sleep(0.05)
    before = len(replica.engine.prompts)
    await asyncio.sleep(0.1)
    assert len(replica.engine.prompts) == before
    assert replica.record_autoscaling_stats()[FULLNESS] == 0
    assert replica.engine.kv_tokens_in_flight == 0


async def test_a_replica_ends_when_its_engine_dies(
    replica: FakeReplica,
    prepared: PreparedEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    exit_codes: list[int] = []

    def end(code: int) -> None:
        exit_codes.append(code)
        raise SystemExit

    monkeypatch.setattr("serve.engines.replica.os._exit", end)
    replica.engine.dead = True
    with pytest.raises(SystemExit):
        await replica.answer(request_of(prepared, SHORT_TEXT))
    with pytest.raises(RuntimeError, match="dead"):
        await replica.check_health()
    assert exit_codes == [1]
    message = "this replica ends, and Ray Serve starts another one: the engine died"
    assert caplog.messages == [message]


async def test_documents_and_outstanding_tokens_are_counted_by_app_and_pool(
    replica: FakeReplica, prepared: PreparedEndpoint
) -> None:
    await replica.answer(request_of(prepared, "word " * 1000))
    assert [tag async for tag, _ in replica.stream(request_of(prepared, SHORT_TEXT))][-1] == OK
    metrics = replica.metrics
    assert metrics.tags == {"app": "phifleet", "pool": SHORT}
    assert metrics.answered == [True, True]
    assert metrics.outstanding == [1250, 0, 3, 0]


REFUSED_SCHEMA = {"type": "string", "pattern": r"^\p{L}$"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_format_that_the_grammar_library_refuses_is_refused_before_the_engine(
    replica: FakeReplica, stream: bool
) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": REFUSED_SCHEMA}}
    work = ReplicaRequest(CHAT, "c", prompt_ids=((1,),), body={"response_format": form})
    # the replica has no completions: it would fail if it asked the engine
    replies = [reply async for reply in replica.stream(work)] if stream else [
        await replica.answer(work)
    ]  # fmt: skip
    ((tag, (status, body)),) = replies
    assert (tag, status) == (REFUSED, 400)
    assert "cannot decode answers of this schema: " in body["error"]["message"]
    assert body["error"]["param"] == "response_format.json_schema.schema"
    assert replica.engine.prompts == []
