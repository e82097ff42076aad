"""Tests that facts planted in long documents are found once, in one pass and in chunks of any size.

The engine is a rule-based reader (scripted.py): what is tested is how documents are cut into
chunks, what the prompts about chunks contain, and how their findings are combined.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable

import numpy as np
import pytest
import scripted
from fakes import FakeEngine, tasks_of
from planted_statements import FILLERS, LABELS, NAMES, PROSE, Planted, markdown, plant, prose

from pipelines.answering.answer import answer_document
from pipelines.answering.passages import passages
from pipelines.documents import Answer, Document, EvidenceStatus, Fields, Label, Reply, Summary
from pipelines.job.task_specs import AskTask, ClassifyTask, ExtractTask, SummarizeTask, TaskSpec
from pipelines.models.resolve import Model
from pipelines.tasks.kinds import TaskSet
from pipelines.tasks.replies import NOT_STATED
from pipelines.text.tokens import ChatTokenizer

SPECS: tuple[TaskSpec, ...] = (
    SummarizeTask(name="summary", max_words=60),
    ClassifyTask(name="topic", labels=LABELS),
    AskTask(name="who", question="What is the auditor name?"),
    ExtractTask(
        name="facts",
        fields={
            "company": "string",
            "revenue": "number",
            "employees": "integer",
            "listed": "boolean",
            "risk": ["string"],
            "auditor": {"name": "string", "office": "string"},
        },
    ),
)


async def read(text: str, tasks: TaskSet) -> tuple[dict[str, Answer], FakeEngine]:
    """Answer a text; return the answers by task, and the engine that recorded the prompts."""
    engine = FakeEngine(
        tasks.tokenizer,
        max_model_len=tasks.reading.limit,
        kv_cache_tokens=500_000,
        answers=scripted.read,
    )
    result = await answer_document(Document("d", text), tasks, engine)
    assert result.problem is None
    return {answer.task: answer for answer in result.answers}, engine


def check(planted: Planted, answers: dict[str, Answer]) -> None:
    """Check that exactly the planted facts were found, and that every quote is at its offsets."""
    assert {answer.status for answer in answers.values()} == {"answered"}
    facts, reply, topic = (answers[name].value for name in ("facts", "who", "topic"))
    assert isinstance(facts, Fields) and isinstance(reply, Reply) and isinstance(topic, Label)
    assert facts.values == planted.facts
    assert reply.text == (planted.first("auditor name") or NOT_STATED)
    assert topic.label == (planted.first("topic") or LABELS[0])
    stated = {name for name, value in facts.values.items() if value not in (None, [])}
    assert {re.split(r"[.\[]", row.path)[0] for row in facts.evidence} == stated
    for row in (*facts.evidence, *reply.evidence):
        assert row.status in (EvidenceStatus.SHOWN, EvidenceStatus.FOUND)
        assert planted.text[row.start : row.end] == row.text


@pytest.mark.parametrize("seed", range(40))
async def test_planted_facts_are_found_in_any_text_with_any_chunk_size(
    seed: int, tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    """Each seed has 25 documents of up to 60 chunks, 1,000 in all."""
    dice = random.Random(seed)  # noqa: S311  # seeded on purpose
    chunk_tokens = dice.choice([64, 100, 256, 500, 1000])
    tasks = tasks_of(
        SPECS,
        tiny_model,
        tiny_tokenizer,
        strategy="map_reduce",
        chunk_tokens=chunk_tokens,
        overlap_tokens=dice.choice([0, 16, chunk_tokens // 3]),
    )
    documents = [
        plant(dice, dice.choice(FILLERS)(dice, dice.randrange(30, 40 * chunk_tokens)))
        for _ in range(25)
    ]
    for planted, (answers, engine) in zip(
        documents, await asyncio.gather(*(read(document.text, tasks) for document in documents)),
        strict=True,
    ):  # fmt: skip
        check(planted, answers)
        assert engine.longest <= tasks.reading.chunk_prompt_limit


@pytest.mark.parametrize("filler", FILLERS)
async def test_facts_across_a_chunk_border_are_found(
    filler: Callable[[random.Random, int], str], tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    """The same statement is moved over the border of a chunk, four characters at a time."""
    dice = random.Random(7)  # noqa: S311  # seeded on purpose
    tasks = tasks_of(
        SPECS, tiny_model, tiny_tokenizer, strategy="map_reduce", chunk_tokens=80, overlap_tokens=8
    )
    text = filler(dice, 1500)
    (border,) = [p.chunk.end for p in passages(text, None, "map_reduce", tasks)][1:2]
    for position in range(border - 60, border + 20, 4):
        statement = " The auditor name is Ann of the Four Winds. "
        planted = Planted(
            text[:position] + statement + text[position:],
            {"auditor name": ["Ann of the Four Winds"]},
        )
        answers, _ = await read(planted.text, tasks)
        check(planted, answers)


async def test_one_pass_and_chunks_of_every_size_give_the_same_facts(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    dice = random.Random(3)  # noqa: S311  # seeded on purpose
    planted = plant(dice, prose(dice, 12_000), max_facts=24)
    whole = tasks_of(SPECS, tiny_model, tiny_tokenizer, strategy="single")
    single, _ = await read(planted.text, whole)
    check(planted, single)
    length = len(tiny_tokenizer.encode(planted.text))
    expected, size, sizes = single["facts"].value, 64, 0
    while size < length * 1.2:
        tasks = tasks_of(
            SPECS, tiny_model, tiny_tokenizer, strategy="map_reduce", chunk_tokens=size,
            overlap_tokens=min(32, size // 4),
        )  # fmt: skip
        answers, _ = await read(planted.text, tasks)
        facts = answers["facts"].value
        assert isinstance(facts, Fields) and isinstance(expected, Fields)
        assert facts.values == expected.values
        reply, one = answers["who"].value, single["who"].value
        assert isinstance(reply, Reply) and isinstance(one, Reply)
        assert (reply.text, reply.evidence[:1]) == (one.text, one.evidence)
        size, sizes = int(size * 1.15) + 1, sizes + 1
    assert sizes > 20


@pytest.mark.parametrize("items", [1, 2, 7, 40, 150, 400])
async def test_a_list_is_the_same_read_whole_and_in_chunks_of_every_size(
    items: int, tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    """A third of the items repeat another one, and borders divide many of them."""
    dice = random.Random(items)  # noqa: S311  # seeded on purpose
    names = [f"the {NAMES[number]} risk" for number in range(0, 3 * max(1, items * 2 // 3), 3)]
    risks = [dice.choice(names) for _ in range(items)]
    filler = prose(dice, items * 60).split(" ")
    text = " ".join(
        f"{' '.join(dice.choices(filler, k=dice.randrange(12)))} The risk is {risk}."
        for risk in risks
    )  # fmt: skip
    specs = (ExtractTask(name="facts", fields={"risk": ["string"]}, max_tokens=20_000),)
    whole = tasks_of(specs, tiny_model, tiny_tokenizer, strategy="single")
    single, _ = await read(f"{text} ", whole)
    assert isinstance(single["facts"].value, Fields)
    assert single["facts"].value.values == {"risk": risks}
    length = len(tiny_tokenizer.encode(text))
    size = 64
    while size < length * 1.2:
        tasks = tasks_of(
            (ExtractTask(name="facts", fields={"risk": ["string"]}),), tiny_model, tiny_tokenizer,
            strategy="map_reduce", chunk_tokens=size, overlap_tokens=dice.choice([0, size // 4]),
        )  # fmt: skip
        answers, _ = await read(f"{text} ", tasks)
        facts = answers["facts"].value
        assert isinstance(facts, Fields)
        assert facts.values == {"risk": risks}, size
        size = int(size * 1.4) + 1


async def test_a_document_of_500_chunks_is_answered(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    dice = random.Random(11)  # noqa: S311  # seeded on purpose
    tasks = tasks_of(
        SPECS,
        tiny_model,
        tiny_tokenizer,
        strategy="map_reduce",
        chunk_tokens=256,
        overlap_tokens=16,
    )
    planted = plant(dice, prose(dice, 410_000), max_facts=40)
    answers, engine = await read(planted.text, tasks)
    check(planted, answers)
    assert answers["facts"].chunks >= 500
    assert {answer.strategy for answer in answers.values()} == {"map_reduce"}
    assert len(engine.prompts) >= 4 * 500


@pytest.mark.parametrize("characters", [10, 100, 1000, 10_000, 100_000, 1_000_000, 3_000_000])
async def test_a_text_of_any_length_is_covered_and_no_prompt_exceeds_its_pool(
    characters: int, tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    tasks = tasks_of(SPECS, tiny_model, tiny_tokenizer)
    reading = tasks.reading
    text = prose(random.Random(characters), characters)  # noqa: S311  # seeded on purpose
    answers, engine = await read(text, tasks)
    assert {answer.status for answer in answers.values()} == {"answered"}
    strategy = answers["facts"].strategy
    tokens = np.array(tiny_tokenizer.count_all([text]))
    assert strategy == reading.strategy(int(tokens[0]))
    long = bool(reading.long_pool(reading.lengths(tokens).longest)[0])
    assert engine.longest <= (16_384 + reading.document_shape.around if long else 4096)
    if strategy == "map_reduce":
        covered = 0
        for passage in passages(text, None, strategy, tasks):
            assert passage.chunk.start <= covered < passage.chunk.end
            covered = passage.chunk.end
        assert covered == len(text)


async def test_a_summary_of_summaries_keeps_the_order_and_fits(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    marks = [f"#{number}#" for number in range(30)]
    text = "\n\n".join(f"{mark} {PROSE[at : at + 900]}" for at, mark in enumerate(marks))
    tasks = tasks_of(
        (SummarizeTask(name="summary", max_words=400),),
        tiny_model,
        tiny_tokenizer,
        strategy="map_reduce",
        chunk_tokens=128,
        overlap_tokens=0,
    )
    answers, engine = await read(text, tasks)
    summary = answers["summary"].value
    assert isinstance(summary, Summary)
    assert summary.text.split() == marks
    assert engine.longest <= tasks.reading.chunk_prompt_limit


async def test_an_answer_that_violates_its_schema_is_repaired_once_or_invalid(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    tasks = tasks_of(SPECS, tiny_model, tiny_tokenizer)
    text = " The company is Acme. The auditor name is Ann. "
    repaired, engine = await read(text + scripted.BROKEN_ONCE, tasks)
    assert isinstance(repaired["facts"].value, Fields)
    assert repaired["facts"].value.values["company"] == "Acme"
    assert len(engine.prompts) == len(SPECS) + 1
    broken, engine = await read(text + scripted.BROKEN_ALWAYS, tasks)
    assert broken["facts"].status == "invalid_answer"
    assert {broken[name].status for name in ("summary", "topic", "who")} == {"answered"}
    assert len(engine.prompts) == len(SPECS) + 1


async def test_an_answer_without_some_chunks_is_marked_partial(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    tasks = tasks_of(
        SPECS, tiny_model, tiny_tokenizer, strategy="map_reduce", chunk_tokens=200, overlap_tokens=0
    )
    text = f"The company is Acme. {PROSE[:4000]}\n\n{scripted.BROKEN_ALWAYS} {PROSE[:4000]}"
    answers, _ = await read(text, tasks)
    facts = answers["facts"]
    assert isinstance(facts.value, Fields) and facts.value.values["company"] == "Acme"
    assert (facts.status, facts.finish_reason) == ("answered", "partial")
    assert answers["who"].finish_reason == "stop"


async def test_answering_is_deterministic(tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> None:
    dice = random.Random(5)  # noqa: S311  # seeded on purpose
    tasks = tasks_of(
        SPECS,
        tiny_model,
        tiny_tokenizer,
        strategy="map_reduce",
        chunk_tokens=100,
        overlap_tokens=10,
    )
    planted = plant(dice, markdown(dice, 20_000))
    first, first_engine = await read(planted.text, tasks)
    second, second_engine = await read(planted.text, tasks)
    assert first == second
    assert sorted(first_engine.prompts) == sorted(second_engine.prompts)


@pytest.mark.parametrize("policy", ["auto", "single", "map_reduce", "truncate", "reject"])
async def test_every_strategy_reads_or_rejects_a_long_document(
    policy: str, tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    tasks = tasks_of(
        SPECS,
        tiny_model,
        tiny_tokenizer,
        strategy=policy,
        single_pass_tokens=1000,
        chunk_tokens=500,
    )
    engine = FakeEngine(tiny_tokenizer, 131_072, kv_cache_tokens=500_000, answers=scripted.read)
    result = await answer_document(Document("d", PROSE[:20_000]), tasks, engine)
    if policy == "reject":
        assert result.problem is not None and result.problem.reason == "too_long"
        return
    strategies = {"auto": "map_reduce"}
    assert {answer.strategy for answer in result.answers} == {strategies.get(policy, policy)}
    short = await answer_document(Document("d", PROSE[:1200]), tasks, engine)
    assert {answer.strategy for answer in short.answers} == {"single"}


async def test_a_truncated_document_is_read_from_its_beginning(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    tasks = tasks_of(SPECS, tiny_model, tiny_tokenizer, strategy="truncate", single_pass_tokens=500)
    text = f"The company is Acme. {PROSE[:20_000]} The revenue is 12.5. "
    answers, engine = await read(text, tasks)
    facts = answers["facts"].value
    assert isinstance(facts, Fields)
    assert (facts.values["company"], facts.values["revenue"]) == ("Acme", None)
    assert engine.longest <= 500 + tasks.reading.document_shape.around
