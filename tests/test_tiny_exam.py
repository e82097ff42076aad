"""Who reads by the rules passes the exam, at every length: by one pass, in chunks, and combining.

The engine is a reader by rule (ruled.py), so that what is tested is phifleet's way of reading, and
that the exam asks for what can be known.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import ruled
from fakes import FakeEngine

from pipelines.models import TRAINED, Model
from pipelines.prepared import prepare_tasks
from pipelines.spec import LongDocuments
from pipelines.tiny.author import Author
from pipelines.tiny.exam import KINDS, Score, marked, set_paper, share
from pipelines.tokens import Tokens


@pytest.mark.parametrize(
    ("length", "documents"), [(200, 20), (1400, 8), (3000, 8), (20_000, 4), (200_000, 1)]
)
async def test_a_reader_by_the_rules_makes_no_mistake(
    length: int, documents: int, tiny_model: Model, paired_tokens: Tokens
) -> None:
    model = replace(tiny_model, name=TRAINED)
    score = Score()
    for number in range(documents):
        paper = set_paper(Author(f"ruled {length} {number}", number % 2), length)
        tasks = prepare_tasks(paper.specs, LongDocuments(), model, paired_tokens)
        engine = FakeEngine(paired_tokens, kv_tokens=500_000, answers=ruled.reader(paired_tokens))
        score += await marked(paper, tasks, engine)
    assert {kind: share(score, kind)[:6] for kind in KINDS} == dict.fromkeys(KINDS, "100.0%")


async def test_mistakes_are_counted(tiny_model: Model, paired_tokens: Tokens) -> None:
    paper = set_paper(Author("mistaken"), 400)
    model = replace(tiny_model, name=TRAINED)
    tasks = prepare_tasks(paper.specs, LongDocuments(), model, paired_tokens)
    score = await marked(paper, tasks, FakeEngine(paired_tokens))
    wrong = {kind for kind, right in score if not right}
    assert {"ask", "extract", "summarize"} <= wrong
