"""Who reads by the rules passes the exam, at every length: by one pass, in chunks, and combining.

The engine is a reader by rule (ruled.py), so that what is tested is phifleet's way of reading, and
that the exam asks for what can be known.
"""

from __future__ import annotations

import json

import pytest
import ruled
from fakes import FakeEngine

from pipelines.models.resolve import Model
from pipelines.run.prepared import prepare_tasks
from pipelines.tasks.kinds import QUOTE_PREFIX, Sampling
from pipelines.text.tokens import ChatTokenizer
from pipelines.tiny.author import Author
from pipelines.tiny.exam import (
    ASK,
    MARKS,
    QUOTE,
    READING,
    SUMMARIZE,
    UNTOLD,
    Score,
    marked,
    set_paper,
    share,
)


@pytest.mark.parametrize(
    ("length", "documents"), [(200, 20), (1400, 8), (3000, 8), (20_000, 4), (200_000, 1)]
)
async def test_a_reader_by_the_rules_makes_no_mistake(
    length: int, documents: int, tiny_model: Model, paired_tokenizer: ChatTokenizer
) -> None:
    score = Score()
    for number in range(documents):
        paper = set_paper(Author(f"ruled {length} {number}", number % 2), length)
        tasks = prepare_tasks(paper.specs, READING, tiny_model, paired_tokenizer)
        engine = FakeEngine(
            paired_tokenizer, kv_cache_tokens=500_000, answers=ruled.reader(paired_tokenizer)
        )
        score += await marked(paper, tasks, engine)
    assert {mark: share(score, mark)[:6] for mark in MARKS} == dict.fromkeys(MARKS, "100.0%")


def wrong(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    """An answer that is right for nothing, with a line of the text as its quote."""
    if sampling.choices:
        return sampling.choices[-1], None
    if sampling.schema:
        names = json.loads(sampling.schema)["properties"]
        return json.dumps(dict.fromkeys(names)), None
    return f"wrong\n{QUOTE_PREFIX} End of the document.", None


async def test_every_mistake_is_counted(tiny_model: Model, paired_tokenizer: ChatTokenizer) -> None:
    score = Score()
    for number in range(12):
        paper = set_paper(Author(f"wrong {number}"), 400)
        tasks = prepare_tasks(paper.specs, READING, tiny_model, paired_tokenizer)
        score += await marked(paper, tasks, FakeEngine(paired_tokenizer, answers=wrong))
    assert all(score[mark, False] for mark in MARKS)
    for mark in (ASK, UNTOLD, QUOTE, SUMMARIZE):
        assert score[mark, True] == 0
