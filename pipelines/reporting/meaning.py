"""Compares two values for equal meaning, and two texts for similarity.

A value is read as evidence reads it (`tasks/stated.py`): as a date, number, duration or words,
whatever its spelling. Knows no document, so that a date such as 3/4/2023 is compared by its words.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rapidfuzz.distance import Indel

from pipelines.tasks.comparison import is_filler
from pipelines.tasks.meanings import Measure, Money, Words
from pipelines.tasks.not_stated import is_not_stated
from pipelines.tasks.schema import JsonSchema
from pipelines.tasks.stated import key_of, statement_of
from pipelines.text.mentions import DocumentMentions
from pipelines.text.names import words_of

_NO_DOCUMENT = DocumentMentions("")
# The first character of scripts that are written without blanks, such as Chinese.
_IDEOGRAPHS = "\u2e80"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a value states.

    `key` is equal for values that state the same, apart from units. `units` are the units or
    currencies that a number may have, empty if it has none.
    """

    key: Hashable
    units: frozenset[str] = frozenset()

    def agrees(self, other: Meaning) -> bool:
        """Return whether two values state the same.

        Numbers agree if one of them has no unit, or if both may have the same one, as evidence
        finds `$5 million` at a place with or without the dollar sign.
        """
        units_agree = not self.units or not other.units or bool(self.units & other.units)
        return self.key == other.key and units_agree


def meaning_of(value: Any, schema: JsonSchema) -> Meaning | None:
    """Return what a single value states, or None if it says that there is no value.

    `value` is a JSON value that is neither a list nor an object, or None; `schema` its normalized
    schema, {} for a text without one. A blank text and one such as `N/A` state nothing.
    """
    if value is None or (isinstance(value, str) and is_filler(value)):
        return None
    if isinstance(value, bool):
        return Meaning(("boolean", value))
    statement = statement_of(value, schema, _NO_DOCUMENT)
    match statement:
        case Money():
            return Meaning(Decimal(statement), statement.currencies)
        case Measure():
            return Meaning(Decimal(statement), frozenset([statement.unit]))
    key = key_of(statement)
    # an address, of which all marks count
    return Meaning(Words(key.text.casefold()) if isinstance(key, Words) else key)


def meaning_of_reply(text: str | None) -> Meaning | None:
    """Return what a reply to a question states, or None if it says that the text does not."""
    return None if text is None or is_not_stated(text) else meaning_of(text, {})


def similarity(one: str, other: str) -> float:
    """Return how similar two texts are, from 0 to 1 for texts of the same words.

    It is the F-measure of ROUGE-L: twice the length of the longest common subsequence of words,
    divided by the number of words of both texts. Words are compared without case, full stops and
    commas; an ideograph is a word.
    """
    return Indel.normalized_similarity(_words(one), _words(other))


def _words(text: str) -> list[str]:
    return [
        part
        for word in words_of(text)
        for part in (word if word[:1] >= _IDEOGRAPHS else [word.casefold()])
    ]
