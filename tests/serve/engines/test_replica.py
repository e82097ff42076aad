"""One engine behind Ray Serve, without Ray: what it asks the engine, and what it tells."""

from __future__ import annotations

import asyncio
import pydoc_data.topics
from collections.abc import Iterator
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

WHOLE, LONG_TEXT = "A short text.", "\n".join(pydoc_data.topics.topics.values())[:300_000]


@dataclass
class Counted:
    """What a replica counts."""

    tags: dict[str, str]
    answered: list[bool] = field(default_factory=list)
    outstanding: list[int] = field(default_factory=list)

    def document(self, outcome: DocumentResult, seconds: float) -> None:
        assert seconds > 0
        self.answered.append(outcome.answered)

    def in_flight(self, tokens: int) -> None:
        self.outstanding.append(tokens)


class FakeReplica(EngineReplica):
    """A replica whose engine keeps what it was asked."""

    engine: FakeEngine
    counted: Counted

    def measure(self, tags: dict[str, str]) -> Any:
        self.counted = Counted(tags)
        return self.counted

    def start(self, config: EngineConfig) -> Any:
        self.engine = FakeEngine(self._offer.tokenizer, max_model_len=config.max_model_len)
        return self.engine, None

    @property
    def offer(self) -> PreparedEndpoint:
        return self._offer

    async def _warm_up(self) -> None: ...


async def replica_of(**spec: Any) -> FakeReplica:
    made = FakeReplica.__new__(FakeReplica)
    parsed = parse_serve({"model": {"name": "tiny-random"}, "tasks": TASKS, **spec})
    await made.__init__(parsed, SHORT, False)  # type: ignore[misc]  # as Ray Serve awaits it
    return made


@pytest.fixture
async def replica(tiny_model: Model) -> FakeReplica:
    assert tiny_model
    return await replica_of()


@pytest.fixture(scope="module")
def offer(tiny_model: Model) -> Iterator[PreparedEndpoint]:
    assert tiny_model
    yield prepared_endpoint()


def work_of(offer: PreparedEndpoint, text: str, *names: str) -> ReplicaRequest:
    return ReplicaRequest(
        DOCUMENT, "d", text=text, specs=offer.specs(names or ["summary", "auditor"])
    )


@pytest.mark.parametrize("text", [WHOLE, LONG_TEXT], ids=["whole", "300,000 characters"])
async def test_the_engine_is_asked_exactly_what_a_job_asks(
    replica: FakeReplica, offer: PreparedEndpoint, tmp_path: Path, text: str
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
    tag, _ = await replica.answer(work_of(offer, text))
    assert tag == OK
    # beside those about passages the engine is asked to combine what they said
    asked = {tuple(ids) for ids in replica.engine.asked}
    wanted = {tuple(prompt["token_ids"]) for prompt in shown["prompts"]}
    assert wanted <= asked
    combining = [prompt for prompt in replica.engine.prompts if "These notes" in prompt]
    assert len(asked - wanted) <= len(combining)
    assert bool(combining) == (len(shown["chunks"]) > 1)


async def test_what_only_a_long_pool_would_read_whole_is_read_in_chunks_where_there_is_none(
    replica: FakeReplica, offer: PreparedEndpoint
) -> None:
    text = LONG_TEXT[:30_000]
    _, body = await replica.answer(work_of(offer, text))
    assert {answer["status"] for answer in body["answers"].values()} == {"answered"}
    assert {answer["strategy"] for answer in body["answers"].values()} == {"map_reduce"}
    both = prepared_endpoint(pools={"long": {}})
    tasks = both.tasks(both.specs(["summary"]))
    assert both.pool_of_document(text, tasks) == LONG
    assert both.pool_of_document(WHOLE, tasks) == both.pool_of_document(LONG_TEXT, tasks) == SHORT


async def test_an_answer_has_the_columns_of_a_part(
    replica: FakeReplica, offer: PreparedEndpoint
) -> None:
    _, body = await replica.answer(work_of(offer, WHOLE))
    assert body["id"] == "d"
    summary, auditor = body["answers"]["summary"], body["answers"]["auditor"]
    assert summary["text"] == "an answer"
    assert auditor["quotes"] == []
    assert summary["status"] == auditor["status"] == "answered"
    assert body["usage"]["output_tokens"] == 6


async def test_a_task_that_fails_says_why_and_the_others_are_kept(
    replica: FakeReplica, offer: PreparedEndpoint
) -> None:
    replica.engine.rejects = "Who audited"
    _, body = await replica.answer(work_of(offer, WHOLE))
    assert body["answers"]["summary"]["status"] == "answered"
    assert body["answers"]["auditor"]["status"] == "rejected"
    assert "refused because" in body["answers"]["auditor"]["message"]


async def test_a_document_that_is_not_read_at_all_is_refused_with_the_reason(
    tiny_model: Model,
) -> None:
    assert tiny_model
    made = await replica_of(long_documents={"strategy": "reject", "single_pass_tokens": 16})
    work = work_of(made.offer, LONG_TEXT)
    tag, (status, error) = await made.answer(work)
    assert (tag, status, error["error"]["code"]) == (REFUSED, 422, "too_long")
    told = [each async for each in made.stream(work)]
    assert told[-1] == (REFUSED, (422, error))


async def test_a_stream_tells_how_far_it_is_and_ends_with_the_whole_answer(
    replica: FakeReplica, offer: PreparedEndpoint
) -> None:
    work = work_of(offer, LONG_TEXT)
    told = [each async for each in replica.stream(work)]
    assert {tag for tag, _ in told} == {OK}
    sent: list[EventBatch] = [content for _, content in told]
    events = read_events("".join(each.events for each in sent))
    names = [name for name, _ in events]
    assert names[0] == "progress"
    assert names[-1] == "done"
    read = [data["read_characters"] for name, data in events if name == "progress"]
    assert read == sorted(read)
    assert read[-1] == len(LONG_TEXT)
    assert names.count("answer") == 2
    parts = [data for name, data in events if name == "part"]
    assert len(parts) > 20
    assert parts[0]["value"] == {"text": "an answer"}
    _, whole = await replica.answer(work)
    assert events[-1][1]["answers"] == whole["answers"]
    # another replica could still tell all that comes after the first
    assert [each.has_answer for each in sent] == [False, *[True] * (len(sent) - 1)]
    assert sent[0].used is None
    assert sent[-1].used is not None
    assert usage_json(sent[-1].used) == events[-1][1]["usage"] == whole["usage"]


async def test_whoever_comes_to_a_full_engine_is_told_when_to_come_again(
    replica: FakeReplica, offer: PreparedEndpoint
) -> None:
    big = work_of(offer, "word " * 200_000)
    first = asyncio.create_task(replica.answer(big))
    await asyncio.sleep(0.01)
    assert replica.record_autoscaling_stats()[FULLNESS] == 1
    other = asyncio.create_task(replica.answer(big))
    await asyncio.sleep(0.01)
    assert replica.record_autoscaling_stats()[FULLNESS] == 2
    assert replica.record_routing_stats() == {FULL: True}
    tag, seconds = await replica.answer(work_of(offer, WHOLE))
    assert tag == OVERLOADED
    assert seconds >= 1
    told = [each async for each in replica.stream(work_of(offer, WHOLE))]
    assert [tag for tag, _ in told] == [OVERLOADED]
    for each in (first, other):
        each.cancel()
    await asyncio.gather(first, other, return_exceptions=True)
    assert replica.record_autoscaling_stats()[FULLNESS] == 0
    assert replica.record_routing_stats() == {FULL: False}


async def test_who_stops_listening_stops_the_engines_work(
    replica: FakeReplica, offer: PreparedEndpoint
) -> None:
    stream = replica.stream(work_of(offer, LONG_TEXT))
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    await asyncio.sleep(0.05)
    asked = len(replica.engine.prompts)
    await asyncio.sleep(0.1)
    assert len(replica.engine.prompts) == asked
    assert replica.record_autoscaling_stats()[FULLNESS] == 0
    assert replica.engine.kv_tokens_in_flight == 0


async def test_a_dead_engine_takes_its_replica_along(
    replica: FakeReplica,
    offer: PreparedEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ends: list[int] = []

    def end(code: int) -> None:
        ends.append(code)
        raise SystemExit

    monkeypatch.setattr("serve.engines.replica.os._exit", end)
    replica.engine.dead = True
    with pytest.raises(SystemExit):
        await replica.answer(work_of(offer, WHOLE))
    with pytest.raises(RuntimeError, match="dead"):
        await replica.check_health()
    assert ends == [1]
    assert caplog.messages == ["this replica ends: the engine died"]


async def test_documents_and_outstanding_tokens_are_counted_by_app_and_pool(
    replica: FakeReplica, offer: PreparedEndpoint
) -> None:
    await replica.answer(work_of(offer, "word " * 1000))
    assert [tag async for tag, _ in replica.stream(work_of(offer, WHOLE))][-1] == OK
    counted = replica.counted
    assert counted.tags == {"app": "phifleet", "pool": SHORT}
    assert counted.answered == [True, True]
    assert counted.outstanding == [1250, 0, 3, 0]
