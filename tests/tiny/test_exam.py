"""An engine that follows the rules scores 100 % at every length: in one pass, in chunks, and with
combining prompts.

The engine is a fake that answers by the rules (ruled.py). The tests thus check how phifleet reads
documents, and that every expected answer can be known from the prompts.
"""

from __future__ import annotations

import json

import pytest
import ruled
from fakes import FakeEngine
from scripted import form_schema

from pipelines.job.task_specs import EvidenceKind
from pipelines.models.resolve import Model
from pipelines.run.prepared import prepare_tasks
from pipelines.tasks.kinds import Sampling
from pipelines.tasks.replies import QUOTE_PREFIX
from pipelines.text.tokens import ChatTokenizer
from pipelines.tiny.author import Author
from pipelines.tiny.exam import LONG_DOCUMENTS, format_share, make_paper
from pipelines.tiny.scoring import (
    ASK,
    CATEGORIES,
    EXTRACT,
    QUOTE,
    SUMMARIZE,
    UNSTATED,
    Score,
    score_answers,
)


@pytest.mark.parametrize(
    ("length", "documents"), [(200, 20), (1400, 8), (3000, 8), (20_000, 4), (200_000, 1)]
)
async def test_an_engine_that_follows_the_rules_scores_100_percent(
    length: int, documents: int, tiny_model: Model, paired_tokenizer: ChatTokenizer
) -> None:
    score = Score()
    for number in range(documents):
        paper = make_paper(Author(f"ruled {length} {number}", number % 2), length)
        tasks = prepare_tasks(paper.specs, LONG_DOCUMENTS, tiny_model, paired_tokenizer)
        engine = FakeEngine(
            paired_tokenizer, kv_cache_tokens=500_000, answers=ruled.reader(paired_tokenizer)
        )
        score += await score_answers(paper, tasks, engine)
    shares = {category: format_share(score, category)[:6] for category in CATEGORIES}
    assert shares == dict.fromkeys(CATEGORIES, "100.0%")


@pytest.mark.parametrize("length", [400, 6000])
@pytest.mark.parametrize("evidence", ["anchors", "values", "none"])
async def test_an_engine_that_follows_the_rules_is_right_with_any_evidence(
    evidence: EvidenceKind, length: int, tiny_model: Model, paired_tokenizer: ChatTokenizer
) -> None:
    score = Score()
    for number in range(4):
        paper = make_paper(Author(f"evidence {length} {number}"), length, evidence)
        tasks = prepare_tasks(paper.specs, LONG_DOCUMENTS, tiny_model, paired_tokenizer)
        engine = FakeEngine(paired_tokenizer, answers=ruled.reader(paired_tokenizer))
        score += await score_answers(paper, tasks, engine)
    counted = {category for category, _ in score}
    assert counted == {*CATEGORIES} - ({QUOTE} if evidence != "anchors" else set())
    # of several facts of one key, only quotes tell which was the first
    wrong = {category for category, correct in score if not correct}
    assert wrong <= (set() if evidence == "anchors" else {ASK, EXTRACT})


def wrong(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    """Return an answer that is never correct, with a quote that no fact has."""
    if sampling.choices:
        return sampling.choices[-1], None
    if sampling.schema:
        names = form_schema(sampling.schema)["properties"]
        return json.dumps(dict.fromkeys(names)), None
    return f"wrong\n{QUOTE_PREFIX} End of the document.", None


async def test_wrong_answers_are_counted_in_every_category(
    tiny_model: Model, paired_tokenizer: ChatTokenizer
) -> None:
    score = Score()
    for number in range(12):
        paper = make_paper(Author(f"wrong {number}"), 400)
        tasks = prepare_tasks(paper.specs, LONG_DOCUMENTS, tiny_model, paired_tokenizer)
        engine = FakeEngine(paired_tokenizer, answers=wrong)
        score += await score_answers(paper, tasks, engine)
    assert all(score[category, False] for category in CATEGORIES)
    for category in (ASK, UNSTATED, QUOTE, SUMMARIZE):
        assert score[category, True] == 0
