"""What is shown of a text: all of it, or windows around the places of evidence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.reporting.page.document_facts import TextView
from pipelines.reporting.page.windows import shown_places, view_of

FILLER = "The board met four times. " * 2_000


def lit(view: TextView, place: int) -> str:
    """Return the text that is marked as a place."""
    pieces = [piece for window in view.windows for piece in window.segments]
    return "".join(piece.text for piece in pieces if place in piece.places)


def test_a_short_text_is_shown_whole_and_its_places_are_lit() -> None:
    text = "🏔️ The owner is Ada. The year is 1999."
    spans = [(text.index("The owner"), text.index(" The year")), (text.index("1999"), len(text))]
    view = view_of(text, spans, 1_000)
    assert (view.characters, view.hidden, len(view.windows)) == (len(text), 0, 1)
    assert (lit(view, 1), lit(view, 2)) == ("The owner is Ada.", "1999.")


def test_places_may_overlap() -> None:
    view = view_of("abcdef", [(0, 4), (2, 6)], 100)
    assert (lit(view, 1), lit(view, 2)) == ("abcd", "cdef")
    ends = [end for piece in view.windows[0].segments for end in piece.ends]
    assert ends == [1, 2]


def test_a_long_text_is_cut_to_its_beginning_and_windows_around_places() -> None:
    text = f"{FILLER}The owner is Ada.{FILLER}"
    start = len(FILLER)
    view = view_of(text, [(start, start + 17)], 10_000)
    assert lit(view, 1) == "The owner is Ada."
    assert view.windows[0].start == 0 and view.windows[1].hidden > 40_000
    assert sum(window.end - window.start for window in view.windows) <= 10_000


def test_places_beyond_the_limit_are_not_shown() -> None:
    spans = [(at, at + 10) for at in range(5_000, 50_000, 5_000)]
    view = view_of(FILLER, spans, 5_000)
    shown = shown_places(view)
    assert 1 in shown and len(shown) < len(spans)


def test_spans_outside_the_text_are_ignored() -> None:
    view = view_of(FILLER, [(10**6, 10**6 + 5), (-4, 5)], 2_000)
    assert [window.start for window in view.windows] == [0]


@given(
    st.text(min_size=1, max_size=4_000),
    st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 4_000)), max_size=6),
    st.integers(200, 2_000),
)
def test_windows_and_hidden_characters_are_the_whole_text(
    text: str, spans: list[tuple[int, int]], limit: int
) -> None:
    view = view_of(text, spans, limit)
    at = 0
    for window in view.windows:
        assert window.start == at + window.hidden and window.end > window.start
        pieces = "".join(piece.text for piece in window.segments)
        assert pieces == text[window.start : window.end]
        at = window.end
    assert at + view.hidden == len(text)
