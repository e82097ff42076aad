"""Training examples for combining prompts, in which the answers of several chunks are combined.

The prompts are made by the `Combiner` that also makes them in real runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from pipelines.answering.combining import Combiner, Finding
from pipelines.documents import (
    AnswerValue,
    Evidence,
    EvidenceStatus,
    Fields,
    Label,
    Reply,
    Summary,
    Usage,
)
from pipelines.job.task_specs import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    EvidenceKind,
    ExtractTask,
    SummarizeTask,
    TaskSpec,
)
from pipelines.tasks.kinds import Completion, Question
from pipelines.tasks.merging import normalize_text
from pipelines.tasks.questions import tokenize_tasks
from pipelines.text.prompts import Prompts
from pipelines.text.search import DocumentSearch
from pipelines.tiny import rules
from pipelines.tiny.author import KINDS, UNUSED_NAMES, Author
from pipelines.tiny.examples import (
    MAX_PROMPT_TOKENS,
    QUESTION_WORDINGS,
    Lesson,
    LessonBuilder,
)

_SINGLE_KINDS: Sequence[Literal["string", "integer", "number", "date"]] = (
    "string",
    "integer",
    "number",
    "date",
)
# The evidence of ask tasks. Notes without quotes, as of `values`, do not tell which is about a key.
_EVIDENCE: Sequence[EvidenceKind] = ("quotes", "anchors")
_EVIDENCE_WEIGHTS = (0.8, 0.2)
# Approximate length of one note.
_SUMMARY_TOKENS, _EVIDENCE_TOKENS = 16, 30
# The share of the harder examples that have at most this many tokens of notes: in a real run most
# prompts that combine summaries are no longer than one group of notes.
_SHORT_NOTES_SHARE, _SHORT_NOTES_TOKENS = 0.8, 500


class CombiningTeacher:
    """Generates lessons with one combining prompt each, about texts and values from `author`.

    Draws at random with `author`'s seed; its difficulty makes the lessons harder.
    """

    def __init__(self, builder: LessonBuilder, author: Author) -> None:
        self._builder = builder
        self._tokenizer = builder.tokenizer
        self._prompts = Prompts(builder.tokenizer)
        self._author = author
        self._random = author.random

    def combining(self, tokens: int) -> Lesson:
        """Return a lesson with one combining prompt about up to `tokens` tokens of notes, roughly.

        The notes are the answers of chunks to a task of a random kind.
        """
        makers = (self._summaries, self._evidence, self._tie, self._undecided, self._conflict)
        make = self._random.choices(makers, weights=(6, 2, 2, 1, 1))[0]
        while (lesson := make(tokens)) is None:
            pass
        return lesson

    def _summaries(self, tokens: int) -> Lesson | None:
        """Combine summaries of chunks, or summaries that were combined before. In about half of the
        lessons the answer is not cut off at its token limit."""
        if self._author.draw_hard(_SHORT_NOTES_SHARE):
            tokens = min(tokens, _SHORT_NOTES_TOKENS)
        max_count = max(2, tokens // _SUMMARY_TOKENS)
        count = round(2 * (max_count / 2) ** self._random.random())
        summaries = [rules.summary(text).strip() for text in self._author.openings(count)]
        if self._random.random() < 0.3:
            ends = sorted({*self._random.sample(range(1, count), max(1, count // 5)), count})
            pairs = zip([0, *ends[:-1]], ends, strict=True)
            summaries = [self._cut_off(summaries[start:end]) for start, end in pairs]
        if len(summaries) < 2:
            return None
        combined = rules.combined_summary(summaries)
        max_words = self._random.randint(10, 60)
        if self._random.random() < 0.5:
            max_words += len(self._tokenizer.encode(combined)) // 2
        values = [Summary(summary) for summary in summaries]
        return self._combined(SummarizeTask(name="s", max_words=max_words), values, combined)

    def _cut_off(self, summaries: Sequence[str]) -> str:
        """Return the combined summary, cut off anywhere in its second half as by a token limit."""
        ids = self._tokenizer.encode(rules.combined_summary(summaries))
        min_tokens = len(ids) // 2
        return self._tokenizer.decode_output(
            ids[: self._random.randint(min_tokens, len(ids))]
        ).strip()

    def _evidence(self, tokens: int) -> Lesson | None:
        """Combine the answers of several chunks to an ask task."""
        key = self._author.key()
        replies = []
        for note_key in self._note_keys(key, max(2, min(12, tokens // _EVIDENCE_TOKENS))):
            value = self._author.value(self._random.choice(KINDS))
            replies.append((value, rules.line(note_key, value)))
        values = [
            Reply(v, (Evidence("", EvidenceStatus.SHOWN, line, 0, 1),)) for v, line in replies
        ]
        wording = self._random.choice(QUESTION_WORDINGS)
        evidence = self._random.choices(_EVIDENCE, _EVIDENCE_WEIGHTS)[0]
        spec = AskTask(name="a", question=wording.format(key), evidence=evidence)
        return self._combined(spec, values, rules.combined_reply(key, replies, evidence))

    def _tie(self, tokens: int) -> Lesson | None:
        """Decide between two chunks that have different labels."""
        first = self._author.text(self._random.randint(20, max(20, tokens // 2)), 1)
        second = self._author.text(self._random.randint(20, max(20, tokens // 2)), 1)
        chunk_labels = [rules.label(text.text, text.labels) for text in (first, second)]
        labels = tuple(dict.fromkeys(chunk_labels))
        if len(labels) == 1 or rules.OTHER in labels:
            return None
        whole = f"{first.text}\n\n{second.text}"
        second_start = len(first.text) + 2
        findings = [
            Finding(0, len(first.text), Label(chunk_labels[0])),
            Finding(second_start, len(whole), Label(chunk_labels[1])),
        ]
        answer = rules.label(whole, labels)
        return self._combined(ClassifyTask(name="c", labels=labels), findings, answer, whole)

    def _undecided(self, tokens: int) -> Lesson | None:
        """Classify a document none of whose chunks decides between the labels."""
        text = self._author.text(self._random.randint(20, max(20, tokens)), 2)
        labels = (*dict.fromkeys((*text.labels, rules.OTHER)),)
        if self._random.random() < 0.5:
            labels = (*(self._author.key() for _ in labels[1:]), rules.OTHER)
        if len(set(labels)) < 2:
            return None
        finding = Finding(0, len(text.text), Label(CANNOT_TELL))
        spec = ClassifyTask(name="c", labels=tuple(dict.fromkeys(labels)))
        return self._combined(spec, [finding], rules.label(text.text, labels), text.text)

    def _conflict(self, tokens: int) -> Lesson | None:
        """Choose between the different values that chunks gave for an extract field."""
        key = self._author.key()
        name = rules.field_of(key)
        if name in UNUSED_NAMES:
            return None
        kind = self._random.choice(_SINGLE_KINDS)
        max_notes = max(2, min(8, tokens // _EVIDENCE_TOKENS))
        key_of_value = {
            self._author.value(kind): note_key for note_key in self._note_keys(key, max_notes)
        }
        values = [
            Fields(
                {name: rules.typed(value, kind)},
                (Evidence(name, EvidenceStatus.SHOWN, rules.line(note_key, value), 0, 1),),
            )
            for value, note_key in key_of_value.items()
        ]
        # Values that differ only in case are one candidate, with the quote of the first.
        candidate_keys: dict[str, str] = {}
        for value, note_key in key_of_value.items():
            candidate_keys.setdefault(normalize_text(value), note_key)
        right = next((n for n, other in enumerate(candidate_keys.values(), 1) if other == key), 1)
        return self._combined(ExtractTask(name="e", fields={name: kind}), values, str(right))

    def _note_keys(self, key: str, max_notes: int) -> list[str]:
        """Return the keys that two to `max_notes` notes are about: `key`, and in half of the harder
        lessons other keys too, some of them similar to it."""
        keys = [key] * self._random.randint(2, max_notes)
        if self._author.draw_hard(0.5):
            count = self._random.randint(1, len(keys) - 1)
            for number in self._random.sample(range(len(keys)), count):
                keys[number] = self._author.key(similar_to=key)
        return keys

    def _combined(
        self, spec: TaskSpec, values: Sequence[AnswerValue | Finding], answer: str, text: str = ""
    ) -> Lesson | None:
        """Return a lesson with the one prompt that the Combiner makes for these answers, or None if
        it makes none or several."""
        findings = [
            value if isinstance(value, Finding) else Finding(number, number + 1, value)
            for number, value in enumerate(values)
        ]
        task = tokenize_tasks([spec], self._tokenizer)[0]
        requests: list[tuple[Sequence[int], Question]] = []

        async def ask(prefix_ids: Sequence[int], question: Question) -> Completion:
            requests.append((prefix_ids, question))
            return Completion(answer, Usage(), "stop")

        combiner = Combiner(DocumentSearch(text), self._prompts, MAX_PROMPT_TOKENS, ask)
        asyncio.run(combiner.combine(task, findings))
        if len(requests) != 1:
            return None
        prefix_ids, question = requests[0]
        taught = self._builder.question(f"{spec.kind} combining", question, answer)
        return self._builder.lesson(prefix_ids, [taught])
