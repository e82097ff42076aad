"""Combine the findings of a document's chunks into one answer, with further prompts if needed.

- `summarize`: summaries are combined in levels until one is left.
- `write`: texts are combined in the same way; those of parts are joined without a prompt instead.
- `ask`: replies with their quotes are combined so too, without a prompt if all agree.
- `classify`: the chunks vote; a tie is decided by a prompt. With `multiple`: the labels' union.
- `extract`: values are merged; each conflict is decided by a prompt (`conflicts.py`).

A finding is the value that one chunk gave for a task. A finding without evidence in the document is
ignored if another one has evidence. Every prompt with its answer has at most `limit` tokens. Knows
no engine: the caller passes a function that sends a question to one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.answering.conflicts import AskModel, ConflictResolver, Note, free_tokens
from pipelines.documents import (
    AnswerValue,
    Evidence,
    EvidenceStatus,
    Fields,
    Label,
    LabelSet,
    Reply,
    Summary,
    Written,
)
from pipelines.job.task_specs import CANNOT_TELL, AskTask, ClassifyTask
from pipelines.tasks.kinds import LENGTH, Completion, Question, Task
from pipelines.tasks.merging import FieldPath, Merged, merge, normalize_text, prefer_supported
from pipelines.tasks.not_stated import is_not_stated
from pipelines.tasks.parsing import invalid_on_error, parse_label
from pipelines.tasks.questions import tie_question
from pipelines.tasks.replied import evidence_in_spans
from pipelines.tasks.replies import NOT_STATED, QUOTE_PREFIX, normalize_reply, split_reply
from pipelines.tasks.schema import JsonSchema
from pipelines.tasks.several import unite
from pipelines.tasks.statements import ChunkFields
from pipelines.tasks.voting import vote
from pipelines.text.prompts import Prompts, context_span
from pipelines.text.search import DocumentSearch

# A rough upper estimate: tokenizing more characters than a prompt holds would be wasted work.
_CHARACTERS_PER_TOKEN = 4
_FOUND = EvidenceStatus.FOUND
# Rows of evidence that are merged in about 0.1 seconds.
_EVIDENCE_IN_LOOP = 2000


@dataclass(frozen=True, slots=True)
class Finding:
    """The value that one chunk, text[start:end] of the document, gave for one task."""

    start: int
    end: int
    value: AnswerValue


@dataclass(frozen=True)
class Combiner:
    """Combines the findings of one document's chunks into one answer.

    Attributes:
        search: finds quotes and values in the document.
        prompts: builds the prompts.
        limit: the maximum length of a prompt together with its answer, in tokens.
        ask: sends a question to the engine.
    """

    search: DocumentSearch
    prompts: Prompts
    limit: int
    ask: AskModel

    @property
    def text(self) -> str:
        """The text of the document."""
        return self.search.text

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
            case LabelSet():
                assert isinstance(task.spec, ClassifyTask)
                sets = [value for value in values if isinstance(value, LabelSet)]
                return unite(sets, tuple(task.spec.labels))
            case Written():
                return await self._written(task, [v.text for v in values if isinstance(v, Written)])
            case Reply():
                return await self._reply(task, findings)
            case Fields():
                return await self._fields(task, _chunk_fields(findings))

    async def _summary(self, task: Task, summaries: Sequence[str]) -> Summary:
        if len(summaries) == 1:
            return Summary(summaries[0])
        assert task.combine_question is not None
        return Summary((await self._in_levels(summaries, task.combine_question)).text.strip())

    async def _written(self, task: Task, texts: Sequence[str]) -> Written:
        """Combine what was written about chunks, or about parts, of which one is combined too."""
        if len(texts) == 1 and not task.in_parts:
            return Written(texts[0])
        assert task.combine_question is not None
        return Written((await self._in_levels(texts, task.combine_question)).text.strip())

    async def _reply(self, task: Task, findings: Sequence[Finding]) -> Reply:
        replies = [finding.value for finding in findings if isinstance(finding.value, Reply)]
        stating = prefer_supported(
            [
                (finding, finding.value)
                for finding in findings
                if isinstance(finding.value, Reply) and not is_not_stated(finding.value.text)
            ],
            lambda pair: pair[1].evidence,
        )
        stated = [reply for _, reply in stating]
        if not stated:
            unsupported = any(reply.text is None for reply in replies)
            return Reply(None, _evidence(replies)) if unsupported else Reply(NOT_STATED)
        if len({normalize_text(str(reply.text)) for reply in stated}) == 1:
            return Reply(stated[0].text, _evidence(stated))
        assert task.combine_question is not None
        kind = task.spec.evidence if isinstance(task.spec, AskTask) else "quotes"
        quotes_are_asked = kind in ("quotes", "anchors")
        notes = [_note_text(reply, with_quotes=quotes_are_asked) for reply in stated]
        combined = await self._in_levels(notes, task.combine_question)
        cut_off = combined.finish_reason == LENGTH
        reply_text, quoted = split_reply(combined.text, cut_off=cut_off)
        agreeing = [
            reply
            for reply in stated
            if normalize_text(str(reply.text)) == normalize_text(reply_text)
        ]
        if agreeing and not quoted:
            return normalize_reply(task.spec, reply_text, _evidence(agreeing))
        if kind == "none":
            return normalize_reply(task.spec, reply_text, ())
        spans = [context_span(self.text, finding.start, finding.end) for finding, _ in stating]
        with invalid_on_error():
            evidence = evidence_in_spans(
                reply_text, quoted, self.search, spans, anchored=kind == "anchors"
            )
        return normalize_reply(task.spec, reply_text, evidence)

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
        question = tie_question(task, tied, self.prompts.tokenizer)
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
        labels = task.question.sampling.choices or ()
        question = tie_question(task, labels, self.prompts.tokenizer)
        max_tokens = self._free_tokens(question)
        beginning = self.prompts.note(self.text[: max_tokens * _CHARACTERS_PER_TOKEN], max_tokens)
        completion = await self.ask(self.prompts.notes([beginning]), question)
        return parse_label(completion, labels)

    async def _fields(self, task: Task, chunks: Sequence[ChunkFields]) -> Fields:
        assert task.schema is not None
        merged = await _merged(chunks, task.schema, {})
        if merged.conflicts:
            resolver = ConflictResolver(task, self.prompts, self.limit, self.ask)
            choices = await resolver.resolve(merged.conflicts)
            merged = await _merged(chunks, task.schema, choices)
        return Fields(merged.values, merged.evidence)


def _evidence(replies: Sequence[Reply]) -> tuple[Evidence, ...]:
    return tuple(dict.fromkeys(row for reply in replies for row in reply.evidence))


def _note_text(reply: Reply, *, with_quotes: bool) -> str:
    """Return a reply as a note. Its quotes are the document's own words where it has them."""
    rows = [row for row in reply.evidence if row.status is not _FOUND] if with_quotes else []
    quotes = "".join(
        f"\n  {QUOTE_PREFIX} {words}" for row in rows if (words := row.text or row.quote)
    )
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


async def _merged(
    chunks: Sequence[ChunkFields], schema: JsonSchema, choices: Mapping[FieldPath, Any]
) -> Merged:
    """Merge fields; those with much evidence in a thread, as other documents would have to wait."""
    with invalid_on_error():
        if sum(len(chunk.fields.evidence) for chunk in chunks) < _EVIDENCE_IN_LOOP:
            return merge(chunks, schema, choices)
        return await asyncio.to_thread(merge, chunks, schema, choices)
