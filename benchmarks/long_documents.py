"""Compares the cost of reading a long document in one pass and in chunks, by its length.

Runs the real engine with the built-in model: in turns, one engine for whole documents and one for
chunks. Prints one table of medians. The FLOPs are those of Phi-3-mini for the same passages,
computed by the cost model. The seconds are measured on this machine with a tiny model, whose
attention is a smaller part of the cost than that of Phi-3.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pydoc_data.topics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from throughput import describe_machine

from pipelines.answering.answer import answer_document
from pipelines.answering.passages import passages
from pipelines.documents import Document
from pipelines.engine.config import EngineConfig
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.job.spec import LongDocuments
from pipelines.job.task_specs import SummarizeTask
from pipelines.models.cost import CPU, CostModel
from pipelines.models.resolve import Model, resolve
from pipelines.run.prepared import prepare_tasks
from pipelines.tasks.kinds import TaskSet
from pipelines.text.lengths import MAP_REDUCE, SINGLE
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

LENGTHS = (4096, 8192, 16_384, 32_768, 65_536, 128_000)
"""The default lengths of documents, in tokens."""
# Each measurement reads at least this many tokens, and at least one document.
_MIN_TOKENS = 65_536
_MAX_SUMMARY_WORDS = 4
# The sizes in config.json of Phi-3-mini-128k-instruct.
PHI3_MINI = Model(
    name="microsoft/Phi-3-mini-128k-instruct",
    revision="",
    path=Path(),
    max_model_len=131_072,
    short_rope_len=4096,
    sliding_window=262_144,
    layers=32,
    hidden_size=3072,
    intermediate_size=8192,
    heads=32,
    kv_heads=32,
    head_dim=96,
    vocab_size=32_064,
    tied_embeddings=False,
)
"""The model whose FLOPs are computed."""


@dataclass(frozen=True)
class Cost:
    """The measured cost of documents of one length, read by one strategy. `passages`,
    `prefill_tokens` and `flops` are those of one document, `seconds` those of all `documents`
    together."""

    tokens: int
    strategy: str
    documents: int
    passages: int
    prefill_tokens: int
    flops: float
    seconds: float


def main() -> int:
    """Measure, print the table, and write all measurements as JSON. Returns the exit code."""
    options = _options()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    model = resolve("tiny-random")
    tokenizer = load_tokenizer(model.path)
    costs: list[Cost] = []
    with stdout_to_stderr():
        for turn in range(options.runs):
            for strategy in (SINGLE, MAP_REDUCE):
                costs += asyncio.run(_measure(strategy, model, tokenizer, options.lengths))
            print(f"turn {turn + 1} of {options.runs} done", file=sys.stderr, flush=True)
    for line in describe_machine()[:2]:
        console.print(line, soft_wrap=True)
    console.print(_table(costs))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps([asdict(cost) for cost in costs], indent=2) + "\n")
    console.print(f"all runs: {options.output}", soft_wrap=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each strategy (default: 3)")
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS), metavar="TOKENS")
    parser.add_argument("--output", type=Path, default=Path("build/long_documents.json"))
    return parser.parse_args()


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Redirect standard output to standard error during the block, because vLLM logs to both."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)


async def _measure(
    strategy: str, model: Model, tokenizer: ChatTokenizer, lengths: Sequence[int]
) -> list[Cost]:
    """Measure all lengths with one engine, whose maximum length is that of its longest prompt."""
    # mypy sees a string, not one of the literals of the field
    spec = LongDocuments(strategy=strategy)  # type: ignore[arg-type]
    summarize = SummarizeTask(name="s", max_words=_MAX_SUMMARY_WORDS)
    tasks = prepare_tasks((summarize,), spec, model, tokenizer)
    is_chunked = strategy == MAP_REDUCE
    max_model_len = tasks.reading.chunk_prompt_limit if is_chunked else model.max_model_len
    engine = VllmEngine(EngineConfig(model, max_model_len, gpu=False), tokenizer)
    try:
        await answer_document(Document("warm", _text(1000, tokenizer, 0)), tasks, engine)
        return [await _cost(length, strategy, tasks, engine) for length in lengths]
    finally:
        engine.shutdown()


async def _cost(length: int, strategy: str, tasks: TaskSet, engine: VllmEngine) -> Cost:
    count = max(1, _MIN_TOKENS // length)
    texts = [_text(length, tasks.tokenizer, number) for number in range(count)]
    started_at = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number, text in enumerate(texts):
            group.create_task(_answer(Document(str(number), text), tasks, engine))
    seconds = time.monotonic() - started_at
    parts = list(passages(texts[0], tasks.tokenizer.encode(texts[0]), strategy, tasks))
    question_tokens = len(tasks.all[0].chunk_question.token_ids)
    prefix_tokens = np.array([len(part.prefix.token_ids) for part in parts], dtype=np.float64)
    cost_model = CostModel(PHI3_MINI, CPU, tasks.reading)
    flops = float(cost_model.prefill_flops(prefix_tokens, question_tokens).sum())
    prefill_tokens = int(prefix_tokens.sum()) + len(parts) * question_tokens
    return Cost(length, strategy, count, len(parts), prefill_tokens, flops, seconds)


async def _answer(document: Document, tasks: TaskSet, engine: VllmEngine) -> None:
    result = await answer_document(document, tasks, engine)
    if not result.answered:
        problem = result.dead_letters()[0].problem
        raise SystemExit(
            f"document {document.doc_id} was not answered, so the measurement is not valid: "
            f"{problem.message}"
        )


def _text(length: int, tokenizer: ChatTokenizer, number: int) -> str:
    """Return real text of `length` tokens. Each number gives another beginning, so that the prefix
    cache is not used."""
    whole = "\n\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))
    shift = 5000 * number
    text = f"{number:05d}\n\n{whole[shift:]}{whole}{whole[:shift]}"
    return tokenizer.decode_output(tokenizer.encode(text)[:length])


def _table(costs: Sequence[Cost]) -> Table:
    table = Table(title="one document: prefill tokens, Phi-3-mini's FLOPs, tokens/s here")
    table.add_column("tokens", justify="right")
    for strategy in ("one pass", "chunks"):
        for name in ("k prefill", "TFLOPs", "k tok/s"):
            table.add_column(f"{strategy} {name}", justify="right")
    for name in ("chunks", "FLOPs saved", "speed-up here"):
        table.add_column(name, justify="right")
    for length in sorted({cost.tokens for cost in costs}):
        single, chunked = (_median_cost(costs, length, name) for name in (SINGLE, MAP_REDUCE))
        table.add_row(
            f"{length:,}",
            *_figures(single),
            *_figures(chunked),
            str(chunked["passages"]),
            f"{single['flops'] / chunked['flops']:.2f}x",
            f"{single['seconds'] / chunked['seconds']:.2f}x",
        )
    return table


def _median_cost(costs: Sequence[Cost], length: int, strategy: str) -> dict[str, Any]:
    runs = [cost for cost in costs if (cost.tokens, cost.strategy) == (length, strategy)]
    return {**asdict(runs[0]), "seconds": median(run.seconds for run in runs)}


def _figures(cost: dict[str, Any]) -> list[str]:
    rate = cost["tokens"] * cost["documents"] / cost["seconds"]
    return [
        f"{cost['prefill_tokens'] / 1e3:.1f}", f"{cost['flops'] / 1e12:.0f}", f"{rate / 1e3:.1f}",
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
