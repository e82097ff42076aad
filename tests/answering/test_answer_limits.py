"""Tests of the token limits of answers with a scripted engine that respects them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, tasks_of

from pipelines.answering.answer import answer_document
from pipelines.documents import Answer, Document, Fields
from pipelines.errors import SpecError
from pipelines.job.spec import LongDocuments
from pipelines.job.task_specs import ExtractTask, SummarizeTask
from pipelines.models.resolve import Model
from pipelines.run.prepared import prepare_tasks
from pipelines.tasks.kinds import Sampling
from pipelines.text.tokens import ChatTokenizer

FORMS = Path(__file__).parents[3] / "shared/cases/forms"
NEEDS_FORMS = pytest.mark.skipif(
    not FORMS.exists(), reason="the cases are not in ../shared beside the project"
)


def form(fields: Mapping[str, Any], **more: Any) -> ExtractTask:
    return ExtractTask.model_validate(
        {"name": "facts", "kind": "extract", "fields": dict(fields), **more}
    )


def writes(values: Mapping[str, Any]) -> Any:
    """Return a rule that writes these values, without quotes."""
    answer = json.dumps({**values, "quotes": dict.fromkeys(values)}, ensure_ascii=False)

    def rule(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
        return answer, None

    return rule


async def fill_in(
    model: Model, tokens: ChatTokenizer, task: ExtractTask, text: str, engine: FakeEngine
) -> Answer:
    tasks = tasks_of([task], model, tokens)
    (answer,) = (await answer_document(Document("d", text), tasks, engine)).answers
    return answer


@NEEDS_FORMS
@pytest.mark.parametrize("name", ["invoice-40", "names-120", "sixty-fields"])
async def test_a_right_answer_of_any_length_comes_back_equal(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer, name: str
) -> None:
    case = json.loads((FORMS / f"{name}.json").read_text())
    engine = FakeEngine(tiny_tokenizer, answers=writes(case["answer"]), cuts=True)
    answer = await fill_in(tiny_model, tiny_tokenizer, form(case["fields"]), case["text"], engine)
    assert answer.problem is None
    assert isinstance(answer.value, Fields) and answer.value.values == case["answer"]
    assert answer.finish_reason == "stop"


PEOPLE = [f"Ann Berg {number}" for number in range(300)]
LIST = {"people": PEOPLE, "total": 300}
LIST_FORM = {"people": ["string"], "total": "integer"}


async def test_a_list_of_300_items_is_an_answer(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    engine = FakeEngine(tiny_tokenizer, max_model_len=16_384, answers=writes(LIST), cuts=True)
    text = "Present: " + ", ".join(PEOPLE)
    answer = await fill_in(tiny_model, tiny_tokenizer, form(LIST_FORM), text, engine)
    assert isinstance(answer.value, Fields) and answer.value.values == LIST
    first, second = engine.limits
    assert first < second
    assert answer.usage.prompt_tokens == sum(len(prompt) for prompt in engine.asked)


async def test_an_answer_that_no_limit_holds_keeps_its_complete_values(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    engine = FakeEngine(tiny_tokenizer, max_model_len=2000, answers=writes(LIST), cuts=True)
    answer = await fill_in(tiny_model, tiny_tokenizer, form(LIST_FORM), "Present: Ann", engine)
    assert answer.problem is None and answer.finish_reason == "length"
    assert isinstance(answer.value, Fields)
    kept = answer.value.values["people"]
    assert kept == PEOPLE[: len(kept)] and len(kept) > 20
    assert answer.value.values["total"] is None
    assert len(engine.prompts) == 2 and engine.longest <= 2000


async def test_a_limit_of_the_job_file_is_not_raised(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    engine = FakeEngine(tiny_tokenizer, answers=writes(LIST), cuts=True)
    answer = await fill_in(
        tiny_model, tiny_tokenizer, form(LIST_FORM, max_tokens=100), "Present: Ann", engine
    )
    assert engine.limits == [100] and answer.finish_reason == "length"


async def test_a_second_try_that_fails_leaves_the_first_ones_values(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    whole = writes(LIST)

    def rule(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
        return ('{"people": 7}', None) if len(engine.prompts) > 1 else whole(prompt, sampling)

    engine = FakeEngine(tiny_tokenizer, answers=rule, cuts=True)
    answer = await fill_in(tiny_model, tiny_tokenizer, form(LIST_FORM), "Present: Ann", engine)
    assert isinstance(answer.value, Fields) and len(answer.value.values["people"]) > 5
    assert answer.finish_reason == "length" and len(engine.prompts) == 2


async def test_the_reserved_tokens_are_those_of_the_limits_used(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    engine = FakeEngine(tiny_tokenizer, answers=writes(LIST), cuts=True)
    await fill_in(tiny_model, tiny_tokenizer, form(LIST_FORM), "Present: Ann", engine)
    lengths = [
        len(prompt) + limit for prompt, limit in zip(engine.asked, engine.limits, strict=True)
    ]
    assert engine.most_in_flight == max(lengths)
    assert engine.admission.in_flight_tokens == 0


async def test_many_documents_that_are_asked_twice_do_not_wait_for_each_other(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    engine = FakeEngine(tiny_tokenizer, kv_cache_tokens=1500, answers=writes(LIST), cuts=True)
    tasks = tasks_of([form(LIST_FORM), form(LIST_FORM, name="more")], tiny_model, tiny_tokenizer)
    result = await answer_document(Document("d", "Present: Ann"), tasks, engine)
    assert [answer.finish_reason for answer in result.answers] == ["length", "length"]


async def test_an_endpoints_limit_bounds_every_answer(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    engine = FakeEngine(tiny_tokenizer, answers=writes(LIST), cuts=True)
    tasks = replace(tasks_of([form(LIST_FORM)], tiny_model, tiny_tokenizer), max_answer_tokens=600)
    await answer_document(Document("d", "Present: Ann " * 100), tasks, engine)
    assert max(engine.limits) == 600


async def test_a_form_cut_off_in_a_chunk_is_reported(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    tasks = tasks_of(
        [form({"people": ["string"]}, max_tokens=60)],
        tiny_model,
        tiny_tokenizer,
        strategy="map_reduce",
        chunk_tokens=200,
    )
    engine = FakeEngine(tiny_tokenizer, answers=writes({"people": PEOPLE}), cuts=True)
    result = await answer_document(Document("d", "A word and another. " * 200), tasks, engine)
    (answer,) = result.answers
    assert answer.chunks > 1 and answer.finish_reason == "length"
    assert isinstance(answer.value, Fields) and answer.value.values["people"]


async def test_a_summary_of_a_dense_text_may_be_longer(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    tasks = tasks_of([SummarizeTask(name="s", max_words=20)], tiny_model, tiny_tokenizer)
    limits = []
    for text in ("The harbour was built early. " * 20, "董事会批准了年度财务报表。" * 20):
        engine = FakeEngine(tiny_tokenizer)
        await answer_document(Document("d", text), tasks, engine)
        limits += engine.limits
    assert 56 <= limits[0] < limits[1]


def test_a_form_whose_smallest_answer_cannot_fit_is_refused_with_the_numbers(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    fields = {f"field_number_{number}": "number" for number in range(120)}
    with pytest.raises(SpecError, match=r"tasks\.facts: a prompt with this form needs \d+ tokens"):
        prepare_tasks([form(fields)], LongDocuments(), tiny_model, tiny_tokenizer, longest=2048)
