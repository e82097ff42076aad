"""Tests that quotes are found in a text, also with small differences."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import Quote
from pipelines.text.grounding import locate

TEXT = (
    "The company reported “strong growth” in revenue of\n   12.5 million dollars, and its audi-\n"
    "tors, Miller – Smith LLP, did not object to it at all.\n"
)


def _words(quote: Quote, text: str) -> str:
    assert quote.verified and quote.start is not None
    return text[quote.start : quote.end]


@given(text=st.text(min_size=1), data=st.data())
def test_any_span_of_a_text_is_found_at_its_first_occurrence(
    text: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    quote = locate(text[start:end], text)
    assert quote.start == text.find(text[start:end])
    assert _words(quote, text) == text[start:end]


@pytest.mark.parametrize(
    ("quote", "words"),
    [
        ("revenue of 12.5 million dollars", "revenue of\n   12.5 million dollars"),
        ('reported "strong growth"', "reported “strong growth”"),
        ("its auditors, Miller", "its audi-\ntors, Miller"),
        ("Miller - Smith LLP", "Miller – Smith LLP"),
        ("reve-\nnue of 12.5", "revenue of\n   12.5"),
        ("did not objekt to it at all", "did not object to it at all"),
    ],
)
def test_a_quote_may_differ_a_little_from_the_text(quote: str, words: str) -> None:
    assert _words(locate(quote, TEXT), TEXT) == words


@pytest.mark.parametrize(
    "quote", ["the company lost money last year", "growht", "Smith LLC", "did object"]
)
def test_a_quote_that_is_not_in_the_text_is_unverified(quote: str) -> None:
    assert locate(quote, TEXT) == Quote(quote, None, None, verified=False)


def test_the_search_can_be_limited_to_a_span_of_the_text() -> None:
    text = "word and word"
    assert locate("word", text, start=3).start == 9
    assert not locate("word", text, start=3, end=12).verified
    assert locate("wor", text, start=3, end=12).end == 12


@pytest.mark.parametrize("space", [chr(code) for code in range(0x3001) if chr(code).isspace()])
def test_all_white_space_is_equivalent(space: str) -> None:
    assert _words(
        locate("of the\n year", f"end of{space} the{space}year"), f"end of{space} the{space}year"
    )
    broken = f"the audi-{'' if space.splitlines() == [''] else space}\n{space}tors said"
    assert _words(locate("the auditors said", broken), broken) == broken


def test_a_text_that_matches_the_quotes_beginning_everywhere_is_read_once() -> None:
    """With `re`, which starts again at each letter, the search took minutes."""
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "from pipelines.text.grounding import locate\n"
        "text = 'a' * 2_000_000 + '\\nb'\n"
        "quote = locate('a' * 900 + ' b', text)\n"
        "assert (quote.start, quote.end) == (1_999_100, 2_000_002), quote"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_offsets_count_characters() -> None:
    text = "žluťoučký 😀 kůň\n\nže said"
    assert _words(locate("kůň že said", text), text) == "kůň\n\nže said"
