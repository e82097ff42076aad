"""Evaluates a model against the rules of `tiny`: `python -m pipelines.tiny.exam`.

The texts are generated with seeds that no training uses. The real engine reads them in the way that
jobs are read: in one pass up to the model's effective length, longer ones in chunks. Prints the
table of the model card.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pipelines.engine.config import EngineConfig
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.job.spec import LongDocuments
from pipelines.job.task_specs import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    EvidenceKind,
    ExtractTask,
    SummarizeTask,
)
from pipelines.models.effective_lengths import TRAINED_LENGTHS
from pipelines.models.resolve import Model, resolve
from pipelines.run.prepared import prepare_tasks
from pipelines.text.tokens import ChatTokenizer, load_tokenizer
from pipelines.tiny import rules
from pipelines.tiny.author import Author, Fact, valid_fields
from pipelines.tiny.scoring import CATEGORIES, QUESTION_PREFIX, Paper, Score, score_answers

LENGTHS = (200, 400, 800, 1400, 3000, 10_000, 50_000, 200_000)
"""The default lengths of texts, in tokens."""
# The lengths of `tiny`, whichever model is evaluated.
SINGLE_PASS_TOKENS = TRAINED_LENGTHS.single_pass_tokens
"""The maximum length, in tokens, of texts that an evaluation reads in one pass."""
LONG_DOCUMENTS = LongDocuments(
    single_pass_tokens=SINGLE_PASS_TOKENS, chunk_tokens=TRAINED_LENGTHS.chunk_tokens
)
"""The settings for long documents in an evaluation, those of `tiny` for every model."""
_MAX_SUMMARY_WORDS = 40
# Fewer long documents than short ones are read (about this many tokens of each length), and more
# questions are asked about each.
_TOKENS_PER_LENGTH, _MIN_DOCUMENTS = 120_000, 3
_QUESTIONS, _QUESTIONS_IF_CHUNKED = 3, 9


@dataclass
class Result:
    """The result of an evaluation at one length of texts.

    `length` is the approximate length in tokens, `documents` the number of texts. `score` is the
    score of all texts, `plain` that of the texts without prompt injections and control strings, and
    `injected` that of the texts with them.
    """

    length: int
    documents: int = 0
    score: Score = field(default_factory=Counter)
    plain: Score = field(default_factory=Counter)
    injected: Score = field(default_factory=Counter)


def main() -> int:
    """Evaluate the model that the command line names, and print the table of `format_table`.

    Prints each row to standard error as soon as it is known. Returns the exit code, 0.
    """
    options = _options()
    model = resolve(options.model)
    engine, tokenizer = start_engine(model)
    try:
        results = asyncio.run(_evaluate_all(options, engine, model, tokenizer))
    finally:
        engine.shutdown()
    print(format_table(results))
    return 0


async def _evaluate_all(
    options: argparse.Namespace, engine: VllmEngine, model: Model, tokenizer: ChatTokenizer
) -> list[Result]:
    results = []
    for length in options.lengths:
        documents = min(options.documents, max(_MIN_DOCUMENTS, _TOKENS_PER_LENGTH // length))
        result = await evaluate(
            engine, model, tokenizer, length, documents, options.seed, options.evidence
        )
        results.append(result)
        print(_row(results[-1]), file=sys.stderr, flush=True)
    return results


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--model", default="tiny", help="a model's name or directory")
    parser.add_argument("--seed", default="exam", help="seed of the texts (default: exam)")
    parser.add_argument(
        "--documents", type=int, default=100, help="maximum number of texts of each length"
    )
    parser.add_argument(
        "--evidence", choices=get_args(EvidenceKind), default="quotes", help="default: quotes"
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, metavar="TOKENS")
    return parser.parse_args()


def start_engine(model: Model) -> tuple[VllmEngine, ChatTokenizer]:
    """Start an engine on the CPU, and return it with the model's tokenizer.

    The engine's maximum length is that of the model's short rope factors. The caller must call the
    engine's `shutdown`. Raises EngineError if the engine does not start.
    """
    tokenizer = load_tokenizer(model.path)
    max_model_len = model.short_rope_len or model.max_model_len
    return VllmEngine(EngineConfig(model, max_model_len, gpu=False), tokenizer), tokenizer


async def evaluate(
    engine: VllmEngine,
    model: Model,
    tokenizer: ChatTokenizer,
    length: int,
    documents: int,
    seed: str,
    evidence: EvidenceKind = "quotes",
) -> Result:
    """Score `engine`, which runs `model`, on `documents` texts of about `length` tokens each.

    Every second text contains a prompt injection and a control string. The same `seed` and `length`
    give the same texts. The engine reads them concurrently. `evidence` is that of the tasks.
    """
    result = Result(length, documents)

    async def evaluate_document(number: int) -> None:
        has_injections = number % 2
        author = Author(f"{seed} {length} {number}", has_injections)
        paper = make_paper(author, length, evidence)
        tasks = prepare_tasks(paper.specs, LONG_DOCUMENTS, model, tokenizer)
        score = await score_answers(paper, tasks, engine)
        result.score += score
        if has_injections:
            result.injected += score
        else:
            result.plain += score

    async with asyncio.TaskGroup() as group:
        for number in range(documents):
            group.create_task(evaluate_document(number))
    return result


def make_paper(author: Author, tokens: int, evidence: EvidenceKind = "quotes") -> Paper:
    """Return an evaluation document: a text of about `tokens` tokens, with tasks of all kinds.

    The ask tasks are about keys that the text states, and one about a key that it most probably
    does not state. A text longer than SINGLE_PASS_TOKENS gets three times as many ask and extract
    tasks.
    """
    count = _QUESTIONS_IF_CHUNKED if tokens > SINGLE_PASS_TOKENS else _QUESTIONS
    text = author.text(tokens, 2 * count)
    rng = author.random
    stated_keys = sorted({fact.key for fact in text.facts})
    keys = [*rng.sample(stated_keys, min(count - 1, len(stated_keys))), author.key()]
    asks = [
        AskTask(name=f"ask_{number}", question=f"{QUESTION_PREFIX}{key}?", evidence=evidence)
        for number, key in enumerate(keys)
    ]
    labels = text.labels
    if rules.label(text.text, (*labels, CANNOT_TELL)) == CANNOT_TELL:
        labels = (*dict.fromkeys((*labels, rules.OTHER)),)
    extracts = [
        ExtractTask(name=f"extract_{number}", fields=_fields(author, text.facts), evidence=evidence)
        for number in range(count // 3)
    ]
    return Paper(
        text,
        (
            *asks,
            *extracts,
            ClassifyTask(name="classify", labels=labels),
            SummarizeTask(name="summarize", max_words=_MAX_SUMMARY_WORDS),
        ),
    )


def _fields(author: Author, facts: Sequence[Fact]) -> dict[str, Any]:
    """Return up to three fields that the text states, and in half of the cases a random one."""
    chosen = author.random.sample(list(facts), min(len(facts), 3))
    fields = dict(fact.field for fact in chosen)
    if author.random.random() < 0.5:
        fields[rules.field_of(author.key())] = "string"
    return valid_fields(fields)


def format_table(results: Sequence[Result]) -> str:
    """Return a Markdown table of the share of correct items in each of CATEGORIES.

    It has one row for each of `results`, then one for all texts without and one for all texts with
    prompt injections.
    """
    head = f"| tokens | documents | {' | '.join(CATEGORIES)} |\n|{'---|' * (len(CATEGORIES) + 2)}"
    rows = [_row(result) for result in results]
    for name in ("plain", "injected"):
        total: Score = sum((getattr(result, name) for result in results), start=Counter())
        rows.append(f"| {name} | | {_cells(total)} |")
    return "\n".join([head, *rows])


def _row(result: Result) -> str:
    return f"| {result.length:,} | {result.documents} | {_cells(result.score)} |"


def _cells(score: Score) -> str:
    return " | ".join(format_share(score, category) for category in CATEGORIES)


def format_share(score: Score, category: str) -> str:
    """Return the share of correct items of `category`, one of CATEGORIES, and the number of all its
    items, such as `98.5% of 200`. Without items it is `0.0% of 0`."""
    total = score[category, True] + score[category, False]
    return f"{score[category, True] / max(total, 1):.1%} of {total}"


if __name__ == "__main__":
    sys.exit(main())
