"""Tests of quotes that are the first and last words of a passage."""

from __future__ import annotations

import pytest

from pipelines.documents import EvidenceStatus
from pipelines.tasks.anchors import MAX_PASSAGE_CHARACTERS, anchored_passages
from pipelines.tasks.evidence import evidence_of_fields
from pipelines.tasks.schema import from_shorthand
from pipelines.text.search import DocumentSearch

TEXT = (
    "The board met on Monday. The board of Acme Corp, in its meeting of 4 May 2021, approved a "
    "dividend of 7,420,000 dollars. The board met again in June and approved the accounts."
)
SECOND = TEXT[TEXT.index("The board of") : TEXT.index(" The board met again")]


def passages(words: str, text: str = TEXT, start: int = 0, end: int | None = None) -> list[str]:
    search = DocumentSearch(text)
    found = anchored_passages(words, search, start, len(text) if end is None else end)
    assert all(passage.verified for passage in found)
    return [text[passage.start : passage.end] for passage in found]


@pytest.mark.parametrize(
    "words",
    [
        "The board of ... 7,420,000 dollars.",
        "The board of...7,420,000 dollars.",
        "The board of \u2026 7,420,000 dollars.",
        "The board of [...] 7,420,000 dollars.",
        "The  board of ... dollars.",
    ],
)
def test_the_passage_between_first_and_last_words_is_found(words: str) -> None:
    assert passages(words)[0] == SECOND


def test_the_shortest_passage_is_first_and_longer_ones_follow() -> None:
    first, *others = passages("The board ... approved a dividend")
    assert first.startswith("The board of Acme")
    assert [passage[:20] for passage in others] == ["The board met on Mon"]


def test_first_and_last_words_may_overlap() -> None:
    assert passages("of 4 May ... 4 May 2021") == ["of 4 May 2021"]


@pytest.mark.parametrize(
    "words",
    [
        "The board of Acme",  # no ellipsis
        "The bored of ... 7,420,000 dollars",
        "The board of ... 7,420,001 dollars",
        "dollars ... The board of",  # in the wrong order
        "The board ... Acme Corp ... dollars",
        "... dollars",
        "a ... a",
    ],
)
def test_other_words_have_no_passage(words: str) -> None:
    assert passages(words) == []


def test_a_passage_is_within_the_part_that_was_shown() -> None:
    words = "The board of ... 7,420,000 dollars"
    start = TEXT.index("The board of")
    assert passages(words, start=start) and not passages(words, start=start + 1)
    assert not passages(words, end=start + len(SECOND) - 5)


def test_words_far_apart_are_no_anchors_of_one_passage() -> None:
    far = f"The first words {'and more ' * (MAX_PASSAGE_CHARACTERS // 9)}to the last words"
    assert not passages("The first ... last words", far)
    near = far.replace("and more ", "", 20)
    assert passages("The first ... last words", near) == [near]


def test_a_value_is_shown_by_the_passage_that_contains_it() -> None:
    schema = from_shorthand({"on": "date", "amount": "number", "company": "string"})
    values = {"on": "2021-05-04", "amount": 7420000, "company": "Apex Corp"}
    quotes = dict.fromkeys(values, "The board ... dollars.")
    rows = evidence_of_fields(
        values, schema, quotes, DocumentSearch(TEXT), 0, len(TEXT), anchored=True
    )
    statuses = {row.path: row.status for row in rows}
    shown = EvidenceStatus.SHOWN
    assert statuses["on"] is statuses["amount"] is shown
    assert statuses["company"] is not shown
    assert rows[0].text == SECOND and rows[0].quote == quotes["on"]


def test_a_number_is_not_computed_from_different_passages() -> None:
    text = "Sales were 40 at first. Sales were 23 at last."
    schema = from_shorthand({"total": "number"})
    quotes = {"total": "Sales were ... at"}
    search = DocumentSearch(text)
    (row,) = evidence_of_fields({"total": 63}, schema, quotes, search, 0, len(text), anchored=True)
    assert row.status is EvidenceStatus.ABSENT


def test_passages_before_the_chunk_that_was_asked_about_do_not_count() -> None:
    schema = from_shorthand({"n": "number"})
    text = "It had 40 ships in all. It had 40 ships in all. The end."
    start = text.index("It had", 1)
    quotes, search = {"n": "It had ... in all."}, DocumentSearch(text)
    rows = [
        evidence_of_fields({"n": 40}, schema, quotes, search, 0, len(text), own, anchored=True)[0]
        for own in (None, (start, len(text)))
    ]
    assert [(row.status, row.start) for row in rows] == [
        (EvidenceStatus.SHOWN, 0), (EvidenceStatus.SHOWN, start),
    ]  # fmt: skip
