"""Merge the findings of chunks into one answer: values are merged, labels are voted on.

Lists are concatenated without duplicates. A single value is taken if all chunks that state one
agree; otherwise it is a conflict, which the caller resolves. A value without a verified quote is
ignored if another value has one. Pure; knows no prompts and no engine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pipelines.documents import Fields, Label, Quote
from pipelines.tasks.extraction import has_content
from pipelines.tasks.schema import JsonSchema, json_type

T = TypeVar("T")
FieldPath = tuple[str, ...]
"""The names that lead to a field, from the outermost object inwards."""
TIE_SHARE = 0.05
"""Labels whose share of the votes is at most this much below the largest are tied with it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of several different values that chunks state for a field.

    Attributes:
        value: the value as spelled by the first chunk that states it.
        quote: that chunk's quote for the field, if it gave one.
        chunks: how many chunks state the value, in any spelling.
    """

    value: Any
    quote: Quote | None
    chunks: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field for which chunks state different values, with these values in document order."""

    path: FieldPath
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged values by field name, with None for each field in conflict, and the conflicts."""

    values: dict[str, Any]
    conflicts: tuple[Conflict, ...]


def merge(
    findings: Sequence[Fields], schema: JsonSchema, choices: Mapping[FieldPath, Any] | None = None
) -> Merged:
    """Merge the fields that chunks state; fields on which they disagree become conflicts.

    Args:
        findings: the fields of each chunk, in document order.
        schema: the normalized schema of the fields.
        choices: the decided values of fields that were in conflict in an earlier call, by path.
            They are taken as they are, and those fields are not in conflict again.
    """
    merging = _Merging(choices or {})
    values = merging.fields([(finding.values, finding) for finding in findings], schema, ())
    return Merged(values, tuple(merging.conflicts))


@dataclass
class _Merging:
    """Merges values recursively along the schema, and collects the conflicts.

    `stated` in its methods are pairs of a value and the finding that states it.
    """

    choices: Mapping[FieldPath, Any]
    conflicts: list[Conflict] = field(default_factory=list)

    def fields(
        self, stated: Sequence[tuple[Any, Fields]], schema: JsonSchema, path: FieldPath
    ) -> dict[str, Any]:
        return {
            name: self._value(
                [(values.get(name), finding) for values, finding in stated],
                subschema,
                (*path, name),
            )
            for name, subschema in schema["properties"].items()
        }

    def _value(
        self, stated: Sequence[tuple[Any, Fields]], schema: JsonSchema, path: FieldPath
    ) -> Any:
        stated = [(value, finding) for value, finding in stated if has_content(value)]
        kind = json_type(schema)
        if kind == "array":
            return _without_duplicates((item, item) for value, _ in stated for item in value)
        if not stated:
            return None
        return self.fields(stated, schema, path) if kind == "object" else self._agreed(stated, path)

    def _agreed(self, stated: Sequence[tuple[Any, Fields]], path: FieldPath) -> Any:
        """Return the value that all chunks state; record a conflict if they differ."""
        if path in self.choices:
            return self.choices[path]
        preferred = prefer_verified(stated, lambda pair: _quotes_of(pair[1], path[0]))
        different = _without_duplicates((value, (value, finding)) for value, finding in preferred)
        if len(different) == 1:
            return preferred[0][0]
        chunks = Counter(_key(value) for value, _ in stated)
        candidates = [
            Candidate(value, next(iter(_quotes_of(finding, path[0])), None), chunks[_key(value)])
            for value, finding in different
        ]
        self.conflicts.append(Conflict(path, tuple(candidates)))
        return None


def _without_duplicates(pairs: Iterable[tuple[Any, T]]) -> list[T]:
    """Return the second elements of pairs, keeping the first pair of those with equal values."""
    first: dict[str, T] = {}
    for value, element in pairs:
        first.setdefault(_key(value), element)
    return list(first.values())


def _quotes_of(finding: Fields, name: str) -> list[Quote]:
    return [quote for quote in finding.quotes if quote.field == name]


def prefer_verified(stated: Sequence[T], quotes: Callable[[T], Iterable[Quote]]) -> Sequence[T]:
    """Return the items that have a verified quote, or all items if none has.

    `quotes` returns the quotes of an item.
    """
    verified = [item for item in stated if any(quote.verified for quote in quotes(item))]
    return verified or stated


def _key(value: Any) -> str:
    """Return a key that is the same for all spellings of a value."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    match value:
        case bool():
            return value
        case str():
            return normalize_text(value)
        case int() | float():
            # larger integers are not exact as floats
            return float(value) if abs(value) < 2**53 else value
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
    return value


def normalize_text(text: str) -> str:
    """Return a text for comparison: in lower case, with single spaces, without final full stops."""
    return " ".join(text.casefold().split()).rstrip(".")


def merged_quotes(findings: Sequence[Fields], values: Mapping[str, Any]) -> tuple[Quote, ...]:
    """Return the quotes of the chunks that support merged values, in the order of the fields.

    `findings` are the fields of each chunk, and `values` the result of merging them. A single value
    gets at most one quote, of a chunk that states this value, and a verified one if there is one. A
    list or an object gets all different quotes of its field, verified ones first.
    """
    result: list[Quote] = []
    for name, value in values.items():
        if not has_content(value):
            continue
        single = not isinstance(value, list | dict)
        quotes = [
            quote
            for finding in findings
            if not single or _key(finding.values.get(name)) == _key(value)
            for quote in _quotes_of(finding, name)
        ]
        quotes.sort(key=lambda quote: not quote.verified)
        result += quotes[:1] if single else dict.fromkeys(quotes)
    return tuple(result)


@dataclass(frozen=True, slots=True)
class Vote:
    """The result of a vote of chunks on a label, as `vote` counts it.

    The first label wins if it is the only one in `tied`. Otherwise no label wins: the caller has
    the model choose among the labels in `tied`.

    Attributes:
        shares: each label that has votes, with its share of them, weighted by confidence, from 0 to
            1, in descending order.
    """

    shares: tuple[tuple[str, float], ...]

    @property
    def tied(self) -> tuple[str, ...]:
        """Return the labels whose share is within TIE_SHARE of the largest, at least one.

        It is a single label if the vote is decided.
        """
        min_share = self.shares[0][1] - TIE_SHARE
        return tuple(label for label, share in self.shares if share >= min_share)

    def share(self, label: str) -> float:
        """Return the share of the votes for a label that has votes, from 0 to 1."""
        return dict(self.shares)[label]


def vote(labels: Sequence[Label]) -> Vote:
    """Count the labels of chunks, at least one, each weighted by its confidence, as a Vote.

    A label without a confidence has weight 1. Shares are of the number of labels, so they add up to
    less than 1 if chunks are not certain.
    """
    shares: dict[str, float] = {}
    for label in labels:
        shares[label.label] = shares.get(label.label, 0.0) + label.weight / len(labels)
    return Vote(tuple(sorted(shares.items(), key=lambda pair: -pair[1])))
