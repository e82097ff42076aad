"""Tests of quotes of which something is left out."""

from __future__ import annotations

from pipelines.text.quotes import QuoteFinder


def _find(quote: str, text: str) -> list[str]:
    """Return the words of the passages, in parentheses if they are only similar."""
    return [
        text[found.start : found.end] if found.verified else f"({text[found.start : found.end]})"
        for found in QuoteFinder(text).find(quote)
    ]


def test_a_quote_with_an_omission_has_a_passage_for_each_part() -> None:
    text = "The lessee, a company of Oslo, pays the rent (in advance) to the lessor."
    for omission in ("...", " … ", " [...] ", " […] ", " (...) ", ". . ."):
        parts = _find(f"The lessee{omission}pays the rent{omission}to the lessor", text)
        assert parts == ["The lessee", "pays the rent", "to the lessor"]
    assert _find("... pays the rent", text) == ["pays the rent"]


def test_a_quote_with_an_omission_is_verified_only_if_all_parts_are_in_order() -> None:
    text = "The lessee pays the rent in advance to the lessor."
    assert _find("The lessee ... bananas and apples", text) == ["(The lessee)"]
    assert not any(
        passage.verified for passage in QuoteFinder(text).find("to the lessor ... pays the rent")
    )
