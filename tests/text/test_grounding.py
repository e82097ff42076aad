"""Tests of the verification of single quotes."""

from __future__ import annotations

from pipelines.documents import Quote
from pipelines.text.grounding import locate

TEXT = "The fee is 12.5 million dollars. It is due in May."


def test_a_verified_quote_has_the_offsets_of_its_passage() -> None:
    assert locate("the fee is 12.5\nmillion", TEXT) == Quote(
        "the fee is 12.5\nmillion", 0, 23, verified=True
    )


def test_a_quote_in_parts_has_the_offsets_from_the_first_to_the_last() -> None:
    quote = locate("The fee ... is due in May.", TEXT)
    assert (quote.start, quote.end, quote.verified) == (0, len(TEXT), True)


def test_a_quote_that_is_similar_or_absent_is_unverified() -> None:
    for words in ("The fee is 13.5 million dollars.", "There is no fee at all."):
        assert locate(words, TEXT) == Quote(words, None, None, verified=False)


def test_the_search_can_be_limited_to_a_span_of_the_text() -> None:
    assert locate("It is due", TEXT, start=20).start == 33
    assert not locate("The fee", TEXT, start=4).verified
