"""Combine the findings of a document's chunks into one answer, with further prompts if needed.

- `summarize`: summaries are combined in levels until one is left.
- `ask`: replies with their quotes are combined in the same way, without a prompt if all agree.
- `classify`: the chunks vote; a tie is decided by a prompt.
- `extract`: values are merged; each conflict is decided by a prompt (`conflicts.py`).

A finding without a verified quote is ignored if another finding has one. Every prompt fits `limit`.
Knows no engine: the caller passes a function that sends a question to one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.answering.conflicts import AskModel, ConflictResolver, Note, free_tokens
from pipelines.documents import AnswerValue, Fields, Label, Quote, Reply, Summary
from pipelines.job.spec import CANNOT_TELL
from pipelines.tasks.kinds import (
    Completion,
    Question,
    Task,
    label_question,
)
from pipelines.tasks.merging import merge, merged_quotes, normalize_text, prefer_verified
from pipelines.tasks.not_stated import is_not_stated
from pipelines.tasks.parsing import parse_label
from pipelines.tasks.replies import NOT_STATED, QUOTE_PREFIX, normalize_reply, split_reply
from pipelines.tasks.statements import ChunkFields
from pipelines.tasks.voting import vote
from pipelines.text.grounding import locate
from pipelines.text.prompts import Prompts, context_span

# A rough upper estimate: tokenizing more characters than a prompt holds would be wasted work.
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """The value that one chunk, text[start:end] of the document, gave for one task."""

    start: int
    end: int
    value: AnswerValue


@dataclass(frozen=True)
class Combiner:
    """Combines the findings of one document.

    Attributes:
        text: the document.
        prompts: builds the prompts.
        limit: the maximum length of a prompt together with its answer, in tokens.
        ask: sends a question to the engine.
    """

    text: str
    prompts: Prompts
    limit: int
    ask: AskModel

    async def combine(self, task: Task, findings: Sequence[Finding]) -> AnswerValue:
        """Return the answer of `task` about the whole document.

        `findings` are those of the document's chunks, at least one, in document order. Raises
        RequestRejected, or InvalidAnswer if the engine's answer to a combining prompt cannot be
        used; either may be in an ExceptionGroup.
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
                return await self._fields(task, _chunk_fields(findings))

    async def _summary(self, task: Task, summaries: Sequence[str]) -> Summary:
        if len(summaries) == 1:
            return Summary(summaries[0])
        assert task.combine_question is not None
        return Summary((await self._in_levels(summaries, task.combine_question)).text.strip())

    async def _reply(self, task: Task, findings: Sequence[Finding]) -> Reply:
        replies = [finding.value for finding in findings if isinstance(finding.value, Reply)]
        stating = prefer_verified(
            [
                (finding, finding.value)
                for finding in findings
                if isinstance(finding.value, Reply) and not is_not_stated(finding.value.text)
            ],
            lambda pair: pair[1].quotes,
        )
        evidence = [reply for _, reply in stating]
        if not evidence:
            quotes = tuple(quote for reply in replies for quote in reply.quotes)
            unverified = any(reply.text is None for reply in replies)
            return Reply(None, quotes) if unverified else Reply(NOT_STATED)
        quotes = tuple(dict.fromkeys(quote for reply in evidence for quote in reply.quotes))
        if len({normalize_text(str(reply.text)) for reply in evidence}) == 1:
            return Reply(evidence[0].text, quotes)
        assert task.combine_question is not None
        notes = [_note_text(reply) for reply in evidence]
        combined = (await self._in_levels(notes, task.combine_question)).text
        reply_text, quoted = split_reply(combined)
        sources = [finding for finding, _ in stating]
        located = tuple(self._quote(words, quotes, sources) for words in quoted)
        agreeing = [
            reply
            for reply in evidence
            if normalize_text(str(reply.text)) == normalize_text(reply_text)
        ]
        of_agreeing = tuple(dict.fromkeys(quote for reply in agreeing for quote in reply.quotes))
        return normalize_reply(task.spec, reply_text, located or of_agreeing)

    def _quote(self, words: str, known: Sequence[Quote], sources: Sequence[Finding]) -> Quote:
        """Return a quote of the combined reply with its offsets.

        It is one of the chunks' own quotes, or is looked for in the chunks that it may come from.
        """
        same = [quote for quote in known if normalize_text(quote.text) == normalize_text(words)]
        if same:
            return same[0]
        spans = (context_span(self.text, finding.start, finding.end) for finding in sources)
        located = (locate(words, self.text, *span) for span in spans)
        missing = Quote(words, None, None, verified=False)
        return next((quote for quote in located if quote.verified), missing)

    async def _in_levels(self, notes: Sequence[str], question: Question) -> Completion:
        """Combine notes in groups that fit a prompt, then the results, until one prompt is left.

        A note is cut off at half of the tokens free for notes, so that every group but the last
        has at least two notes and each level has fewer than the one before. In a model whose
        context holds three answers of maximum length, no answer is cut off.
        """
        free_tokens = self._free_tokens(question)
        while True:
            max_note_tokens = free_tokens if len(notes) == 1 else free_tokens // 2
            note_ids = [tuple(self.prompts.note(f"- {note}", max_note_tokens)) for note in notes]
            groups = list(_packed(note_ids, free_tokens))
            if len(groups) == 1:
                return await self.ask(self.prompts.notes(groups[0]), question)
            async with asyncio.TaskGroup() as level:
                requests = [
                    level.create_task(self.ask(self.prompts.notes(group), question))
                    for group in groups
                ]
            notes = [request.result().text.strip() for request in requests]

    def _free_tokens(self, question: Question) -> int:
        return free_tokens(self.prompts, self.limit, question)

    async def _label(self, task: Task, findings: Sequence[Finding]) -> Label:
        labels = [finding.value for finding in findings if isinstance(finding.value, Label)]
        voting = [label for label in labels if label.label != CANNOT_TELL]
        if not voting:
            return await self._label_of_opening(task)
        votes = vote(voting)
        tied = votes.tied
        if len(tied) == 1:
            return Label(tied[0], votes.share(tied[0]))
        question = label_question(tied, self.prompts.tokenizer)
        max_note_tokens = self._free_tokens(question) // len(tied)
        surest = sorted(
            (_surest(findings, label) for label in tied), key=lambda finding: finding.start
        )
        notes = [
            self.prompts.note(self.text[finding.start : finding.end], max_note_tokens)
            for finding in surest
        ]
        completion = await self.ask(self.prompts.notes(notes), question)
        label = parse_label(completion, tied).label
        return Label(label, votes.share(label))

    async def _label_of_opening(self, task: Task) -> Label:
        """Label a document by its beginning, if no single chunk was enough to tell the label."""
        max_tokens = self._free_tokens(task.question)
        beginning = self.prompts.note(self.text[: max_tokens * _CHARACTERS_PER_TOKEN], max_tokens)
        completion = await self.ask(self.prompts.notes([beginning]), task.question)
        return parse_label(completion, task.question.sampling.choices or ())

    async def _fields(self, task: Task, chunks: Sequence[ChunkFields]) -> Fields:
        assert task.schema is not None
        merged = merge(chunks, task.schema)
        if merged.conflicts:
            resolver = ConflictResolver(self.prompts, self.limit, self.ask)
            merged = merge(chunks, task.schema, await resolver.resolve(merged.conflicts))
        quotes = merged_quotes([chunk.fields for chunk in chunks], merged.values)
        return Fields(merged.values, quotes, merged.evidence)


def _note_text(reply: Reply) -> str:
    quotes = "".join(f"\n  {QUOTE_PREFIX} {quote.text}" for quote in reply.quotes)
    return f"{reply.text}{quotes}"


def _packed(notes: Sequence[Note], max_tokens: int) -> Iterator[list[Note]]:
    """Yield the notes in order, in groups of at most `max_tokens` tokens, or of a single note."""
    group: list[Note] = []
    tokens = 0
    for note in notes:
        if group and tokens + len(note) > max_tokens:
            yield group
            group, tokens = [], 0
        group.append(note)
        tokens += len(note)
    yield group


def _surest(findings: Sequence[Finding], label: str) -> Finding:
    """Return the finding with the highest confidence in a label."""
    weighted = [
        (finding.value.weight, finding)
        for finding in findings
        if isinstance(finding.value, Label) and finding.value.label == label
    ]
    return max(weighted, key=lambda pair: pair[0])[1]


def _chunk_fields(findings: Sequence[Finding]) -> list[ChunkFields]:
    return [
        ChunkFields(finding.start, finding.end, finding.value)
        for finding in findings
        if isinstance(finding.value, Fields)
    ]
