"""Answers of an extraction as instances of a pydantic model class."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, RootModel, ValidationError

from pipelines.tasks.normalizing import ROOT_FIELD


@dataclass(frozen=True, slots=True)
class Form:
    """A pydantic model class as which answers are read."""

    kind: type[BaseModel]

    def read(self, fields: Mapping[str, Any]) -> tuple[BaseModel | None, str | None]:
        """Return the fields of an answer as an instance, and None; or None, and why they are none.

        A field that the document does not state is null. If its type allows no null, it gets the
        class's default; if it has none either, there is no instance.
        """
        data: Any = fields[ROOT_FIELD] if issubclass(self.kind, RootModel) else fields
        try:
            return self.kind.model_validate(data), None
        except ValidationError as error:
            first = error
        data = copy.deepcopy(data)
        for fault in first.errors():
            if fault["input"] is None:
                _remove(data, fault["loc"])
        try:
            return self.kind.model_validate(data), None
        except ValidationError as error:
            return None, _describe(error)


def _remove(data: Any, path: tuple[int | str, ...]) -> None:
    """Remove a property from nested mappings and lists; parts of `path` that pydantic adds for
    members of unions lead nowhere, and are skipped."""
    *parents, last = path
    for part in parents:
        is_index = isinstance(data, list) and isinstance(part, int)
        if is_index or (isinstance(data, dict) and part in data):
            data = data[part]
    if isinstance(data, dict):
        data.pop(last, None)


def _describe(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
    )
