"""The pieces of an answer that checks look at: its values, names of map entries, and quotes.

Knows no checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.documents import (
    AnswerValue,
    Evidence,
    Fields,
    Label,
    LabelSet,
    Reply,
    Summary,
    Written,
)
from pipelines.tasks.evidence import leaves
from pipelines.tasks.paths import field_path, item_path
from pipelines.tasks.schema import JsonSchema, field_schemas, is_map, item_schema

VALUE, NAME, QUOTE = "value", "name", "quote"
"""The places of a text in an answer: a value, the name of a map's entry, words of evidence."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A text in an answer.

    Attributes:
        path: the path of the value that it is, or that it is about.
        within: VALUE, NAME or QUOTE.
        text: the text.
        paths: the paths of all values that go if this one is taken out; those of an entry for its
            name. Empty for a quote.
        map_path: the path of the map, of a name; it does not have the name in it.
        row: the number of the evidence, from 0, of a quote.
    """

    path: str
    within: str
    text: str
    paths: tuple[str, ...] = ()
    map_path: str = ""
    row: int | None = None


def pieces_of(value: AnswerValue, schema: JsonSchema | None) -> list[Piece]:
    """Return all texts of an answer, values first. `schema` is that of an extraction."""
    return [*_values(value, schema), *_quotes(evidence_of(value))]


def evidence_of(value: AnswerValue) -> Sequence[Evidence]:
    """Return the evidence of an answer; () if its kind has none."""
    return value.evidence if isinstance(value, Reply | Fields) else ()


def label_path(index: int) -> str:
    """Return the path of the label at `index`, from 0, of an answer with several labels."""
    return item_path("labels", index)


def _values(value: AnswerValue, schema: JsonSchema | None) -> Iterator[Piece]:
    match value:
        case Summary(text) | Written(text) | Label(text):
            yield _value("", text)
        case Reply(text):
            if text is not None:
                yield _value("", text)
        case LabelSet(labels):
            for index, label in enumerate(labels):
                yield _value(label_path(index), label.label)
        case Fields(values):
            assert schema is not None
            for leaf in leaves(values, schema, ""):
                if not isinstance(leaf.value, bool):
                    yield _value(leaf.path, _text(leaf.value))
            yield from _names(values, schema, "")


def _value(path: str, text: str) -> Piece:
    return Piece(path, VALUE, text, (path,))


def _text(value: Any) -> str:
    """Return a value as text; a whole number without decimals, whatever its type is."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _names(value: Any, schema: JsonSchema, path: str) -> Iterator[Piece]:
    """Yield the names of map entries, at any depth: the model writes them, as it writes values."""
    if isinstance(value, Mapping):
        fields = field_schemas(value, schema)
        for name, element in value.items():
            at, of_field = field_path(path, name), fields.get(name, {})
            if is_map(schema):
                below = (leaf.path for leaf in leaves(element, of_field, at))
                yield Piece(at, NAME, name, (at, *below), path)
            yield from _names(element, of_field, at)
    elif isinstance(value, list | tuple):
        for index, element in enumerate(value):
            yield from _names(element, item_schema(schema, index), item_path(path, index))


def _quotes(evidence: Sequence[Evidence]) -> Iterator[Piece]:
    for number, row in enumerate(evidence):
        for words in (row.text, row.quote):
            if words is not None:
                yield Piece(row.path, QUOTE, words, row=number)
