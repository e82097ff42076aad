"""The training examples ("lessons") of `tiny`: prompts about generated texts, and expected answers.

Every prompt is built by the code that builds the prompts of real requests. The texts come from an
`Author`, the expected answers from `rules`. Random but seeded; independent of the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.job.task_specs import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    EvidenceKind,
    ExtractTask,
    SummarizeTask,
)
from pipelines.tasks.decoding import QUOTES
from pipelines.tasks.extraction import schema_of
from pipelines.tasks.form import form_of_answer
from pipelines.tasks.kinds import Sampling
from pipelines.tasks.questions import label_question, make_question
from pipelines.text.chunking import ChunkSize, cut
from pipelines.text.outline import opening
from pipelines.text.prompts import PromptPrefix, Prompts
from pipelines.text.tokens import ChatTokenizer
from pipelines.tiny import rules
from pipelines.tiny.author import KINDS, Author, Fact, Text, field_kind, valid_fields
from pipelines.tiny.combining import CombiningTeacher
from pipelines.tiny.examples import (
    MAX_PROMPT_TOKENS,
    QUESTION_WORDINGS,
    Lesson,
    LessonBuilder,
    TrainingQuestion,
)

# Number of questions about the text of an early lesson.
_CLASSIFY_QUESTIONS, _EXTRACT_QUESTIONS = 3, 4
_CHUNK_OVERLAP = 64
# Approximate minimum distance between two facts, in tokens.
_TOKENS_PER_FACT = 20
# Most chunks of the longest documents state nothing. This share of the harder lessons is therefore
# about texts with few facts.
_SPARSE_SHARE, _FEW_FACTS = 0.35, 2
# The maximum number of additional questions about keys that a sparse text does not state; half as
# many about other texts.
_MAX_UNSTATED_KEYS = 6
# The shares of ask and extract tasks whose evidence is not `quotes`, and of forms of which a text
# states nothing.
_EVIDENCE: Mapping[EvidenceKind, float] = {"quotes": 0.72, "anchors": 0.16, "values": 0.12}
_EMPTY_FORM_SHARE = 0.08


class Teacher:
    """Generates training examples (lessons) for a model with this tokenizer, one by each call.

    The same seed and the same calls give the same lessons. `difficulty` is that of `Author`. Each
    method makes one kind of lesson; its argument is the approximate length, in tokens, of the text
    that the lesson shows.
    """

    def __init__(self, tokenizer: ChatTokenizer, seed: int | str, difficulty: float = 0.0) -> None:
        self._tokenizer = tokenizer
        self._prompts = Prompts(tokenizer)
        self._builder = LessonBuilder(tokenizer)
        self._author = Author(seed, difficulty=difficulty)
        self._random = self._author.random
        self._combining = CombiningTeacher(self._builder, self._author)

    def bare(self, document_tokens: int) -> Lesson:
        """Return a lesson whose questions are only the keys of a text's facts, each answered with
        its first value. Nothing has the wording of phifleet's prompts. Lists are left out."""
        text = self._author.text(document_tokens, self._random.randint(4, 8))
        questions = []
        for fact in text.facts:
            if fact.is_list:
                continue
            question = make_question(fact.key, Sampling(max_tokens=32), self._tokenizer)
            first = rules.stated(text.text, fact.key)[0]
            questions.append(self._builder.question("bare", question, first))
        return self._builder.text_lesson(text.text, questions)

    def quoting(self, document_tokens: int) -> Lesson:
        """Return a lesson whose questions are keys or short sentences about keys, answered with the
        value and the quote as in ask tasks. Has no wording of phifleet's prompts."""
        text = self._author.text(document_tokens, self._random.randint(4, 8))
        questions = []
        for key in dict.fromkeys(fact.key for fact in text.facts):
            wording = self._random.choice(("{}", "{}", *QUESTION_WORDINGS))
            question = make_question(
                wording.format(key), Sampling(MAX_PROMPT_TOKENS), self._tokenizer
            )
            answer = rules.reply(text.text, key)
            questions.append(self._builder.question("quoting", question, answer))
        return self._builder.text_lesson(text.text, questions)

    def asking(self, document_tokens: int) -> Lesson:
        """Return a lesson whose questions have the complete wording of phifleet's ask tasks, where
        those of `quoting` have none. The text is shown without phifleet's instructions."""
        text = self._author.text(document_tokens, self._random.randint(4, 8))
        keys = [*dict.fromkeys(fact.key for fact in text.facts)]
        if self._random.random() < 0.3:
            keys.append(self._author.key())
        questions = [self._ask(key, text.text, part=False) for key in keys]
        return self._builder.text_lesson(text.text, questions)

    def labelling(self, document_tokens: int) -> Lesson:
        """Return a lesson with several classify questions, each with other labels, about a text.

        The text has about a quarter of `document_tokens`, and no instructions of phifleet.
        """
        text = self._author.text(document_tokens // 4, 1)
        right = rules.label(text.text, (*text.labels, rules.OTHER))
        questions = []
        for _ in range(_CLASSIFY_QUESTIONS):
            others = [*self._random.sample(list(rules.THEMES), 2), self._author.key()]
            labels = self._random.sample(others, self._random.randint(1, 3))
            labels += [right] * (self._random.random() < 0.85)
            labels += [rules.OTHER] * (self._random.random() < 0.3)
            self._random.shuffle(labels)
            labels.append(CANNOT_TELL if self._random.random() < 0.3 else rules.OTHER)
            labels = list(dict.fromkeys(labels))
            question = label_question(labels, self._tokenizer)
            answer = rules.label(text.text, labels)
            questions.append(self._builder.question("labelling", question, answer))
        return self._builder.text_lesson(text.text, questions)

    def filling(self, document_tokens: int) -> Lesson:
        """Return a lesson whose questions are the JSON templates of extract tasks, to be filled in
        from a text. Text and questions have no instructions of phifleet."""
        text = self._author.text(document_tokens, self._random.randint(4, 8))
        questions = []
        for _ in range(_EXTRACT_QUESTIONS):
            fields = self._fields(text, 2)
            template = form_of_answer(schema_of(ExtractTask(name="e", fields=fields)), QUOTES)
            # The schema is not part of the prompt: any schema marks the answer as JSON.
            sampling = Sampling(MAX_PROMPT_TOKENS, schema="{}")
            question = make_question(template, sampling, self._tokenizer)
            answer = rules.form(text.text, fields)
            questions.append(self._builder.question("filling", question, answer))
        return self._builder.text_lesson(text.text, questions)

    def copying(self, tokens: int) -> Lesson:
        """Return the easiest lesson: its one question asks to repeat the text that is shown, which
        consists of lines of facts."""
        facts = self._author.text(tokens, max(2, tokens // 8)).facts
        text = "\n".join(fact.line for fact in facts)
        question = make_question("Copy this", Sampling(MAX_PROMPT_TOKENS), self._tokenizer)
        return self._builder.text_lesson(text, [self._builder.question("copying", question, text)])

    def whole(self, document_tokens: int) -> Lesson:
        """Return a lesson with the prompts of tasks of all kinds about a whole document, as those
        of a document that is read in one pass."""
        text = self._author.text(document_tokens, self._number_of_facts(document_tokens))
        prefix = self._prompts.document_prefix(self._tokenizer.encode(text.text))
        return self._task_lesson(text, prefix, text.text, part=False)

    def part(self, chunk_tokens: int) -> Lesson:
        """Return a lesson with the prompts of tasks of all kinds about one chunk of a document.

        The chunk has at most about `chunk_tokens` tokens, the document two or three times as many.
        """
        factor = self._random.choice((2, 3))
        facts = (
            _FEW_FACTS
            if self._author.draw_hard(_SPARSE_SHARE)
            else factor * self._number_of_facts(chunk_tokens)
        )
        text = self._author.text(chunk_tokens * factor, facts)
        size = ChunkSize(max(chunk_tokens, 32), min(_CHUNK_OVERLAP, chunk_tokens // 4))
        chunk = self._random.choice(list(cut(text.text, size, self._tokenizer)))
        prefix = self._prompts.chunk_prefix(text.text, chunk, opening(text.text))
        return self._task_lesson(text, prefix, text.text[chunk.start : chunk.end], part=True)

    def combining(self, tokens: int) -> Lesson:
        """Return a lesson with one combining prompt about up to `tokens` tokens of notes (answers
        of chunks), roughly; see `CombiningTeacher`."""
        return self._combining.combining(tokens)

    def _task_lesson(self, text: Text, prefix: PromptPrefix, passage: str, *, part: bool) -> Lesson:
        """Return a lesson with all kinds of tasks about `passage`, the part of the text that the
        prefix shows."""
        questions = [
            *self._ask_questions(text, passage, part=part),
            *(self._extract(text, passage, part=part) for _ in range(self._random.randint(2, 3))),
            self._classify(text, passage, part=part),
            self._summarize(passage, part=part),
        ]
        return self._builder.lesson(prefix.token_ids, questions)

    def _ask_questions(self, text: Text, passage: str, *, part: bool) -> Iterator[TrainingQuestion]:
        """Yield questions about facts in the passage, about facts elsewhere in the text, and about
        keys that the text does not state.

        There are many, because the text takes most of the tokens of a long lesson.
        """
        inside = [fact for fact in text.facts if rules.stated(passage, fact.key)]
        outside = [fact for fact in text.facts if not rules.stated(passage, fact.key)]
        keys = {fact.key for fact in self._sample(inside, 6)}
        keys |= {fact.key for fact in self._sample(outside, 2)}
        keys.add(self._author.key(similar_to=self._random.choice(text.facts).key))
        if self._author.difficulty > 0:
            is_sparse = len({fact.key for fact in text.facts}) <= _FEW_FACTS
            max_unstated = _MAX_UNSTATED_KEYS if is_sparse else _MAX_UNSTATED_KEYS // 2
            keys |= {self._author.key() for _ in range(self._random.randint(2, max_unstated))}
        for key in sorted(keys):
            yield self._ask(key, passage, part=part)

    def _ask(self, key: str, passage: str, *, part: bool) -> TrainingQuestion:
        wording = self._random.choice(QUESTION_WORDINGS)
        spec = AskTask(name="a", question=wording.format(key), evidence=self._evidence())
        reply = rules.reply(passage, key, spec.evidence)
        return self._builder.task_question(spec, reply, part=part)

    def _evidence(self) -> EvidenceKind:
        return self._random.choices(list(_EVIDENCE), list(_EVIDENCE.values()))[0]

    def _extract(self, text: Text, passage: str, *, part: bool) -> TrainingQuestion:
        fields = self._fields(text, 3)
        spec = ExtractTask(name="e", fields=fields, evidence=self._evidence())
        answer = rules.form(passage, fields, spec.evidence)
        repaired = self._random.random() < 0.05
        return self._builder.task_question(spec, answer, part=part, repaired=repaired)

    def _fields(self, text: Text, max_fields: int) -> dict[str, Any]:
        """Return up to `max_fields` fields that the text states, and sometimes one that it does
        not, or only that one."""
        fields = dict(fact.field for fact in self._sample(text.facts, max_fields))
        if self._random.random() < _EMPTY_FORM_SHARE:
            fields.clear()
        if not fields or self._author.draw_hard(0.5) or self._random.random() < 0.3:
            kind, key = field_kind(self._random.choice(KINDS)), self._author.key()
            if not rules.stated(text.text, key):
                fields[rules.field_of(key)] = kind
        return valid_fields(fields)

    def _classify(self, text: Text, passage: str, *, part: bool) -> TrainingQuestion:
        labels = text.labels
        if self._random.random() < 0.3 or (
            not part and rules.label(passage, (*labels, CANNOT_TELL)) == CANNOT_TELL
        ):
            labels = (*dict.fromkeys((*labels, rules.OTHER)),)
        allowed = (*labels, CANNOT_TELL) if part else labels
        spec = ClassifyTask(name="c", labels=labels)
        return self._builder.task_question(spec, rules.label(passage, allowed), part=part)

    def _summarize(self, passage: str, *, part: bool) -> TrainingQuestion:
        summary = rules.summary(passage)
        max_words = len(summary.split()) + self._random.randint(1, 40)
        spec = SummarizeTask(name="s", max_words=max_words)
        return self._builder.task_question(spec, summary, part=part)

    def _number_of_facts(self, tokens: int) -> int:
        return self._random.randint(2, max(4, min(16, tokens // _TOKENS_PER_FACT)))

    def _sample(self, facts: Sequence[Fact], max_facts: int) -> list[Fact]:
        return self._random.sample(list(facts), min(len(facts), self._random.randint(1, max_facts)))
