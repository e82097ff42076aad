"""Tests that the tokens which planning states are those of the prompts that a run sends.

The run is the core algorithm with a fake engine that records its prompts. The corpora are so small
that they are indexed in this process, without Ray.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine
from reporting_jobs import TASKS, prepared_over, write_texts

from pipelines.answering.answer import answer_document
from pipelines.documents import Document
from pipelines.ledger.ledger import Ledger
from pipelines.models.prices import prices_with
from pipelines.reporting.planning.forecast import Forecast
from pipelines.reporting.planning.planned import Planning, plan_job, plan_sample
from pipelines.run.cluster import Cluster
from pipelines.storage import Storage
from pipelines.tasks.kinds import Sampling

pytestmark = pytest.mark.usefixtures("tiny_model")
WORDS = ("ship", "harbour", "storm", "letter", "river", "stone", "garden", "winter", "the")
CLUSTER = Cluster(cpus=2, gpus=0, accelerator=None)
OF_PARTS = {"name": "new", "kind": "write", "prompt": "Translate.", "over": "parts"}


def texts(count: int, words: tuple[int, int], seed: int = 0) -> dict[str, str | None]:
    dice = random.Random(seed)  # noqa: S311
    return {
        f"d{number}": "\n\n".join(
            " ".join(dice.choices(WORDS, k=20)) + "."
            for _ in range(max(1, dice.randint(*words) // 20))
        )
        for number in range(count)
    }


def planning(directory: Path, tasks: Any = TASKS, **sections: Any) -> tuple[Planning, Ledger]:
    prepared = prepared_over(directory, tasks, **sections)
    return Planning(prepared, CLUSTER, prices_with([]), 30.0), Ledger(
        Storage(prepared.spec.output.path)
    )


def planned(directory: Path, tasks: Any = TASKS, **sections: Any) -> Forecast:
    return plan_job(*planning(directory, tasks, **sections))


def answer(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    """Return an answer as the job's assumptions have it: no reply, and an empty form."""
    if sampling.choices:
        return sampling.choices[0], 0.0
    if sampling.schema:
        return '{"company": null, "year": null, "quotes": {"company": null, "year": null}}', None
    return "Not stated", None


def asked_tokens(planned: Forecast, documents: Mapping[str, str | None]) -> int:
    """Return the tokens of all prompts that are sent about some documents."""
    tasks = planned.basis.tasks
    engine = FakeEngine(
        tasks.tokenizer,
        max_model_len=tasks.reading.limit,
        kv_cache_tokens=10**9,
        answers=answer,
    )

    async def ask() -> None:
        for doc_id, text in documents.items():
            await answer_document(Document(doc_id, text), tasks, engine)

    asyncio.run(ask())
    return sum(map(len, engine.asked))


def test_prompts_about_documents_read_whole_are_counted_exactly(tmp_path: Path) -> None:
    documents = texts(12, (5, 300))
    write_texts(tmp_path, documents)
    forecast = planned(tmp_path)
    assert round(forecast.workload.total.prompt_tokens) == asked_tokens(forecast, documents)
    assert forecast.workload.total.requests == 4 * 12


def test_prompts_about_chunks_are_counted_within_one_percent(tmp_path: Path) -> None:
    """All long documents are cut, so only combining prompts are estimated: here, none is sent."""
    documents = texts(4, (1000, 3000)) | texts(3, (5, 100), seed=1)
    tasks = [task for task in TASKS if task["kind"] not in ("summarize", "ask")]
    write_texts(tmp_path, documents)
    forecast = planned(
        tmp_path, tasks, long_documents={"chunk_tokens": 500, "strategy": "map_reduce"}
    )
    assert {strategy for strategy, _ in forecast.workload.documents} == {"single", "map_reduce"}
    stated = forecast.workload.total + forecast.workload.concluding.times(-1)
    assert stated.prompt_tokens == pytest.approx(asked_tokens(forecast, documents), rel=0.01)


def test_prompts_about_parts_are_counted_within_one_percent(tmp_path: Path) -> None:
    documents = texts(5, (100, 3000))
    write_texts(tmp_path, documents)
    forecast = planned(tmp_path, [OF_PARTS, TASKS[1]])
    assert forecast.workload.total.prompt_tokens == pytest.approx(
        asked_tokens(forecast, documents), rel=0.01
    )


def test_beginnings_are_counted_within_one_percent(tmp_path: Path) -> None:
    documents = texts(5, (100, 3000))
    write_texts(tmp_path, documents)
    forecast = planned(tmp_path, long_documents={"strategy": "truncate", "single_pass_tokens": 500})
    assert forecast.workload.total.prompt_tokens == pytest.approx(
        asked_tokens(forecast, documents), rel=0.01
    )


def test_dead_letters_and_duplicates_are_found_and_cost_nothing(tmp_path: Path) -> None:
    documents: dict[str, str | None] = {"a": "one text", "b": None, "c": "  ", "d": "one text"}
    write_texts(tmp_path, documents)
    forecast = planned(tmp_path)
    empty = forecast.indexed.unreadable["empty"]
    assert (forecast.indexed.documents, empty.count) == (4, 2)
    assert empty.first[0].endswith("texts.parquet row 1: b")
    assert forecast.indexed.duplicates is not None
    assert (forecast.indexed.duplicates.documents, forecast.indexed.duplicates.texts) == (1, 1)
    assert forecast.workload.total.requests == 4 * 2


def test_a_sample_of_everything_is_everything_and_writes_nothing(tmp_path: Path) -> None:
    write_texts(tmp_path, texts(50, (5, 300)), row_group_size=10)
    sample = plan_sample(*planning(tmp_path), 1.0)
    assert not (tmp_path / "out").exists()
    whole = planned(tmp_path)
    assert sample.indexed.documents == whole.indexed.documents == 50
    assert sample.workload.total.prompt_tokens == pytest.approx(whole.workload.total.prompt_tokens)
    assert sample.sample is not None and sample.sample.documents == 50


def test_the_interval_of_a_sample_holds_what_the_whole_has(tmp_path: Path) -> None:
    write_texts(tmp_path, texts(400, (5, 300)), row_group_size=10)
    sample, whole = plan_sample(*planning(tmp_path), 0.25), planned(tmp_path)
    assert sample.sample is not None
    assert 60 < sample.sample.documents < 160
    for name, value in (
        ("documents", 400.0),
        ("tokens", whole.indexed.counts.tokens),
        ("prompt_tokens", whole.workload.total.prompt_tokens),
    ):
        interval = sample.sample.intervals[name]
        assert interval.low <= value <= interval.high
        assert interval.high - interval.low < 0.5 * value


def test_the_cluster_at_hand_comes_first_and_every_gpu_is_priced(tmp_path: Path) -> None:
    write_texts(tmp_path, texts(3, (5, 20)))
    devices = planned(tmp_path).devices
    assert [cost.device for cost in devices] == [
        "CPU", "H200", "H100", "A100-80", "L40S", "L4", "A10G",
    ]  # fmt: skip
    assert all(cost.replicas[0].cost_usd for cost in devices[1:])
    assert [row.replicas for row in devices[1].replicas] == [1, 2, 4, 8]
    # two CPUs, which one engine takes
    assert [row.replicas for row in devices[0].replicas] == [1]
