"""Runs with answers and evidence of every kind, for tests of reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import scripted
from fakes import FakeEngine
from here import InProcessRun, in_process_run

from pipelines.tasks.kinds import Sampling
from pipelines.tasks.replies import NOT_STATED, QUOTE_PREFIX
from pipelines.text.tokens import ChatTokenizer

EVIL = "</script><img src=x onerror='window.ran=1'><script>window.ran=1</script>"
FILLER = "The board met four times and took note of the reports that were put before it. "
LONG = f"{FILLER * 60}\n\nThe owner is Zoe Miller.\n\n{FILLER * 500}\n\nThe code is qx-4417.\n"
TEXTS = {
    "plain": f"# Report\n\nThe topic is risk. The owner is Ada Lovelace.\n\n{FILLER * 20}",
    "evil": f"{EVIL} The owner is {EVIL}.\n\nThe topic is risk.",
    "wide": "🏔️ Emoji before it 📈. The owner is Smith & Sons.",
    "long": LONG,
    "wrong": "The owner of the other house is unknown.",
    "empty": " ",
}
TASKS: list[dict[str, Any]] = [
    {"name": "summary", "kind": "summarize", "max_words": 20},
    {"name": "topic", "kind": "classify", "labels": ["risk", "other"]},
    {"name": "owner", "kind": "ask", "question": "What is the owner?"},
    {"name": "code", "kind": "ask", "question": "What is the code?"},
]


def answer(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    """Answer as the rule-based reader does, but for a summary and for a quote that is not in the
    text."""
    text, logprob = scripted.read(prompt, sampling)
    if "other house" in prompt and text == NOT_STATED and "the owner" in prompt:
        return f"Mr. Green\n{QUOTE_PREFIX} The owner is Mr. Green.", None
    is_summary = sampling.choices is None and sampling.schema is None and not text
    return ("A calm year." if is_summary else text), logprob


def reported_run(
    directory: Path, tokenizer: ChatTokenizer, output: str | Path | None = None, **job: Any
) -> InProcessRun:
    """Return a run, not executed yet, over TEXTS, each a unit of its own."""
    rows = {"doc": list(TEXTS), "text": list(TEXTS.values())}
    pq.write_table(pa.table(rows), directory / "corpus.parquet")
    return in_process_run(
        directory,
        directory / "corpus.parquet",
        output or directory / "out",
        make_engine=lambda: FakeEngine(tokenizer, max_model_len=40_000, answers=answer),
        **{"tasks": TASKS, **job},
    )
