"""Tests that folded text keeps what counts, and the way back to the text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.folding import FoldedText, bare, plain

# letters that change their length, marks, invisible characters, scripts
CHARACTERS = "aAß İﬁﬀé\u0301\u0323\u00ad\u200b\u200f 한각①²½１٣…“-−–.,$%…\n\x00🙂\ud800不"


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("The “Final” Oﬃce — No. 5", "thefinalofficeno5"),
        ("１,２５０ ٣٤", "125034"),
        ("10² ½ ①", "10²½①"),
        ("−5 % of €900", "5%of€900"),
        ("a\u00adb\u200bc\u200fd\x00e", "abcde"),
        ("Straße", "strasse"),
        ("not ≠ and <5", "not=\u0338and<5"),
        ("㎏ № Ⅳ", "kgnoiv"),
        ("", ""),
        ("\u200b\u200f\u00ad", ""),
    ],
)
def test_only_what_counts_is_left(text: str, folded: str) -> None:
    assert bare(text) == folded


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("text", ["Nguyễn Văn Ấn ệ", "한국어 각", "é\u0323", "שָׁלוֹם"])
def test_composed_and_decomposed_letters_are_equal(form: str, text: str) -> None:
    assert bare(unicodedata.normalize(form, text)) == bare(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(("one", "other"), [("é", "e"), ("가", "각"), ("²", "2"), ("½", "12")])
def test_different_characters_stay_different(one: str, other: str) -> None:
    assert bare(one) != bare(other)


@given(st.text(st.sampled_from(CHARACTERS), max_size=700) | st.text(max_size=700))
def test_a_text_is_folded_as_its_characters_are(text: str) -> None:
    assert sorted(FoldedText(text).bare) == sorted("".join(map(bare, text)))


@given(st.text(st.sampled_from(CHARACTERS), min_size=1, max_size=700), st.data())
def test_each_position_leads_back_to_its_character(text: str, data: st.DataObject) -> None:
    folded = FoldedText(text)
    offset = data.draw(st.integers(0, len(text) - 1))
    form = bare(text[offset])
    position = folded.position(offset)
    assert position == sum(len(bare(character)) for character in text[:offset])
    for inside in range(len(form)):
        assert folded.offset(position + inside) == offset
        assert folded.start(position + inside) == (None if inside else offset)
        whole = inside + 1 == len(form)
        assert folded.end(position + inside + 1) == (offset + 1 if whole else None)


@given(st.text(st.sampled_from(CHARACTERS), max_size=100) | st.text(max_size=100))
def test_plain_text_folds_to_the_same(text: str) -> None:
    assert bare(plain(text)) == bare(text)


def test_the_way_back_takes_little_memory() -> None:
    folded = FoldedText("word " * 100_000)
    assert len(folded._starts) + len(folded._positions) < 4_000
