"""Compares the numbers, signs, units and punctuation of two passages with the same letters.

Folding (folding.py) drops blanks, dashes and punctuation: these characters do not count. Here they
are compared where they matter: between, before and after digits. Everywhere else a small part of
the punctuation may differ.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from pipelines.text.folding import bare_character, plain

MAX_LIGHT_SHARE = 0.15
"""Maximum number of punctuation marks that differ, as a share of the quote's characters."""
_UNIT_CHARACTERS = 4
_NUMBER = re.compile(r"[0-9]+")
_WITHOUT_MARKS = str.maketrans("", "", " -−—'\"△▲▼▽■□▢▣◼◻")
_CONTEXT_CHARACTERS = 8
# minus signs of accounts, and boxes that are ticked or not
_UP = ("△", "▲")
_TRIANGLES = (*_UP, "▼", "▽")
_BOXES = frozenset("■□▢▣◼◻")
_OPERATORS = frozenset("=+<>^/")
_CODE = re.compile(r"[A-Z]{2,3}(?=[0-9])")


@dataclass(frozen=True, slots=True)
class Reading:
    """A passage or quote, split for comparison into the characters that count and the gaps between.

    Folding keeps a character that counts and drops the others. An index below is one in `bare`.

    Attributes:
        bare: the characters that count, folded.
        letters: for each character of `bare`, the one that it was folded from, in its own case.
        gaps: for each character of `bare`, the dropped characters directly before it, in plain form
            (see `folding.plain`).
        before: the folded character that counts before the first gap, "" if there is none.
    """

    bare: str
    letters: str
    gaps: tuple[str, ...]
    before: str

    def amount_at(self, index: int) -> bool:
        """Return whether a number begins at `index`, or a currency sign or code before a number."""
        if _is_currency(self.bare[index]):
            index += 1
        elif code := _CODE.match(self.letters, index):
            index = code.end()
        return index < len(self.bare) and _is_digit(self.bare[index])

    def neighbour(self, index: int) -> str:
        """Return the folded character that counts before `index`, "" if there is none."""
        return self.bare[index - 1] if index else self.before


def read(words: str, context: str = "") -> Reading:
    """Return the reading of a passage or quote `words`, for `light_differences`.

    `context` is the text directly before `words`, of which the last 8 characters are used: they
    decide whether a dash before a number is a minus sign.
    """
    folded: list[str] = []
    letters: list[str] = []
    gaps: list[str] = []
    before, gap = _context(context)
    for character in plain(words):
        form = bare_character(character)
        for part in form:
            folded.append(part)
            letters.append(character)
            gaps.append(gap)
            gap = ""
        if not form:
            gap += character
    return Reading("".join(folded), "".join(letters), tuple(gaps), before)


def _context(text: str) -> tuple[str, str]:
    """Return the last character of `text` that counts, and what stands behind it."""
    characters = plain(text[-_CONTEXT_CHARACTERS:])
    for index in range(len(characters) - 1, -1, -1):
        if form := bare_character(characters[index]):
            return form[-1], characters[index + 1 :]
    return "", characters


def light_differences(quote: Reading, passage: Reading) -> int | None:
    """Return how many punctuation marks differ, or None if the two state different facts.

    Different facts are differences in numbers, signs, units, ticked boxes or negation. Both
    readings have the same characters in `bare`, except that the accents of a letter may be in
    another order; raises ValueError if their lengths differ. Punctuation before the first character
    is not counted.
    """
    count = 0
    for index, (ours, theirs) in enumerate(zip(quote.gaps, passage.gaps, strict=True)):
        if index and ours == theirs:
            continue
        if not _same_facts_at(index, quote, passage):
            return None
        if index:
            marks = ours.translate(_WITHOUT_MARKS), theirs.translate(_WITHOUT_MARKS)
            count += max(map(len, marks)) if marks[0] != marks[1] else 0
    return count if _same_units(quote, passage) else None


def _same_facts_at(index: int, quote: Reading, passage: Reading) -> bool:
    ours, theirs = quote.gaps[index], passage.gaps[index]
    digit_before = index > 0 and _is_digit(quote.bare[index - 1])
    if digit_before and not _same_behind_number(ours, theirs):
        return False
    if digit_before and _is_digit(quote.bare[index]) and not _same_between_digits(ours, theirs):
        return False
    boxes = _boxes(ours), _boxes(theirs)
    # a box that only one of them has is a bullet
    if all(boxes) and boxes[0] != boxes[1]:
        return False
    if _is_negated(index, quote) != _is_negated(index, passage):
        return False
    if not quote.amount_at(index):
        return True
    return _sign(quote, index) == _sign(passage, index) and _same_parenthesis(index, quote, passage)


def _same_between_digits(ours: str, theirs: str) -> bool:
    same_marks = ours.translate(_WITHOUT_MARKS) == theirs.translate(_WITHOUT_MARKS)
    return same_marks and (ours == "") == (theirs == "")


def _same_behind_number(ours: str, theirs: str) -> bool:
    """Feet are not inches: a quotation mark behind a number is of the same kind in both."""
    kinds = {gap[0] for gap in (ours, theirs) if gap[:1] in ("'", '"')}
    return len(kinds) < 2


def _sign(reading: Reading, index: int) -> tuple[str, bool]:
    """Return the minus sign or triangle before a number, and whether a decimal point is there.

    A dash is one unless it touches a letter or digit before it: neither 2019-2020 nor A-4. Before
    the first character and as a long dash, it must touch the number: the minus sign proper need
    not. A dash behind the e of 1e-5 is one, too.
    """
    gap, before = reading.gaps[index], reading.neighbour(index)
    is_decimal = gap.endswith(".") and gap[-2:-1] != "." and not (gap == "." and before.isalnum())
    gap = gap.removesuffix(".") if is_decimal else gap
    apart = gap.rstrip(" ")
    if apart.endswith(_TRIANGLES):
        return "▲" if apart.endswith(_UP) else "▼", is_decimal
    if apart.endswith("−" if index == 0 else ("-", "−")):
        gap = apart
    joins = len(gap) == 1 and before.isalnum() and not _is_exponent(reading, index)
    is_minus = gap.endswith(("-", "−", "—")) and not joins
    return "-" if is_minus else "", is_decimal


def _is_exponent(reading: Reading, index: int) -> bool:
    return index > 1 and reading.bare[index - 1] == "e" and _is_digit(reading.bare[index - 2])


def _boxes(gap: str) -> str:
    """Return the boxes of a gap that are ticked or empty, in their order."""
    return "".join(character for character in gap if character in _BOXES)


def _is_negated(index: int, reading: Reading) -> bool:
    """Return whether a formula or program negates what begins here: !ready, != 5, = -x."""
    gap = reading.gaps[index]
    if gap.endswith("!"):
        return gap != "!" or not reading.neighbour(index).isalnum()
    return reading.neighbour(index) in _OPERATORS and gap.lstrip(" ")[-1:] in ("-", "−")


def _same_parenthesis(index: int, quote: Reading, passage: Reading) -> bool:
    """Parentheses around a number may mean that it is negative.

    Inside a quote they are the same in both. Before the first character, the quote may have left
    them out if words stand before them, as in "twelve (12) months".
    """
    ours, theirs = (
        reading.gaps[index].rstrip(" -−—").endswith("(") for reading in (quote, passage)
    )
    if ours == theirs:
        return True
    return index == 0 and not ours and passage.before.isalpha()


def _same_units(quote: Reading, passage: Reading) -> bool:
    """Compare the case of short words behind numbers: mW is not MW."""
    if quote.letters == passage.letters:
        return True
    for number in _NUMBER.finditer(quote.bare):
        start = number.end()
        end = start + max(_unit_length(quote, start), _unit_length(passage, start))
        if quote.letters[start:end] != passage.letters[start:end]:
            return False
    return True


def _unit_length(reading: Reading, start: int) -> int:
    """Return the length of the word behind a number, 0 if it is too long to be a unit."""
    length = 0
    for index in range(start, min(start + _UNIT_CHARACTERS + 1, len(reading.letters))):
        gap = reading.gaps[index]
        if not reading.letters[index].isalpha() or (gap.strip(" ") if index == start else gap):
            break
        length += 1
    return length if length <= _UNIT_CHARACTERS else 0


def _is_digit(character: str) -> bool:
    return "0" <= character <= "9"


def _is_currency(character: str) -> bool:
    return unicodedata.category(character) == "Sc"
