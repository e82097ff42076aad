"""What `tiny` is taught is what phifleet asks, and the taught answers are right."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fakes import FakeEngine, tasks_of

from pipelines.answering.answer import answer_document
from pipelines.documents import Document, Fields
from pipelines.job.spec import AskTask
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
from pipelines.text.tokens import ChatTokenizer
from pipelines.tiny import rules
from pipelines.tiny.author import Author, form_of
from pipelines.tiny.lessons import Lesson, Teacher


@pytest.fixture(scope="module")
def lessons(paired_tokenizer: ChatTokenizer) -> list[Lesson]:
    teacher = Teacher(paired_tokenizer, "test")
    made = [teacher.whole(120) for _ in range(20)]
    made += [teacher.part(120) for _ in range(20)]
    return made + [teacher.combining(160) for _ in range(60)]


def _asked(lessons: list[Lesson], tokens: ChatTokenizer) -> Iterator[tuple[str, str, str]]:
    """Kind, prompt and answer, as texts."""
    for lesson in lessons:
        for asked in lesson.asked:
            yield (
                asked.kind,
                tokens.decode([*lesson.shown, *asked.question]),
                tokens.decode_output(asked.answer),
            )


def test_every_kind_of_prompt_is_taught(lessons: list[Lesson]) -> None:
    kinds = {asked.kind for lesson in lessons for asked in lesson.asked}
    assert kinds == {
        f"{kind}{form}"
        for kind in ("ask", "extract", "classify", "summarize")
        for form in ("", " part", " combining")
    }


def test_the_first_lessons_teach_the_same_answers_with_fewer_words(
    paired_tokenizer: ChatTokenizer,
) -> None:
    teacher = Teacher(paired_tokenizer, "first")
    makers = (teacher.bare, teacher.quoting, teacher.filling, teacher.asking, teacher.labelling)
    for make in makers:
        for lesson in (make(120) for _ in range(20)):
            text = paired_tokenizer.decode(lesson.shown)
            for asked in lesson.asked:
                answer = paired_tokenizer.decode_output(asked.answer)
                if asked.kind == "labelling":
                    assert f"- {answer}\n" in paired_tokenizer.decode(asked.question)
                for quote in re.findall(r'Quote: (.+)|: "(\w[^"]*: [^"]*)"', answer):
                    assert "".join(quote) in text


def test_the_same_seed_teaches_the_same(paired_tokenizer: ChatTokenizer) -> None:
    first, again, other = (Teacher(paired_tokenizer, seed) for seed in ("a", "a", "b"))
    taught = first.whole(80)
    assert again.whole(80) == taught
    assert other.whole(80) != taught


async def test_a_whole_document_is_asked_about_as_it_is_taught(
    lessons: list[Lesson], tiny_model: Model, paired_tokenizer: ChatTokenizer
) -> None:
    compared = 0
    for kind, prompt, _ in _asked(lessons, paired_tokenizer):
        if kind != "ask":
            continue
        # each piece of a prompt is tokenized alone, and so begins with a blank
        text = prompt.partition(f"{INSTRUCTION} ")[2].rpartition(f" {END_OF_DOCUMENT}")[0]
        put = prompt.rpartition("Question: ")[2].partition("\nAnswer briefly")[0]
        tasks = tasks_of([AskTask(name="a", question=put)], tiny_model, paired_tokenizer)
        engine = FakeEngine(paired_tokenizer)
        await answer_document(Document("d", text), tasks, engine)
        assert engine.prompts == [prompt]
        compared += 1
    assert compared > 20


def test_each_form_of_prompt_has_its_frame(
    lessons: list[Lesson], paired_tokenizer: ChatTokenizer
) -> None:
    frames = {
        "": (INSTRUCTION, END_OF_DOCUMENT),
        "part": (CHUNK_INSTRUCTION, END_OF_CHUNK),
        "combining": (NOTES_INSTRUCTION, END_OF_NOTES),
    }
    for kind, prompt, _ in _asked(lessons, paired_tokenizer):
        begin, end = frames[kind.partition(" ")[2]]
        assert prompt.startswith(f"<|user|>{begin}")
        shown, _, question = prompt.rpartition(" Question: ")
        assert end.rstrip() in shown
        assert question.endswith("<|end|><|assistant|>")


def test_taught_quotes_stand_in_the_text(
    lessons: list[Lesson], paired_tokenizer: ChatTokenizer
) -> None:
    seen = 0
    for kind, prompt, answer in _asked(lessons, paired_tokenizer):
        spoken, _, quote = answer.partition("\nQuote: ")
        if kind.startswith("ask") and quote:
            assert quote in prompt
            assert quote.endswith(f": {spoken}")
            seen += 1
    assert seen > 40


def test_hard_lessons_have_notes_about_other_keys_and_texts_that_state_nothing(
    paired_tokenizer: ChatTokenizer,
) -> None:
    teacher = Teacher(paired_tokenizer, "hard", alike=0.3)
    made = [teacher.combining(300) for _ in range(150)]
    numbers, others = set(), 0
    for kind, prompt, answer in _asked(made, paired_tokenizer):
        shown, _, put = prompt.rpartition(" Question: ")
        if kind == "extract combining":
            (field,) = re.findall(r"Which value of (\w+) is right", put)
            right = f' {answer}. .+ - the document says: "{rules.key_of(field)}: '
            assert re.search(right, shown)
            numbers.add(answer)
        elif kind == "ask combining":
            key = answer.partition("\nQuote: ")[2].partition(": ")[0]
            assert key in put
            quoted = re.findall(r"Quote: (.+?): ", shown)
            assert key in quoted
            others += quoted[0] != key
    assert numbers - {"1"}
    assert others > 2
    asked = list(_asked([teacher.part(150) for _ in range(60)], paired_tokenizer))
    untold = [answer == "Not stated" for kind, _, answer in asked if kind == "ask part"]
    assert sum(untold) > len(untold) / 2


def test_a_summary_of_notes_copies_them_in_easy_lessons_and_in_hard_ones(
    lessons: list[Lesson], paired_tokenizer: ChatTokenizer
) -> None:
    teacher = Teacher(paired_tokenizer, "notes", alike=0.3)
    hard = [teacher.combining(900) for _ in range(60)]
    for made in (lessons, hard):
        of_notes = [each for each in made if each.asked[0].kind == "summarize combining"]
        assert len(of_notes) > 10
        for lesson in of_notes:
            shown, answer = f" {' '.join(map(str, lesson.shown))} ", lesson.asked[0].answer
            assert f" {' '.join(map(str, answer))} " in shown


def test_hard_texts_open_more_often_with_what_says_the_same_again() -> None:
    def repeating(alike: float) -> int:
        author = Author("openings", alike=alike)
        signs = [re.findall(r"\w+|[^\w\s]", author.opening()) for _ in range(400)]
        return sum(len(each) > 7 and len(set(each)) < 0.6 * len(each) for each in signs)

    assert repeating(0.3) > 2 * repeating(0.0)


def test_a_taught_form_keeps_its_schema_and_its_quotes_are_found() -> None:
    author = Author("forms")
    for _ in range(50):
        text = author.text(150, 6)
        fields = form_of(dict(fact.field for fact in text.facts))
        answer = rules.form(text.text, fields)
        whole = (0, len(text.text))
        read = parse_fields(answer, from_shorthand(fields), text.text, whole, only_verified=False)
        assert isinstance(read, Fields)
        assert {quote.field for quote in read.quotes} == set(fields)
        assert all(quote.verified for quote in read.quotes)


def test_a_taught_text_states_its_facts_in_lines_of_their_own() -> None:
    author = Author("texts")
    for _ in range(50):
        text = author.text(100, 5)
        lines = text.text.split("\n")
        assert all(fact.line in lines for fact in text.facts)
