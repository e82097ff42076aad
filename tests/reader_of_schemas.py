"""A perfect reader for any schema: a text that states an answer, and what each part states of it.

Every value of the answer stands in a line of its own, a fixed tuple in one line.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from planted_statements import prose
from scripted import Shown, parse_shown

from pipelines.tasks.extraction import has_content
from pipelines.tasks.kinds import Sampling
from pipelines.tasks.paths import field_path, item_path
from pipelines.tasks.schema import JsonSchema, empty_value, field_schemas, is_map, item_schema


@dataclass
class StatedAnswer:
    """A text that states an answer. `lines` are those of its values by path."""

    answer: Mapping[str, Any]
    schema: JsonSchema
    quotes_key: str
    filler: int = 0
    lines: dict[str, str] = field(default_factory=dict)
    text: str = ""

    def __post_init__(self) -> None:
        self._dice = random.Random(1)  # noqa: S311  # seeded on purpose
        self._write(self.answer, self.schema, "")

    def _write(self, value: Any, schema: JsonSchema, path: str, *, within: bool = False) -> None:
        """Write the lines of a value; `within` an item of a list, without words between them."""
        if isinstance(value, Mapping):
            fields = field_schemas(value, schema)
            for name, item in value.items():
                self._write(item, fields[name], field_path(path, name), within=within)
        elif isinstance(value, list) and "prefixItems" not in schema:
            for index, item in enumerate(value):
                self._write(item, item_schema(schema, index), item_path(path, index), within=True)
                if not within:
                    self._write_filler()
        elif value is not None:
            said = [str(item) for item in (value if isinstance(value, list) else [value])]
            self.lines[path] = f"Of {path.replace('[', ' ').replace(']', '')}: {' and '.join(said)}"
            self.text += f"{self.lines[path]}\n"
            if not within:
                self._write_filler()

    def _write_filler(self) -> None:
        if self.filler:
            words = prose(self._dice, self._dice.randrange(self.filler))
            self.text += "\n" + words.rstrip("-") + "\n\n"

    def read(self, prompt: str, sampling: Sampling) -> tuple[str, float | None]:
        """Return the answer of a model to a prompt: what the part of the text in it states."""
        before, _, question = prompt.rpartition("Question: ")
        if "Answer with its number." in question:
            return "1", 0.0
        shown = parse_shown(before)
        stated = self._stated(self.answer, self.schema, "", shown) or {}
        chosen = stated or self.answer
        fields = field_schemas(chosen, self.schema)
        values = {name: stated.get(name, empty_value(fields[name])) for name in fields}
        if "discriminator" in self.schema:
            name = self.schema["discriminator"]
            values[name] = self.answer[name]
        quotes = {name: self._quote(name, shown) for name in self.schema["properties"]}
        return json.dumps({**values, self.quotes_key: quotes}, ensure_ascii=False), None

    def _stated(self, value: Any, schema: JsonSchema, path: str, shown: Shown) -> Any:
        """Return what a part of the text states of a value; None if it is nothing."""
        if isinstance(value, Mapping):
            return self._object(value, schema, path, shown)
        if isinstance(value, list) and "prefixItems" not in schema:
            items = [
                self._stated(item, item_schema(schema, at), item_path(path, at), shown)
                for at, item in enumerate(value)
            ]
            return [item for item in items if item is not None]
        return value if _is_in(self.lines.get(path), shown) else None

    def _object(
        self, value: Mapping[str, Any], schema: JsonSchema, path: str, shown: Shown
    ) -> dict[str, Any] | None:
        fields = field_schemas(value, schema)
        stated = {
            name: self._stated(value.get(name), fields[name], field_path(path, name), shown)
            for name in fields
        }
        if is_map(schema):
            return {name: item for name, item in stated.items() if item is not None}
        if not has_content(stated):
            return None
        if "discriminator" in schema:
            stated[schema["discriminator"]] = value[schema["discriminator"]]
        return stated

    def _quote(self, name: str, shown: Shown) -> str | None:
        of_field = field_path("", name)
        found = (
            line
            for path, line in self.lines.items()
            if (path == of_field or path.startswith((f"{of_field}.", f"{of_field}[")))
            and _is_in(line, shown)
        )
        return next(found, None)


def _is_in(line: str | None, shown: Shown) -> bool:
    """Return whether a line is shown, at least a part of it in the part that is asked about."""
    start = shown.text.find(line) if line else -1
    return line is not None and start >= 0 and start < shown.end and start + len(line) > shown.start
