"""What chunks said of a document becomes what the document says: values merged, labels voted on.

Lists are joined without repeats, a single value stands where all that state one agree, and where
they do not there is a conflict for somebody else to settle; a single value that no quote shows does
not count beside one that a quote shows. Pure; knows no prompts and no engine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pipelines.documents import Fields, Label, Quote
from pipelines.tasks.extraction import has_content
from pipelines.tasks.schema import kind_of
from pipelines.tasks.validation import JsonSchema

T = TypeVar("T")
FieldPath = tuple[str, ...]
# Labels this close are as good as each other.
TIE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that some chunks state, as the first of them does, with that one's quote."""

    value: Any
    quote: Quote | None
    chunks: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field of one value, by its path, and the different values stated, in document order."""

    path: FieldPath
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """The values on which chunks agree; null where there is a conflict."""

    values: dict[str, Any]
    conflicts: tuple[Conflict, ...]


def merge(
    findings: Sequence[Fields], schema: JsonSchema, choices: Mapping[FieldPath, Any] | None = None
) -> Merged:
    """Merge what chunks found, in document order. `choices` settle conflicts, by path."""
    merging = _Merging(choices or {})
    values = merging.fields([(found.values, found) for found in findings], schema, ())
    return Merged(values, tuple(merging.conflicts))


@dataclass
class _Merging:
    choices: Mapping[FieldPath, Any]
    conflicts: list[Conflict] = field(default_factory=list)

    def fields(
        self, stated: Sequence[tuple[Any, Fields]], schema: JsonSchema, path: FieldPath
    ) -> dict[str, Any]:
        return {
            name: self._value(
                [(values.get(name), found) for values, found in stated], each, (*path, name)
            )
            for name, each in schema["properties"].items()
        }

    def _value(
        self, stated: Sequence[tuple[Any, Fields]], schema: JsonSchema, path: FieldPath
    ) -> Any:
        said = [(value, found) for value, found in stated if has_content(value)]
        kind = kind_of(schema)
        if kind == "array":
            return _first_of_each((item, item) for value, _ in said for item in value)
        if not said:
            return None
        return self.fields(said, schema, path) if kind == "object" else self._agreed(said, path)

    def _agreed(self, said: Sequence[tuple[Any, Fields]], path: FieldPath) -> Any:
        if path in self.choices:
            return self.choices[path]
        shown = prefer_verified(said, lambda pair: _quotes_of(pair[1], path[0]))
        different = _first_of_each((value, (value, found)) for value, found in shown)
        if len(different) == 1:
            return shown[0][0]
        chunks = Counter(_key(value) for value, _ in said)
        candidates = [
            Candidate(value, next(iter(_quotes_of(found, path[0])), None), chunks[_key(value)])
            for value, found in different
        ]
        self.conflicts.append(Conflict(path, tuple(candidates)))
        return None


def _first_of_each(pairs: Iterable[tuple[Any, T]]) -> list[T]:
    """The first of those whose values are the same, in their order."""
    first: dict[str, T] = {}
    for value, it in pairs:
        first.setdefault(_key(value), it)
    return list(first.values())


def _quotes_of(found: Fields, name: str) -> list[Quote]:
    return [quote for quote in found.quotes if quote.field == name]


def prefer_verified(stated: Sequence[T], quotes: Callable[[T], Iterable[Quote]]) -> Sequence[T]:
    """Of what chunks state, what a quote in the document shows; all of it where none is shown."""
    shown = [each for each in stated if any(quote.verified for quote in quotes(each))]
    return shown or stated


def _key(value: Any) -> str:
    """What two ways of writing one value have in common."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    match value:
        case bool():
            return value
        case str():
            return normalize_text(value)
        case int() | float():
            return float(value) if abs(value) < 2**53 else value
        case list():
            return [_plain(each) for each in value]
        case dict():
            return {name: _plain(each) for name, each in value.items()}
    return value


def normalize_text(text: str) -> str:
    """A text without regard to case, white space, and a full stop at its end."""
    return " ".join(text.casefold().split()).rstrip(".")


def merged_quotes(findings: Sequence[Fields], values: Mapping[str, Any]) -> tuple[Quote, ...]:
    """The quotes that show merged values: one of a single value, all different ones of others."""
    kept: list[Quote] = []
    for name, value in values.items():
        if not has_content(value):
            continue
        single = not isinstance(value, list | dict)
        shown = [
            quote
            for found in findings
            if not single or _key(found.values.get(name)) == _key(value)
            for quote in _quotes_of(found, name)
        ]
        shown.sort(key=lambda quote: not quote.verified)
        kept += shown[:1] if single else dict.fromkeys(shown)
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class Vote:
    """How far the chunks that voted are for each label, from 0 to 1, the most voted for first."""

    shares: tuple[tuple[str, float], ...]

    @property
    def tied(self) -> tuple[str, ...]:
        """The labels among which the vote does not decide; only one where it does."""
        least = self.shares[0][1] - TIE_SHARE
        return tuple(label for label, share in self.shares if share >= least)

    def share(self, label: str) -> float:
        return dict(self.shares)[label]


def vote(labels: Sequence[Label]) -> Vote:
    """Count at least one label of chunks; one without a confidence counts whole."""
    shares: dict[str, float] = {}
    for each in labels:
        shares[each.label] = shares.get(each.label, 0.0) + each.weight / len(labels)
    return Vote(tuple(sorted(shares.items(), key=lambda pair: -pair[1])))
