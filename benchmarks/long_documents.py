"""What a long document costs in one pass and in chunks, by its length: one table.

The real engine with the built-in model, one engine for whole documents and one for chunks, in
turns; medians. FLOPs are those of Phi-3-mini by the cost model, for the very passages that were
read. Seconds are this machine's with a tiny model, whose attention weighs less than Phi-3's.
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
from pipelines.job.spec import LongDocuments, SummarizeTask
from pipelines.models.cost import CPU, CostModel
from pipelines.models.resolve import Model, resolve
from pipelines.run.prepared import prepare_tasks
from pipelines.tasks.kinds import TaskSet
from pipelines.text.lengths import MAP_REDUCE, SINGLE
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

LENGTHS = (4096, 8192, 16_384, 32_768, 65_536, 128_000)
# At least so many tokens are read for one measurement, and at least one document.
_LEAST_TOKENS = 65_536
_WORDS = 4
# The shape in Phi-3-mini-128k-instruct's config.json.
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


@dataclass(frozen=True)
class Cost:
    """What documents of one length took, read in one way. `prefill_tokens` and `flops` are those of
    one document, `seconds` of all `documents` together."""

    tokens: int
    strategy: str
    documents: int
    passages: int
    prefill_tokens: int
    flops: float
    seconds: float


def main() -> int:
    options = _options()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    model = resolve("tiny-random")
    tokens = load_tokenizer(model.path)
    costs: list[Cost] = []
    with _noise_aside():
        for turn in range(options.runs):
            for strategy in (SINGLE, MAP_REDUCE):
                costs += asyncio.run(_measure(strategy, model, tokens, options.lengths))
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
    parser.add_argument("--runs", type=int, default=3, help="runs of each way (default: 3)")
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS), metavar="TOKENS")
    parser.add_argument("--output", type=Path, default=Path("build/long_documents.json"))
    return parser.parse_args()


@contextmanager
def _noise_aside() -> Iterator[None]:
    """What vLLM prints on standard output goes to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)


async def _measure(
    strategy: str, model: Model, tokens: ChatTokenizer, lengths: Sequence[int]
) -> list[Cost]:
    """All lengths with one engine, which is as long as its prompts need."""
    wanted = LongDocuments(strategy=strategy)  # type: ignore[arg-type]  # one of its literals
    tasks = prepare_tasks((SummarizeTask(name="s", max_words=_WORDS),), wanted, model, tokens)
    longest = tasks.reading.chunk_prompt_limit if strategy == MAP_REDUCE else model.max_model_len
    engine = VllmEngine(EngineConfig(model, longest, gpu=False), tokens)
    try:
        await answer_document(Document("warm", _text(1000, tokens, 0)), tasks, engine)
        return [await _cost(length, strategy, tasks, engine) for length in lengths]
    finally:
        engine.shutdown()


async def _cost(length: int, strategy: str, tasks: TaskSet, engine: VllmEngine) -> Cost:
    count = max(1, _LEAST_TOKENS // length)
    texts = [_text(length, tasks.tokenizer, number) for number in range(count)]
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number, text in enumerate(texts):
            group.create_task(_answered(Document(str(number), text), tasks, engine))
    seconds = time.monotonic() - began
    read = list(passages(texts[0], tasks.tokenizer.encode(texts[0]), strategy, tasks))
    question = len(tasks.all[0].chunk_question.token_ids)
    shown = np.array([len(each.prefix.token_ids) for each in read], dtype=np.float64)
    flops = CostModel(PHI3_MINI, CPU, tasks.reading).prefill_flops(shown, question)
    prefill = int(shown.sum()) + len(read) * question
    return Cost(length, strategy, count, len(read), prefill, float(flops.sum()), seconds)


async def _answered(document: Document, tasks: TaskSet, engine: VllmEngine) -> None:
    outcome = await answer_document(document, tasks, engine)
    if not outcome.answered:
        raise SystemExit(f"{document.doc_id}: {outcome.dead_letters()[0].problem.message}")


def _text(length: int, tokens: ChatTokenizer, number: int) -> str:
    """Real text of so many tokens, that begins as no other does."""
    whole = "\n\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))
    shift = 5000 * number
    text = f"{number:05d}\n\n{whole[shift:]}{whole}{whole[:shift]}"
    return tokens.decode_output(tokens.encode(text)[:length])


def _table(costs: Sequence[Cost]) -> Table:
    table = Table(title="one document: prefill tokens, Phi-3-mini's FLOPs, tokens/s here")
    table.add_column("tokens", justify="right")
    for way in ("one pass", "chunks"):
        for name in ("k prefill", "TFLOPs", "k tok/s"):
            table.add_column(f"{way} {name}", justify="right")
    for name in ("chunks", "FLOPs saved", "speed-up here"):
        table.add_column(name, justify="right")
    for length in sorted({cost.tokens for cost in costs}):
        one, many = (_middle(costs, length, strategy) for strategy in (SINGLE, MAP_REDUCE))
        table.add_row(
            f"{length:,}",
            *_figures(one),
            *_figures(many),
            str(many["passages"]),
            f"{one['flops'] / many['flops']:.2f}x",
            f"{one['seconds'] / many['seconds']:.2f}x",
        )
    return table


def _middle(costs: Sequence[Cost], length: int, strategy: str) -> dict[str, Any]:
    runs = [cost for cost in costs if (cost.tokens, cost.strategy) == (length, strategy)]
    return {**asdict(runs[0]), "seconds": median(run.seconds for run in runs)}


def _figures(cost: dict[str, Any]) -> list[str]:
    rate = cost["tokens"] * cost["documents"] / cost["seconds"]
    return [
        f"{cost['prefill_tokens'] / 1e3:.1f}", f"{cost['flops'] / 1e12:.0f}", f"{rate / 1e3:.1f}",
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
