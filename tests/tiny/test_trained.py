"""The committed weights answer as their card says, through the real engine."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator

import pytest

from pipelines.engine.vllm_engine import VllmEngine
from pipelines.models.resolve import TRAINED_PATH, Model, resolve
from pipelines.text.tokens import ChatTokenizer, load_tokenizer
from pipelines.tiny.digest import prompts_digest
from pipelines.tiny.exam import ASK, CLASSIFY, EXTRACT, QUOTE, SUMMARIZE, UNTOLD, examine, start

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # torch and vLLM, on import and on shutdown
    pytest.mark.filterwarnings("ignore"),
]

DOCUMENTS = 24
# The least that the card tells of any length.
TOLD = {ASK: 0.97, UNTOLD: 0.93, EXTRACT: 0.97, CLASSIFY: 0.97, SUMMARIZE: 0.86, QUOTE: 0.98}


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[VllmEngine, Model, ChatTokenizer]]:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    model = resolve("tiny")
    engine, tokens = start(model)
    yield engine, model, tokens
    engine.shutdown()


def test_it_learned_the_prompts_that_are_sent() -> None:
    learned = json.loads((TRAINED_PATH / "training.json").read_text())["prompts"]
    assert prompts_digest(load_tokenizer(TRAINED_PATH)) == learned, (
        "phifleet now asks in other words than `tiny` learned: train it anew by "
        "`python -m pipelines.tiny.train --output build/tiny`, see pipelines/tiny/README.md"
    )


@pytest.mark.parametrize(
    ("length", "documents"), [(300, DOCUMENTS), (1_200, DOCUMENTS), (8_000, 3)]
)
async def test_it_answers(
    started: tuple[VllmEngine, Model, ChatTokenizer], length: int, documents: int
) -> None:
    engine, model, tokens = started
    result = await examine(engine, model, tokens, length, documents, "test")
    short = {}
    for mark, told in TOLD.items():
        right = result.score[mark, True]
        asked = right + result.score[mark, False]
        # three standard deviations of so few questions
        if right < asked * told - 3 * math.sqrt(asked * told * (1 - told)):
            short[mark] = (right, asked)
    assert short == {}
