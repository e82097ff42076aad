"""The lessons of `tiny`: phifleet's own prompts about texts with planted facts, and the answers.

Every prompt is built by the code that asks the engine: passages and questions by `prompts` and
`tasks`, combining questions by the `Combiner`. The texts are an `Author`'s; what is right, `rules`
say. Seeded; knows no weights.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.answering.combining import Combiner, Finding
from pipelines.documents import AnswerValue, Fields, Label, Quote, Reply, Summary, Usage
from pipelines.job.spec import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    ExtractTask,
    SummarizeTask,
    TaskSpec,
)
from pipelines.tasks.columns import RESERVED_FIELDS
from pipelines.tasks.extraction import form_template, schema_of
from pipelines.tasks.kinds import (
    Completion,
    Question,
    Sampling,
    label_question,
    make_question,
    repair_question,
    tokenize_tasks,
)
from pipelines.tasks.merging import normalize_text
from pipelines.text.chunking import ChunkSize, cut
from pipelines.text.outline import opening
from pipelines.text.prompts import PromptPrefix, Prompts
from pipelines.text.tokens import ChatTokenizer
from pipelines.tiny import rules
from pipelines.tiny.author import KINDS, Author, Fact, Text, form_of, shorthand

_SINGLE: Sequence[Literal["string", "integer", "number", "date"]] = (
    "string",
    "integer",
    "number",
    "date",
)
_ASKED = (
    "What is the {}?",
    "What is the {}?",
    "Which {} is stated?",
    "What does the text say about the {}?",
    "Who or what is the {}?",
)
_LIMIT_TOKENS = 4096
# Questions about the text of an early lesson.
_CHOICES, _FORMS = 3, 4
_CHUNK_OVERLAP = 64
# What a note takes, about.
_SUMMARY_TOKENS, _EVIDENCE_TOKENS = 16, 30
# Most prompts that combine summaries are no longer than the notes that are combined at a time.
_MOST_NOTES_TOKENS = 500
# Facts stand at least so far apart, about.
_TOKENS_OF_A_FACT = 20
# Of the longest documents most chunks state nothing: so many lessons are of texts with few facts.
# About those with no more keys than that so many more are asked for, about others half as many.
_SPARSE_SHARE, _FEW_FACTS, _UNKNOWN = 0.35, 2, 6


@dataclass(frozen=True, slots=True)
class Asked:
    """One question about what a lesson shows: its kind, its ids with the end of the chat frame,
    and the right answer as ids, without the token that ends it. `ends`: it is no longer than the
    question allows."""

    kind: str
    question: tuple[int, ...]
    answer: tuple[int, ...]
    ends: bool = True


@dataclass(frozen=True, slots=True)
class Lesson:
    """What all prompts of a lesson begin with, and the questions that follow it one at a time."""

    shown: tuple[int, ...]
    asked: tuple[Asked, ...]


class Teacher:
    """Makes lessons. `tokens` are of the model that is to learn; `alike`: how many keys of a text
    share a word with another."""

    def __init__(self, tokens: ChatTokenizer, seed: int | str, alike: float = 0.0) -> None:
        self._tokens = tokens
        self._prompts = Prompts(tokens)
        self._author = Author(seed, alike=alike)
        self._random = self._author.random

    def bare(self, document_tokens: int) -> Lesson:
        """A first lesson: facts and short questions for them, with none of phifleet's words."""
        text = self._author.text(document_tokens, self._random.randint(4, 8))
        shown = self._tokens.encode(text.text + "\n")
        single = [fact for fact in text.facts if not fact.listed]
        asked = []
        for fact in single:
            short = make_question(fact.key, Sampling(max_tokens=32), self._tokens)
            first = rules.stated(text.text, fact.key)[0]
            asked.append(self._asked("bare", short, first))
        return self._lesson(shown, asked)

    def quoting(self, document_tokens: int) -> Lesson:
        """Facts and short questions for them, answered with the quotes that phifleet asks for."""
        text = self._author.text(document_tokens, self._random.randint(4, 8))
        shown = self._tokens.encode(text.text + "\n")
        asked = []
        for key in dict.fromkeys(fact.key for fact in text.facts):
            wording = self._random.choice(("{}", "{}", *_ASKED))
            short = make_question(wording.format(key), Sampling(_LIMIT_TOKENS), self._tokens)
            asked.append(self._asked("quoting", short, rules.reply(text.text, key)))
        return self._lesson(shown, asked)

    def asking(self, document_tokens: int) -> Lesson:
        """Facts and all of phifleet's questions for them, without what stands around a document."""
        text = self._author.text(document_tokens, self._random.randint(4, 8))
        keys = [*dict.fromkeys(fact.key for fact in text.facts)]
        if self._random.random() < 0.3:
            keys.append(self._author.key())
        asked = [self._ask(key, text.text, part=False) for key in keys]
        return self._lesson(self._tokens.encode(text.text + "\n"), asked)

    def labelling(self, document_tokens: int) -> Lesson:
        """A short text and some choices of labels for it."""
        text = self._author.text(document_tokens // 4, 1)
        found = rules.label(text.text, (*text.labels, rules.OTHER))
        asked = []
        for _ in range(_CHOICES):
            others = [*self._random.sample(list(rules.THEMES), 2), self._author.key()]
            labels = self._random.sample(others, self._random.randint(1, 3))
            labels += [found] * (self._random.random() < 0.85)
            labels += [rules.OTHER] * (self._random.random() < 0.3)
            self._random.shuffle(labels)
            labels.append(CANNOT_TELL if self._random.random() < 0.3 else rules.OTHER)
            labels = list(dict.fromkeys(labels))
            choice = label_question(labels, self._tokens)
            asked.append(self._asked("labelling", choice, rules.label(text.text, labels)))
        return self._lesson(self._tokens.encode(text.text + "\n"), asked)

    def filling(self, document_tokens: int) -> Lesson:
        """A text and short forms, with none of phifleet's words."""
        text = self._author.text(document_tokens, self._random.randint(4, 8))
        asked = []
        for _ in range(_FORMS):
            fields = self._fields(text, 2)
            bare = form_template(schema_of(ExtractTask(name="e", fields=fields)))
            # what it is decoded under does not show
            short = make_question(bare, Sampling(_LIMIT_TOKENS, schema="{}"), self._tokens)
            asked.append(self._asked("filling", short, rules.form(text.text, fields)))
        return self._lesson(self._tokens.encode(text.text + "\n"), asked)

    def copying(self, tokens: int) -> Lesson:
        """The very first lesson: to write again what was shown."""
        facts = self._author.text(tokens, max(2, tokens // 8)).facts
        text = "\n".join(fact.line for fact in facts)
        again = make_question("Copy this", Sampling(_LIMIT_TOKENS), self._tokens)
        return self._lesson(self._tokens.encode(text + "\n"), [self._asked("copying", again, text)])

    def whole(self, document_tokens: int) -> Lesson:
        """All kinds of question about a whole document."""
        text = self._author.text(document_tokens, self._facts_in(document_tokens))
        shown = self._prompts.document_prefix(self._tokens.encode(text.text))
        return self._about(text, shown, text.text, part=False)

    def part(self, chunk_tokens: int) -> Lesson:
        """All kinds of question about a chunk of a longer document."""
        factor = self._random.choice((2, 3))
        facts = (
            _FEW_FACTS
            if self._author.hard(_SPARSE_SHARE)
            else factor * self._facts_in(chunk_tokens)
        )
        text = self._author.text(chunk_tokens * factor, facts)
        size = ChunkSize(max(chunk_tokens, 32), min(_CHUNK_OVERLAP, chunk_tokens // 4))
        chunk = self._random.choice(list(cut(text.text, size, self._tokens)))
        shown = self._prompts.chunk_prefix(text.text, chunk, opening(text.text))
        return self._about(text, shown, text.text[chunk.start : chunk.end], part=True)

    def combining(self, tokens: int) -> Lesson:
        """A question about notes of up to so many tokens, about, as the Combiner puts it."""
        forms = (self._summaries, self._evidence, self._tie, self._untold, self._conflict)
        make = self._random.choices(forms, weights=(6, 2, 2, 1, 1))[0]
        while (lesson := make(tokens)) is None:
            pass
        return lesson

    def _about(self, text: Text, shown: PromptPrefix, seen: str, *, part: bool) -> Lesson:
        """Questions about `seen`, which is the part of the text that is shown."""
        asked = [
            *self._asks(text, seen, part=part),
            *(self._extract(text, seen, part=part) for _ in range(self._count(3))),
            self._classify(text, seen, part=part),
            self._summarize(seen, part=part),
        ]
        return self._lesson(shown.token_ids, asked)

    def _asks(self, text: Text, seen: str, *, part: bool) -> Iterator[Asked]:
        """For facts that are there, facts that are elsewhere in the text, and one that is not.

        Many, for most of a long lesson is what it shows.
        """
        there = [fact for fact in text.facts if rules.stated(seen, fact.key)]
        elsewhere = [fact for fact in text.facts if not rules.stated(seen, fact.key)]
        keys = {fact.key for fact in self._some(there, 6)}
        keys |= {fact.key for fact in self._some(elsewhere, 2)}
        keys.add(self._author.key(beside=self._random.choice(text.facts).key))
        if self._author.alike > 0:
            few = len({fact.key for fact in text.facts}) <= _FEW_FACTS
            most = _UNKNOWN if few else _UNKNOWN // 2
            keys |= {self._author.key() for _ in range(self._count(most))}
        for key in sorted(keys):
            yield self._ask(key, seen, part=part)

    def _ask(self, key: str, seen: str, *, part: bool) -> Asked:
        spec = AskTask(name="a", question=self._random.choice(_ASKED).format(key))
        return self._of_task(spec, rules.reply(seen, key), part=part)

    def _extract(self, text: Text, seen: str, *, part: bool) -> Asked:
        fields = self._fields(text, 3)
        answer = rules.form(seen, fields)
        spec = ExtractTask(name="e", fields=fields)
        return self._of_task(spec, answer, part=part, repaired=self._random.random() < 0.05)

    def _fields(self, text: Text, most: int) -> dict[str, Any]:
        """Up to so many fields that the text states, and now and then one that it does not."""
        fields = dict(fact.field for fact in self._some(text.facts, most))
        if not fields or self._author.hard(0.5) or self._random.random() < 0.3:
            kind, key = shorthand(self._random.choice(KINDS)), self._author.key()
            if not rules.stated(text.text, key):
                fields[rules.field_of(key)] = kind
        return form_of(fields)

    def _classify(self, text: Text, seen: str, *, part: bool) -> Asked:
        labels = text.labels
        if self._random.random() < 0.3 or (
            not part and rules.label(seen, (*labels, CANNOT_TELL)) == CANNOT_TELL
        ):
            labels = (*dict.fromkeys((*labels, rules.OTHER)),)
        allowed = (*labels, CANNOT_TELL) if part else labels
        return self._of_task(
            ClassifyTask(name="c", labels=labels), rules.label(seen, allowed), part=part
        )

    def _summarize(self, seen: str, *, part: bool) -> Asked:
        summary = rules.summary(seen)
        most = len(summary.split()) + self._random.randint(1, 40)
        return self._of_task(SummarizeTask(name="s", max_words=most), summary, part=part)

    def _of_task(self, spec: TaskSpec, answer: str, *, part: bool, repaired: bool = False) -> Asked:
        task = tokenize_tasks([spec], self._tokens)[0]
        asked = task.chunk_question if part else task.question
        if repaired:
            asked = repair_question(asked, "not JSON: Expecting value", self._tokens)
        return self._asked(f"{spec.kind}{' part' * part}", asked, answer)

    def _summaries(self, tokens: int) -> Lesson | None:
        """Of chunks, or of summaries that were combined before; half of them have room to end."""
        if self._author.hard(0.8):
            tokens = min(tokens, _MOST_NOTES_TOKENS)
        most = max(2, tokens // _SUMMARY_TOKENS)
        count = round(2 * (most / 2) ** self._random.random())
        summaries = [rules.summary(each).strip() for each in self._author.openings(count)]
        if self._random.random() < 0.3:
            ends = sorted({*self._random.sample(range(1, count), max(1, count // 5)), count})
            pairs = zip([0, *ends[:-1]], ends, strict=True)
            summaries = [self._cut_off(summaries[start:end]) for start, end in pairs]
        if len(summaries) < 2:
            return None
        combined = rules.combined_summary(summaries)
        words = self._random.randint(10, 60)
        if self._random.random() < 0.5:
            words += len(self._tokens.encode(combined)) // 2
        said = [Summary(each) for each in summaries]
        return self._combined(SummarizeTask(name="s", max_words=words), said, combined)

    def _cut_off(self, summaries: Sequence[str]) -> str:
        """What was combined, with an end anywhere, as the limit of an answer's tokens leaves it."""
        ids = self._tokens.encode(rules.combined_summary(summaries))
        least = len(ids) // 2
        return self._tokens.decode_output(ids[: self._random.randint(least, len(ids))]).strip()

    def _evidence(self, tokens: int) -> Lesson | None:
        key = self._author.key()
        replies = []
        for of in self._keys_of_notes(key, max(2, min(12, tokens // _EVIDENCE_TOKENS))):
            value = self._author.value(self._random.choice(KINDS))
            replies.append((value, rules.line(of, value)))
        said = [Reply(v, (Quote(line, 0, 1, verified=True),)) for v, line in replies]
        spec = AskTask(name="a", question=self._random.choice(_ASKED).format(key))
        return self._combined(spec, said, rules.combined_reply(key, replies))

    def _tie(self, tokens: int) -> Lesson | None:
        """Two chunks that have different labels."""
        text = self._author.text(self._random.randint(20, max(20, tokens // 2)), 1)
        other = self._author.text(self._random.randint(20, max(20, tokens // 2)), 1)
        named = [rules.label(each.text, each.labels) for each in (text, other)]
        labels = tuple(dict.fromkeys(named))
        if len(labels) == 1 or rules.OTHER in labels:
            return None
        whole = f"{text.text}\n\n{other.text}"
        second = len(text.text) + 2
        findings = [
            Finding(0, len(text.text), Label(named[0])),
            Finding(second, len(whole), Label(named[1])),
        ]
        answer = rules.label(whole, labels)
        return self._combined(ClassifyTask(name="c", labels=labels), findings, answer, whole)

    def _untold(self, tokens: int) -> Lesson | None:
        """The beginning of a text of which no chunk told the label."""
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
        key = self._author.key()
        name = rules.field_of(key)
        if name in RESERVED_FIELDS:
            return None
        kind = self._random.choice(_SINGLE)
        most = max(2, min(8, tokens // _EVIDENCE_TOKENS))
        stated = {self._author.value(kind): of for of in self._keys_of_notes(key, most)}
        said = [
            Fields(
                {name: rules.typed(v, kind)},
                (Quote(rules.line(of, v), 0, 1, verified=True, field=name),),
            )
            for v, of in stated.items()
        ]
        # what is the same but for its case is one candidate, with the first one's quote
        keys: dict[str, str] = {}
        for v, of in stated.items():
            keys.setdefault(normalize_text(v), of)
        right = next((at for at, of in enumerate(keys.values(), 1) if of == key), 1)
        return self._combined(ExtractTask(name="e", fields={name: kind}), said, str(right))

    def _keys_of_notes(self, key: str, most: int) -> list[str]:
        """What up to so many notes are about: the key, in hard lessons other keys too, of which
        some are like it."""
        keys = [key] * self._count(most)
        if self._author.hard(0.5):
            others = self._random.sample(range(len(keys)), self._random.randint(1, len(keys) - 1))
            for at in others:
                keys[at] = self._author.key(beside=key)
        return keys

    def _combined(
        self, spec: TaskSpec, said: Sequence[AnswerValue | Finding], answer: str, text: str = ""
    ) -> Lesson | None:
        """The one question that the Combiner puts about these findings, None where it puts none."""
        findings = [
            each if isinstance(each, Finding) else Finding(at, at + 1, each)
            for at, each in enumerate(said)
        ]
        task = tokenize_tasks([spec], self._tokens)[0]
        put: list[tuple[Sequence[int], Question]] = []

        async def ask(shared: Sequence[int], asked: Question) -> Completion:
            put.append((shared, asked))
            return Completion(answer, Usage(), "stop")

        asyncio.run(Combiner(text, self._prompts, _LIMIT_TOKENS, ask).combine(task, findings))
        if len(put) != 1:
            return None
        shared, asked = put[0]
        return self._lesson(shared, [self._asked(f"{spec.kind} combining", asked, answer)])

    def _lesson(self, shown: Sequence[int], asked: Sequence[Asked]) -> Lesson:
        return Lesson((*self._tokens.prefix_ids, *shown), tuple(asked))

    def _asked(self, kind: str, question: Question, answer: str) -> Asked:
        encode = self._tokens.encode
        free = question.sampling.choices is None and question.sampling.schema is None
        # what is decoded under a form or out of choices begins without the tokenizer's blank
        told = encode(answer) if free else encode(f'"{answer}')[len(encode('"')) :]
        most = question.sampling.max_tokens
        ends = not free or len(told) < most
        ids = (*question.token_ids, *self._tokens.suffix_ids)
        return Asked(kind, ids, tuple(told if ends else told[:most]), ends)

    def _facts_in(self, tokens: int) -> int:
        return self._random.randint(2, max(4, min(16, tokens // _TOKENS_OF_A_FACT)))

    def _count(self, most: int) -> int:
        return self._random.randint(2, most)

    def _some(self, facts: Sequence[Fact], most: int) -> list[Fact]:
        return self._random.sample(list(facts), min(len(facts), self._random.randint(1, most)))
