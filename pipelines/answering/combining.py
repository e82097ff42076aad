"""One answer of a document from what its chunks said, by more questions where they are needed.

`summarize`: summaries are combined level by level until one fits; `ask`: the same with evidence,
and no question where all evidence says the same; `classify`: a vote, of which a tie is settled by a
question; `extract`: values are merged, and conflicts settled by a question. What a quote shows in
the document is not put beside what no quote shows. Every prompt fits `limit`, every level is
shorter than the one before it. Knows no engine: whoever calls gives `ask`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.documents import AnswerValue, Fields, Label, Quote, Reply, Summary
from pipelines.errors import InvalidAnswer
from pipelines.job.spec import CANNOT_TELL
from pipelines.tasks.kinds import (
    NOT_STATED,
    QUOTE_PREFIX,
    Completion,
    Question,
    Sampling,
    Task,
    is_not_stated,
    label_question,
    make_question,
    normalize_reply,
    parse_label,
    split_reply,
)
from pipelines.tasks.merging import (
    Candidate,
    Conflict,
    FieldPath,
    merge,
    merged_quotes,
    normalize_text,
    prefer_verified,
    vote,
)
from pipelines.text.grounding import locate
from pipelines.text.prompts import Prompts, context_span

AskModel = Callable[[Sequence[int], Question], Coroutine[Any, Any, Completion]]
"""Puts a question after shared ids to the engine. Raises RequestRejected."""

Note = tuple[int, ...]
_NUMBER_TOKENS = 6
_CHARACTERS_PER_TOKEN = 4
_CANDIDATE_TOKENS = 160


@dataclass(frozen=True, slots=True)
class Finding:
    """What one chunk, text[start:end] of the document, said to one task."""

    start: int
    end: int
    value: AnswerValue


@dataclass(frozen=True)
class Combiner:
    """Combines the findings of one document. `limit` is the most that a prompt may take."""

    text: str
    prompts: Prompts
    limit: int
    ask: AskModel

    async def combine(self, task: Task, findings: Sequence[Finding]) -> AnswerValue:
        """The document's answer from its chunks', which are in order, at least one.

        Raises RequestRejected, and InvalidAnswer where the engine settles nothing.
        """
        values = [finding.value for finding in findings]
        match values[0]:
            case Summary():
                return await self._summary(task, [v.text for v in values if isinstance(v, Summary)])
            case Label():
                return await self._label(task, findings)
            case Reply():
                return await self._reply(task, findings)
            case Fields():
                return await self._fields(task, [v for v in values if isinstance(v, Fields)])

    async def _summary(self, task: Task, summaries: Sequence[str]) -> Summary:
        if len(summaries) == 1:
            return Summary(summaries[0])
        assert task.combine_question is not None
        return Summary((await self._in_levels(summaries, task.combine_question)).text.strip())

    async def _reply(self, task: Task, findings: Sequence[Finding]) -> Reply:
        replies = [found.value for found in findings if isinstance(found.value, Reply)]
        told = prefer_verified(
            [
                (found, found.value)
                for found in findings
                if isinstance(found.value, Reply) and not is_not_stated(found.value.text)
            ],
            lambda pair: pair[1].quotes,
        )
        evidence = [reply for _, reply in told]
        if not evidence:
            quotes = tuple(quote for reply in replies for quote in reply.quotes)
            unverified = any(reply.text is None for reply in replies)
            return Reply(None, quotes) if unverified else Reply(NOT_STATED)
        quotes = tuple(dict.fromkeys(quote for reply in evidence for quote in reply.quotes))
        if len({normalize_text(str(reply.text)) for reply in evidence}) == 1:
            return Reply(evidence[0].text, quotes)
        assert task.combine_question is not None
        notes = [_note_of(reply) for reply in evidence]
        spoken, quoted = split_reply((await self._in_levels(notes, task.combine_question)).text)
        shown = tuple(self._quote(words, quotes, [found for found, _ in told]) for words in quoted)
        agreeing = [r for r in evidence if normalize_text(str(r.text)) == normalize_text(spoken)]
        own = tuple(dict.fromkeys(quote for reply in agreeing for quote in reply.quotes))
        return normalize_reply(task.spec, spoken, shown or own)

    def _quote(self, words: str, known: Sequence[Quote], told: Sequence[Finding]) -> Quote:
        """A quote of the combined answer: one of the chunks' own, or in a chunk that told it."""
        same = [quote for quote in known if normalize_text(quote.text) == normalize_text(words)]
        if same:
            return same[0]
        spans = (context_span(self.text, found.start, found.end) for found in told)
        looked_up = (locate(words, self.text, *span) for span in spans)
        missing = Quote(words, None, None, verified=False)
        return next((quote for quote in looked_up if quote.verified), missing)

    async def _in_levels(self, notes: Sequence[str], asked: Question) -> Completion:
        """Combine notes, some at a time, until one prompt takes them all.

        Two notes as long as their answers may be fit a prompt in every model that holds three; in
        one that does not, they are cut off.
        """
        room = self._room(asked)
        while True:
            most = room if len(notes) == 1 else room // 2
            told = [tuple(self.prompts.note(f"- {note}", most)) for note in notes]
            groups = list(_packed(told, room))
            if len(groups) == 1:
                return await self.ask(self.prompts.notes(groups[0]), asked)
            async with asyncio.TaskGroup() as level:
                tasks = [
                    level.create_task(self.ask(self.prompts.notes(group), asked))
                    for group in groups
                ]
            notes = [task.result().text.strip() for task in tasks]

    def _room(self, asked: Question) -> int:
        """Tokens of notes that a prompt can hold."""
        beside = self.prompts.notes_overhead + len(asked.token_ids) + asked.sampling.max_tokens
        return self.limit - beside

    async def _label(self, task: Task, findings: Sequence[Finding]) -> Label:
        labels = [found.value for found in findings if isinstance(found.value, Label)]
        voting = [label for label in labels if label.label != CANNOT_TELL]
        if not voting:
            return await self._label_of_opening(task)
        votes = vote(voting)
        tied = votes.tied
        if len(tied) == 1:
            return Label(tied[0], votes.share(tied[0]))
        asked = label_question(tied, self.prompts.tokenizer)
        most = self._room(asked) // len(tied)
        surest = sorted((_surest(findings, label) for label in tied), key=lambda each: each.start)
        notes = [self.prompts.note(self.text[each.start : each.end], most) for each in surest]
        completion = await self.ask(self.prompts.notes(notes), asked)
        label = parse_label(completion, tied).label
        return Label(label, votes.share(label))

    async def _label_of_opening(self, task: Task) -> Label:
        """The label of a document of which no chunk alone tells it, by how it begins."""
        most = self._room(task.question)
        begins = self.prompts.note(self.text[: most * _CHARACTERS_PER_TOKEN], most)
        completion = await self.ask(self.prompts.notes([begins]), task.question)
        return parse_label(completion, task.question.sampling.choices or ())

    async def _fields(self, task: Task, findings: Sequence[Fields]) -> Fields:
        assert task.schema is not None
        merged = merge(findings, task.schema)
        if merged.conflicts:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(self._settle(each)) for each in merged.conflicts]
            merged = merge(findings, task.schema, dict(task.result() for task in asked))
        return Fields(merged.values, merged_quotes(findings, merged.values))

    async def _settle(self, conflict: Conflict) -> tuple[FieldPath, Any]:
        """The candidate that a question which shows them all, with their quotes, finds right."""
        candidates = self._fitting(conflict)
        notes = [self._candidate(*each) for each in enumerate(candidates, 1)]
        numbers = tuple(str(number) for number, _ in enumerate(candidates, 1))
        asked = self._which(conflict, numbers)
        answer = (await self.ask(self.prompts.notes(notes), asked)).text.strip()
        if answer not in numbers:
            raise InvalidAnswer(f"{answer[:80]!r} is the number of no value of the field")
        return conflict.path, candidates[int(answer) - 1].value

    def _which(self, conflict: Conflict, numbers: tuple[str, ...]) -> Question:
        text = f"Which value of {'.'.join(conflict.path)} is right? Answer with its number."
        return make_question(
            text, Sampling(_NUMBER_TOKENS, choices=numbers), self.prompts.tokenizer
        )

    def _fitting(self, conflict: Conflict) -> list[Candidate]:
        """The candidates that a prompt can hold, those that most chunks state, in their order."""
        room = self._room(self._which(conflict, ("1",)))
        most = range(len(conflict.candidates))
        kept = []
        for place in sorted(most, key=lambda at: -conflict.candidates[at].chunks):
            room -= len(self._candidate(len(most), conflict.candidates[place]))
            if room < 0:
                break
            kept.append(place)
        return [conflict.candidates[place] for place in sorted(kept)]

    def _candidate(self, number: int, candidate: Candidate) -> Note:
        quote = candidate.quote
        shown = f' - the document says: "{quote.text}"' if quote and quote.verified else ""
        text = f"{number}. {json.dumps(candidate.value, ensure_ascii=False)}{shown}"
        return tuple(self.prompts.note(text, _CANDIDATE_TOKENS))


def _note_of(reply: Reply) -> str:
    quotes = "".join(f"\n  {QUOTE_PREFIX} {quote.text}" for quote in reply.quotes)
    return f"{reply.text}{quotes}"


def _packed(notes: Sequence[Note], room: int) -> Iterator[list[Note]]:
    """The notes in groups that fit the room, in order. A note alone fits it."""
    group: list[Note] = []
    filled = 0
    for note in notes:
        if group and filled + len(note) > room:
            yield group
            group, filled = [], 0
        group.append(note)
        filled += len(note)
    yield group


def _surest(findings: Sequence[Finding], label: str) -> Finding:
    """The chunk that is surest of a label."""
    of_it = [
        (found.value.weight, found)
        for found in findings
        if isinstance(found.value, Label) and found.value.label == label
    ]
    return max(of_it, key=lambda pair: pair[0])[1]
