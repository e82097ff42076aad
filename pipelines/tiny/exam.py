"""Examines a model that reads as `tiny` does: `python -m pipelines.tiny.exam`.

Texts by an `Author` with seeds that no training has, read by the real engine in the way that jobs
are read: whole up to the model's effective length, longer ones in chunks. What is right, `rules`
say of the whole text. Prints the table of the model card.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.answering.answer import answer_document
from pipelines.answering.combining import Combiner, Finding
from pipelines.answering.passages import passages, single_pass_ids
from pipelines.answering.protocols import Engine
from pipelines.documents import AnswerValue, Document, Fields, Label, Reply, Summary, Usage
from pipelines.engine.config import EngineConfig
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.job.spec import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    ExtractTask,
    LongDocuments,
    SummarizeTask,
    TaskSpec,
)
from pipelines.models.resolve import TRAINED_LENGTHS, Model, resolve
from pipelines.run.prepared import prepare_tasks
from pipelines.tasks.extraction import QUOTES
from pipelines.tasks.kinds import NOT_STATED, Completion, Question, Task, TaskSet
from pipelines.tasks.merging import merge, vote
from pipelines.text.prompts import END_OF_NOTES, NOTES_INSTRUCTION
from pipelines.text.tokens import ChatTokenizer, load_tokenizer
from pipelines.tiny import rules
from pipelines.tiny.author import Author, Fact, Text, form_of

LENGTHS = (200, 400, 800, 1400, 3000, 10_000, 50_000, 200_000)
ASK, UNTOLD, EXTRACT, CLASSIFY, SUMMARIZE, QUOTE = MARKS = (
    "ask", "not stated", "extract", "classify", "summarize", "quote",
)  # fmt: skip
"""What is marked: answers to questions that the text answers and that it does not, fields, labels,
summaries, and the quotes of what is stated."""

# Whatever the model that is examined is called.
WHOLE_TOKENS = TRAINED_LENGTHS.single_pass_tokens
READING = LongDocuments(single_pass_tokens=WHOLE_TOKENS, chunk_tokens=TRAINED_LENGTHS.chunk_tokens)
_QUESTION = "What is the "
_MOST_WORDS = 40
# Of long documents fewer are read, and each is asked more.
_TOKENS_OF_A_LENGTH, _FEWEST = 120_000, 3
_ASKED, _ASKED_OF_LONG = 3, 9

Score = Counter[tuple[str, bool]]
"""How many of what is marked are right (True) and wrong (False)."""

Spans = Sequence[tuple[int, int]]
"""The stretches of a text that are asked about."""


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
    model = resolve(options.model)
    engine, tokens = start(model)
    try:
        results = asyncio.run(_examine_all(options, engine, model, tokens))
    finally:
        engine.shutdown()
    print(table(results))
    return 0


async def _examine_all(
    options: argparse.Namespace, engine: VllmEngine, model: Model, tokens: ChatTokenizer
) -> list[Result]:
    results = []
    for length in options.lengths:
        documents = min(options.documents, max(_FEWEST, _TOKENS_OF_A_LENGTH // length))
        results.append(await examine(engine, model, tokens, length, documents, options.seed))
        print(_row(results[-1]), file=sys.stderr, flush=True)
    return results


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--model", default="tiny", help="a model's name or directory")
    parser.add_argument("--seed", default="exam", help="another one makes other texts")
    parser.add_argument("--documents", type=int, default=100, help="the most of a length")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, metavar="TOKENS")
    return parser.parse_args()


def start(model: Model) -> tuple[VllmEngine, ChatTokenizer]:
    """An engine as long as the model's short rope factors hold, and the model's tokens."""
    tokens = load_tokenizer(model.path)
    length = model.short_rope_len or model.max_model_len
    return VllmEngine(EngineConfig(model, length, gpu=False), tokens), tokens


async def examine(
    engine: VllmEngine, model: Model, tokens: ChatTokenizer, length: int, documents: int, seed: str
) -> Result:
    """Ask about so many documents of about so many tokens, every other one with traps."""
    result = Result(length, documents)

    async def one(number: int) -> None:
        astray = number % 2
        paper = set_paper(Author(f"{seed} {length} {number}", astray), length)
        tasks = prepare_tasks(paper.specs, READING, model, tokens)
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
    most = _ASKED_OF_LONG if tokens > WHOLE_TOKENS else _ASKED
    text = author.text(tokens, 2 * most)
    pick = author.random
    known = sorted({fact.key for fact in text.facts})
    keys = [*pick.sample(known, min(most - 1, len(known))), author.key()]
    asks = [AskTask(name=f"ask_{at}", question=f"{_QUESTION}{key}?") for at, key in enumerate(keys)]
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
    fields = dict(fact.field for fact in chosen)
    if author.random.random() < 0.5:
        fields[rules.field_of(author.key())] = "string"
    return form_of(fields)


async def marked(paper: Paper, tasks: TaskSet, engine: Engine) -> Score:
    """The score of the engine's answers."""
    document = Document("d", paper.text.text)
    outcome = await answer_document(document, tasks, engine)
    seen = list(_seen(paper.text.text, tasks))
    score: Score = Counter()
    for task, answer in zip(tasks.all, outcome.answers, strict=True):
        marks = _marks(paper.text.text, seen, task, answer.value, tasks)
        score.update([mark async for mark in marks])
    return score


async def _marks(
    text: str, seen: Spans, task: Task, value: AnswerValue | None, tasks: TaskSet
) -> AsyncIterator[tuple[str, bool]]:
    """What is marked in the answer of one task, and whether it is right."""
    spec = task.spec
    match spec:
        case AskTask():
            key = spec.question.removeprefix(_QUESTION).removesuffix("?")
            stated = rules.stated(text, key)
            right = stated[0] if stated else NOT_STATED
            yield ASK if stated else UNTOLD, isinstance(value, Reply) and value.text == right
            if stated:
                yield QUOTE, _quoted(value, key, stated)
        case ExtractTask(fields=dict() as fields):
            found = value.values if isinstance(value, Fields) else {}
            for name, wanted in _form(text, fields, seen, task).items():
                yield EXTRACT, found.get(name, "") == wanted
                key = rules.key_of(name)
                if stated := rules.stated(text, key):
                    yield QUOTE, _quoted(value, key, stated, name)
        case ClassifyTask():
            label = value.label if isinstance(value, Label) else None
            yield CLASSIFY, label in await _labels(text, seen, task, tasks)
        case SummarizeTask():
            summary = value.text if isinstance(value, Summary) else None
            yield SUMMARIZE, summary == await _summary(text, seen, task, tasks)


def _quoted(
    value: AnswerValue | None, key: str, stated: Sequence[str], field: str | None = None
) -> bool:
    """Whether an answer quotes a line of the text that states the key."""
    quotes = value.quotes if isinstance(value, Reply | Fields) else ()
    lines = {rules.line(key, each) for each in stated}
    return any(
        quote.verified and quote.text in lines for quote in quotes if quote.field in (field, None)
    )


def _seen(text: str, tasks: TaskSet) -> Iterator[tuple[int, int]]:
    """The stretches of the text that are asked about."""
    ids = single_pass_ids(text, tasks)
    strategy = tasks.reading.strategy(len(ids) if ids is not None else sys.maxsize)
    assert strategy is not None
    for passage in passages(text, ids, strategy, tasks):
        yield passage.chunk.start, passage.chunk.end


def _form(text: str, fields: Mapping[str, Any], seen: Spans, task: Task) -> dict[str, Any]:
    """What the rules find in the text, but for its lists, which are joined from what they find in
    each chunk."""

    def found(part: str) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(rules.form(part, fields))
        return {name: value for name, value in values.items() if name != QUOTES}

    values = found(text)
    assert task.schema is not None
    parts = [Fields(found(text[start:end]), ()) for start, end in seen]
    joined = merge(parts, task.schema).values
    lists = (name for name, kind in fields.items() if isinstance(kind, list))
    return values | {name: joined[name] for name in lists}


async def _labels(text: str, seen: Spans, task: Task, tasks: TaskSet) -> Sequence[str]:
    """The label that is right, more than one where as many chunks tell one as the other."""
    spec = task.spec
    assert isinstance(spec, ClassifyTask)
    if len(seen) == 1:
        return [rules.label(text, spec.labels)]
    told = [rules.label(text[start:end], (*spec.labels, CANNOT_TELL)) for start, end in seen]
    voting = [Label(label) for label in told if label != CANNOT_TELL]
    if voting:
        return vote(voting).tied

    def begins(notes: str, asked: Question) -> str:
        return rules.label(notes, asked.sampling.choices or ())

    label = await _combined(text, seen, task, [Label(CANNOT_TELL)] * len(seen), begins, tasks)
    assert isinstance(label, Label)
    return [label.label]


async def _summary(text: str, seen: Spans, task: Task, tasks: TaskSet) -> str:
    """The summary by one who makes no mistake about any chunk or note."""
    tokens = tasks.tokenizer

    def cut(summary: str, asked: Question) -> str:
        return tokens.decode_output(tokens.encode(summary)[: asked.sampling.max_tokens])

    def joined(notes: str, asked: Question) -> str:
        return cut(rules.combined_summary(rules.notes(notes)), asked)

    said = [rules.summary(text[start:end]) for start, end in seen]
    summaries = [Summary(cut(each, task.chunk_question).strip()) for each in said]
    summary = await _combined(text, seen, task, summaries, joined, tasks)
    assert isinstance(summary, Summary)
    return summary.text


async def _combined(
    text: str,
    seen: Spans,
    task: Task,
    values: Sequence[AnswerValue],
    answer: Callable[[str, Question], str],
    tasks: TaskSet,
) -> AnswerValue:
    """What phifleet makes of chunks' answers, with `answer` to whatever it asks about them."""

    async def ask(shared: Sequence[int], asked: Question) -> Completion:
        told = tasks.tokenizer.decode(shared).partition(NOTES_INSTRUCTION)[2]
        return Completion(answer(told.rpartition(END_OF_NOTES)[0].strip(), asked), Usage(), "stop")

    told_of = zip(seen, values, strict=True)
    findings = [Finding(start, end, value) for (start, end), value in told_of]
    combiner = Combiner(text, tasks.prompts, tasks.reading.combine_prompt_limit, ask)
    return await combiner.combine(task, findings)


def table(results: Sequence[Result]) -> str:
    """A Markdown table: a row a length."""
    head = f"| tokens | documents | {' | '.join(MARKS)} |\n|{'---|' * (len(MARKS) + 2)}"
    rows = [_row(result) for result in results]
    for name in ("plain", "trapped"):
        whole: Score = sum((getattr(each, name) for each in results), start=Counter())
        rows.append(f"| {name} | | {_cells(whole)} |")
    return "\n".join([head, *rows])


def _row(result: Result) -> str:
    return f"| {result.length:,} | {result.documents} | {_cells(result.score)} |"


def _cells(score: Score) -> str:
    return " | ".join(share(score, kind) for kind in MARKS)


def share(score: Score, kind: str) -> str:
    """`98.5 % of 200`."""
    asked = score[kind, True] + score[kind, False]
    return f"{score[kind, True] / max(asked, 1):.1%} of {asked}"


if __name__ == "__main__":
    sys.exit(main())
