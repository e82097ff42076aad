"""Examines a model that reads as `tiny` does: `python -m pipelines.tiny.exam`.

Texts by an `Author` with seeds that no training has, read by the real engine in the way that jobs
are read: whole up to the model's effective length, longer ones in chunks. What is right, `rules`
say of the whole text. Prints the table of the model card.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.answer import Engine, answer_document
from pipelines.combining import Combiner, Finding
from pipelines.documents import Document, Fields, Label, Reply, Summary, Usage, Value
from pipelines.engine import EngineConfig, VllmEngine
from pipelines.models import Model, resolve
from pipelines.passages import ids_of_whole, passages
from pipelines.prepared import prepare_tasks
from pipelines.prompts import END_OF_NOTES, NOTES_INSTRUCTION
from pipelines.spec import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    ExtractTask,
    LongDocuments,
    SummarizeTask,
    TaskSpec,
)
from pipelines.tasks import NOT_STATED, Completion, Question, Task, Tasks
from pipelines.tiny import rules
from pipelines.tiny.author import Author, Fact, Text
from pipelines.tokens import Tokens, load_tokens

LENGTHS = (200, 400, 800, 1400, 3000, 10_000, 50_000, 200_000)
KINDS = ("ask", "extract", "classify", "summarize", "quotes")
_QUESTION = "What is the {}?"
_MOST_WORDS = 40
# Of long documents fewer are read, and each is asked more.
_TOKENS_OF_A_LENGTH, _FEWEST = 120_000, 3
_ASKED, _ASKED_OF_LONG = 3, 9
_CACHE_GIB = "2"

Score = Counter[tuple[str, bool]]
"""How many answers of a kind, quotes too, are right (True) and wrong (False)."""


@dataclass(frozen=True)
class Paper:
    """One text, and the tasks that are asked about it."""

    text: Text
    specs: tuple[TaskSpec, ...]


@dataclass
class Result:
    """The score of all documents of a length, of those without anything that leads astray, and of
    those with it."""

    length: int
    documents: int = 0
    score: Score = field(default_factory=Counter)
    plain: Score = field(default_factory=Counter)
    trapped: Score = field(default_factory=Counter)


def main() -> int:
    options = _options()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", _CACHE_GIB)
    model = resolve(options.model)
    engine, tokens = start(model)
    results = []
    try:
        for length in options.lengths:
            most = max(_FEWEST, min(options.documents, _TOKENS_OF_A_LENGTH // length))
            results.append(asyncio.run(examine(engine, model, tokens, length, most, options.seed)))
            print(_row(results[-1]), file=sys.stderr, flush=True)
    finally:
        engine.shutdown()
    print(table(results))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--model", default="tiny", help="a model's name or directory")
    parser.add_argument("--seed", default="exam", help="another one makes other texts")
    parser.add_argument("--documents", type=int, default=100, help="the most of a length")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, metavar="TOKENS")
    return parser.parse_args()


def start(model: Model) -> tuple[VllmEngine, Tokens]:
    tokens = load_tokens(model.path)
    length = model.short_rope_len or model.max_model_len
    return VllmEngine(EngineConfig(model, length, gpu=False), tokens), tokens


async def examine(
    engine: VllmEngine, model: Model, tokens: Tokens, length: int, documents: int, seed: str
) -> Result:
    """Ask about so many documents of about so many tokens, every other one with traps."""
    result = Result(length, documents)

    async def one(number: int) -> None:
        astray = number % 2
        paper = set_paper(Author(f"{seed} {length} {number}", astray), length)
        tasks = prepare_tasks(paper.specs, LongDocuments(), model, tokens)
        score = await marked(paper, tasks, engine)
        result.score += score
        if astray:
            result.trapped += score
        else:
            result.plain += score

    async with asyncio.TaskGroup() as group:
        for number in range(documents):
            group.create_task(one(number))
    return result


def set_paper(author: Author, tokens: int) -> Paper:
    """A text of about so many tokens, and questions about facts that it states and does not."""
    most = _ASKED if tokens <= LENGTHS[3] else _ASKED_OF_LONG
    text = author.text(tokens, 2 * most)
    pick = author.random
    known = sorted({fact.key for fact in text.facts})
    keys = [*pick.sample(known, min(most - 1, len(known))), author.key()]
    asks = [
        AskTask(name=f"ask_{at}", question=_QUESTION.format(key)) for at, key in enumerate(keys)
    ]
    labels = text.labels
    if rules.label(text.text, (*labels, CANNOT_TELL)) == CANNOT_TELL:
        labels = (*dict.fromkeys((*labels, rules.OTHER)),)
    forms = [
        ExtractTask(name=f"extract_{at}", fields=_fields(author, text.facts))
        for at in range(most // 3)
    ]
    return Paper(
        text,
        (
            *asks,
            *forms,
            ClassifyTask(name="classify", labels=labels),
            SummarizeTask(name="summarize", max_words=_MOST_WORDS),
        ),
    )


def _fields(author: Author, facts: Sequence[Fact]) -> dict[str, Any]:
    """Up to three fields that the text states, and one more that it does not."""
    chosen = author.random.sample(list(facts), min(len(facts), 3))
    fields: dict[str, Any] = {}
    for fact in chosen:
        kind = "string" if fact.kind == "code" else fact.kind
        fields[rules.field_of(fact.key)] = [kind] if fact.listed else kind
    if author.random.random() < 0.5:
        fields[rules.field_of(author.key())] = "string"
    return {name: kind for name, kind in fields.items() if name != "quotes"} or {"no": "date"}


async def marked(paper: Paper, tasks: Tasks, engine: Engine) -> Score:
    """The score of the engine's answers."""
    document = Document("d", paper.text.text)
    outcome = await answer_document(document, tasks, engine)
    score: Score = Counter()
    for task, answer in zip(tasks.each, outcome.answers, strict=True):
        score.update([mark async for mark in _marks(paper.text.text, task, answer.value, tasks)])
    return score


async def _marks(
    text: str, task: Task, value: Value | None, tasks: Tasks
) -> AsyncIterator[tuple[str, bool]]:
    """Kind and whether it is right, for an answer, each of its fields, each of its quotes."""
    spec = task.spec
    match spec:
        case AskTask():
            key = spec.question.removeprefix(_QUESTION[:-3]).removesuffix("?")
            right = next(iter(rules.stated(text, key)), NOT_STATED)
            yield "ask", isinstance(value, Reply) and value.text == right
        case ExtractTask(fields=dict() as fields):
            found = value.values if isinstance(value, Fields) else {}
            for name, wanted in json.loads(rules.form(text, fields)).items():
                if name != "quotes":
                    yield "extract", found.get(name, "") == wanted
        case ClassifyTask():
            label = value.label if isinstance(value, Label) else None
            yield "classify", label in _labels(text, spec.labels, tasks)
        case SummarizeTask():
            summary = value.text if isinstance(value, Summary) else None
            yield "summarize", summary == await _summary(text, task, tasks)
    if isinstance(value, Reply | Fields):
        for quote in value.quotes:
            yield "quotes", quote.verified


def _seen(text: str, tasks: Tasks) -> Iterator[tuple[int, int]]:
    """The stretches of the text that are asked about."""
    ids = ids_of_whole(text, tasks)
    strategy = tasks.reading.strategy(len(ids) if ids is not None else sys.maxsize)
    assert strategy is not None
    for passage in passages(text, ids, strategy, tasks):
        yield passage.chunk.start, passage.chunk.end


def _labels(text: str, labels: Sequence[str], tasks: Tasks) -> set[str]:
    """The label that is right; more where chunks that are read rightly vote for different ones."""
    seen = list(_seen(text, tasks))
    if len(seen) == 1:
        return {rules.label(text, labels)}
    told = {rules.label(text[start:end], (*labels, CANNOT_TELL)) for start, end in seen}
    return (told - {CANNOT_TELL}) or {rules.label(text, labels)}


async def _summary(text: str, task: Task, tasks: Tasks) -> str:
    """The summary by one who makes no mistake about any chunk or note."""
    tokens = tasks.tokens

    async def ask(shared: Sequence[int], asked: Question) -> Completion:
        notes = tokens.decode(shared).partition(NOTES_INSTRUCTION)[2].rpartition(END_OF_NOTES)[0]
        each = [note.strip() for note in notes.strip().removeprefix("- ").split("\n\n - ")]
        answer = tokens.encode(rules.combined_summary(each))[: asked.sampling.max_tokens]
        return Completion(tokens.read(answer), Usage(), "stop")

    most = task.part_question.sampling.max_tokens
    findings = []
    for start, end in _seen(text, tasks):
        said = tokens.read(tokens.encode(rules.summary(text[start:end]))[:most])
        findings.append(Finding(start, end, Summary(said.strip())))
    combiner = Combiner(text, tasks.prompts, tasks.reading.notes_limit, ask)
    combined = await combiner.combine(task, findings)
    assert isinstance(combined, Summary)
    return combined.text


def table(results: Sequence[Result]) -> str:
    """A Markdown table: a row a length."""
    head = f"| tokens | documents | {' | '.join(KINDS)} |\n|{'---|' * (len(KINDS) + 2)}"
    rows = [_row(result) for result in results]
    for name in ("plain", "trapped"):
        whole: Score = sum((getattr(each, name) for each in results), start=Counter())
        rows.append(f"| {name} | | {_cells(whole)} |")
    return "\n".join([head, *rows])


def _row(result: Result) -> str:
    return f"| {result.length:,} | {result.documents} | {_cells(result.score)} |"


def _cells(score: Score) -> str:
    return " | ".join(share(score, kind) for kind in KINDS)


def share(score: Score, kind: str) -> str:
    """`98.5 % of 200`."""
    asked = score[kind, True] + score[kind, False]
    return f"{score[kind, True] / max(asked, 1):.1%} of {asked}"


if __name__ == "__main__":
    sys.exit(main())
