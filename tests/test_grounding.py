"""Quotes and where they stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import Quote
from pipelines.grounding import locate

TEXT = (
    "The company reported “strong growth” in revenue of\n   12.5 million dollars, and its audi-\n"
    "tors, Miller – Smith LLP, did not object to it at all.\n"
)


def _words(quote: Quote, text: str) -> str:
    assert quote.verified and quote.start is not None
    return text[quote.start : quote.end]


@given(text=st.text(min_size=1), data=st.data())
def test_any_span_of_a_text_is_found_where_it_first_stands(text: str, data: st.DataObject) -> None:
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
def test_a_quote_may_differ_from_its_place_a_little(quote: str, words: str) -> None:
    assert _words(locate(quote, TEXT), TEXT) == words


@pytest.mark.parametrize(
    "quote", ["the company lost money last year", "growht", "Smith LLC", "did object"]
)
def test_what_is_not_there_is_unverified(quote: str) -> None:
    assert locate(quote, TEXT) == Quote(quote, None, None, verified=False)


def test_a_span_of_the_text_can_be_looked_at_alone() -> None:
    text = "word and word"
    assert locate("word", text, start=3).start == 9
    assert not locate("word", text, start=3, end=12).verified
    assert locate("wor", text, start=3, end=12).end == 12
