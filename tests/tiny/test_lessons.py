"""The training examples have the prompts of real requests, and correct expected answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fakes import FakeEngine, tasks_of
from ruled import evidence_of

from pipelines.answering.answer import answer_document
from pipelines.documents import Document, EvidenceStatus, Fields
from pipelines.job.task_specs import AskTask
from pipelines.models.resolve import Model
from pipelines.tasks.extraction import parse_fields
from pipelines.tasks.schema import from_shorthand
from pipelines.text.prompts import (
    CHUNK_INSTRUCTION,
    END_OF_CHUNK,
    END_OF_DOCUMENT,
    END_OF_NOTES,
    INSTRUCTION,
    NOTES_INSTRUCTION,
)
from pipelines.text.search import DocumentSearch
from pipelines.text.tokens import ChatTokenizer
from pipelines.tiny import rules
from pipelines.tiny.author import Author, valid_fields
from pipelines.tiny.examples import Lesson
from pipelines.tiny.lessons import Teacher


@pytest.fixture(scope="module")
def lessons(paired_tokenizer: ChatTokenizer) -> list[Lesson]:
    teacher = Teacher(paired_tokenizer, "test")
    lessons = [teacher.whole(120) for _ in range(20)]
    lessons += [teacher.part(120) for _ in range(20)]
    return lessons + [teacher.combining(160) for _ in range(60)]


def _decoded(lessons: list[Lesson], tokenizer: ChatTokenizer) -> Iterator[tuple[str, str, str]]:
    """Yield the kind, the whole prompt and the answer of every question."""
    for lesson in lessons:
        for question in lesson.questions:
            yield (
                question.kind,
                tokenizer.decode([*lesson.prefix_ids, *question.question_ids]),
                tokenizer.decode_output(question.answer_ids),
            )


def test_lessons_have_every_kind_of_prompt(lessons: list[Lesson]) -> None:
    kinds = {question.kind for lesson in lessons for question in lesson.questions}
    assert kinds == {
        f"{kind}{form}"
        for kind in ("ask", "extract", "classify", "summarize")
        for form in ("", " part", " combining")
    }


def test_the_easy_lessons_quote_their_text_and_choose_from_their_labels(
    paired_tokenizer: ChatTokenizer,
) -> None:
    teacher = Teacher(paired_tokenizer, "first")
    makers = (teacher.bare, teacher.quoting, teacher.filling, teacher.asking, teacher.labelling)
    for make in makers:
        for lesson in (make(120) for _ in range(20)):
            text = paired_tokenizer.decode(lesson.prefix_ids)
            for question in lesson.questions:
                answer = paired_tokenizer.decode_output(question.answer_ids)
                if question.kind == "labelling":
                    assert f"- {answer}\n" in paired_tokenizer.decode(question.question_ids)
                for quote in re.findall(r'Quote: (.+)|:"(\w[^"]*: [^"]*)"', answer):
                    for words in "".join(quote).split(" ... "):
                        assert words in text


def test_the_same_seed_gives_the_same_lessons(paired_tokenizer: ChatTokenizer) -> None:
    first, again, other = (Teacher(paired_tokenizer, seed) for seed in ("a", "a", "b"))
    lesson = first.whole(80)
    assert again.whole(80) == lesson
    assert other.whole(80) != lesson


async def test_lessons_about_whole_documents_have_the_prompts_of_real_requests(
    lessons: list[Lesson], tiny_model: Model, paired_tokenizer: ChatTokenizer
) -> None:
    compared = 0
    for kind, prompt, _ in _decoded(lessons, paired_tokenizer):
        if kind != "ask":
            continue
        text = prompt.partition(INSTRUCTION)[2].rpartition(END_OF_DOCUMENT)[0]
        question = prompt.rpartition("Question: ")[2].partition("<")[0]
        spec = AskTask(name="a", question=question, evidence=evidence_of(prompt))
        tasks = tasks_of([spec], tiny_model, paired_tokenizer)
        engine = FakeEngine(paired_tokenizer)
        await answer_document(Document("d", text), tasks, engine)
        assert engine.prompts == [prompt]
        compared += 1
    assert compared > 20


def test_each_form_of_prompt_has_its_instruction_and_end_marker(
    lessons: list[Lesson], paired_tokenizer: ChatTokenizer
) -> None:
    instructions = {
        "": (INSTRUCTION, END_OF_DOCUMENT),
        "part": (CHUNK_INSTRUCTION, END_OF_CHUNK),
        "combining": (NOTES_INSTRUCTION, END_OF_NOTES),
    }
    for kind, prompt, _ in _decoded(lessons, paired_tokenizer):
        instruction, end = instructions[kind.partition(" ")[2]]
        assert prompt.startswith(f"<|user|>{instruction}")
        prefix, _, question = prompt.rpartition("\nQuestion: ")
        assert end.rstrip() in prefix
        assert question.endswith("<|end|><|assistant|>")


def test_expected_quotes_occur_in_the_prompt(
    lessons: list[Lesson], paired_tokenizer: ChatTokenizer
) -> None:
    quotes = 0
    for kind, prompt, answer in _decoded(lessons, paired_tokenizer):
        value, _, quote = answer.partition("\nQuote: ")
        if kind.startswith("ask") and quote and " ... " not in quote:
            assert quote in prompt
            assert quote.endswith(f": {value}")
            quotes += 1
    assert quotes > 40


def test_hard_lessons_have_notes_about_other_keys_and_many_unstated_keys(
    paired_tokenizer: ChatTokenizer,
) -> None:
    teacher = Teacher(paired_tokenizer, "hard", difficulty=0.3)
    lessons = [teacher.combining(300) for _ in range(150)]
    numbers, first_notes_about_other_keys = set(), 0
    for kind, prompt, answer in _decoded(lessons, paired_tokenizer):
        notes, _, question = prompt.rpartition("\nQuestion: ")
        if kind == "extract combining":
            (field,) = re.findall(r"Which value of (\w+) is right", question)
            correct_note = f'\n{answer}. .+ - the document says: "{rules.key_of(field)}: '
            assert re.search(correct_note, notes)
            numbers.add(answer)
        elif kind == "ask combining":
            key = answer.partition("\nQuote: ")[2].partition(": ")[0]
            assert key in question
            quoted_keys = re.findall(r"Quote: (.+?): ", notes)
            assert key in quoted_keys
            first_notes_about_other_keys += quoted_keys[0] != key
    assert numbers - {"1"}
    assert first_notes_about_other_keys > 2
    questions = _decoded([teacher.part(150) for _ in range(60)], paired_tokenizer)
    is_unstated = [answer == "Not stated" for kind, _, answer in questions if kind == "ask part"]
    assert sum(is_unstated) > len(is_unstated) / 2


def test_the_summary_of_notes_has_the_same_token_ids_as_the_notes(
    lessons: list[Lesson], paired_tokenizer: ChatTokenizer
) -> None:
    teacher = Teacher(paired_tokenizer, "notes", difficulty=0.3)
    hard = [teacher.combining(900) for _ in range(60)]
    for group in (lessons, hard):
        combining = [
            lesson for lesson in group if lesson.questions[0].kind == "summarize combining"
        ]
        assert len(combining) > 10
        for lesson in combining:
            prefix = f" {' '.join(map(str, lesson.prefix_ids))} "
            # the blank before an answer belongs to its first token
            answer = f" {' '.join(map(str, lesson.questions[0].answer_ids[1:]))} "
            assert answer in prefix


def test_hard_texts_have_more_repetitive_openings() -> None:
    def count_repetitive(difficulty: float) -> int:
        author = Author("openings", difficulty=difficulty)
        openings = [re.findall(r"\w+|[^\w\s]", author.opening()) for _ in range(400)]
        return sum(len(words) > 7 and len(set(words)) < 0.6 * len(words) for words in openings)

    assert count_repetitive(0.3) > 2 * count_repetitive(0.0)


def test_expected_json_answers_match_the_schema_and_their_quotes_are_verified() -> None:
    author = Author("forms")
    for _ in range(50):
        text = author.text(150, 6)
        fields = valid_fields(dict(fact.field for fact in text.facts))
        answer = rules.form(text.text, fields)
        span = (0, len(text.text))
        parsed = parse_fields(
            answer, from_shorthand(fields), DocumentSearch(text.text), span, only_verified=False
        )
        assert isinstance(parsed, Fields)
        assert {re.split(r"[.\[]", row.path)[0] for row in parsed.evidence} == set(fields)
        shown = {row.path for row in parsed.evidence if row.status is EvidenceStatus.SHOWN}
        assert {row.path for row in parsed.evidence} == shown


def test_a_text_states_each_fact_in_a_separate_line() -> None:
    author = Author("texts")
    for _ in range(50):
        text = author.text(100, 5)
        lines = text.text.split("\n")
        assert all(fact.line in lines for fact in text.facts)
