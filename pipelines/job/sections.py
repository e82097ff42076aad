"""Validation of plain data as sections of a job file: types of values, and messages about faults.

A section is a pydantic model. `load` validates a file, `checked` plain data. This module does not
know which sections there are; `spec.py`, `resources.py` and the serve file's `spec.py` define them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Self, TypeVar, get_args, get_origin

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import CoreSchema, custom_error_schema

from pipelines.errors import SpecError
from pipelines.job.jobfile import (
    KeyPath,
    KeysAt,
    dotted,
    expand,
    format_value,
    no_such_key,
    override,
    read_mapping,
    value_at,
)

Violation = tuple[KeyPath, str]
"""A fault: the path below the validated section, and a phrase that follows "must be"."""
_MAPPING = "a mapping with at least one key, such as {key: value}"


@dataclass(frozen=True, slots=True)
class MustBe:
    """An annotation of a type that replaces all of pydantic's messages about an invalid value.

    `phrase` describes a valid value and follows "must be" in the message, for example "a whole
    number of at least 1".
    """

    phrase: str

    def __get_pydantic_core_schema__(self, kind: object, inner: GetCoreSchemaHandler) -> CoreSchema:
        return custom_error_schema(inner(kind), "must_be", custom_error_message=self.phrase)


NonEmptyStr = Annotated[str, Field(pattern=r"\S"), MustBe("a non-empty string")]
"""A string with at least one character that is not white space."""
NonEmptyStrs = Annotated[tuple[NonEmptyStr, ...], Field(strict=False)]
"""A list, possibly empty, of strings as NonEmptyStr; read as a tuple."""
PositiveInt = Annotated[int, Field(ge=1), MustBe("a whole number of at least 1")]
"""A whole number of at least 1; neither a fraction nor true."""
PositiveFloat = Annotated[
    float, Field(gt=0, allow_inf_nan=False), MustBe("a number greater than 0")
]
"""A finite number greater than 0, whole or not; read as a float."""
Time = Annotated[
    pydantic.AwareDatetime,
    BeforeValidator(lambda given: datetime.fromisoformat(given) if type(given) is str else given),
    MustBe("a time with a time zone, such as 2030-01-31T18:00:00Z"),
]
"""A point in time, given as a string in ISO 8601 with a time zone; read as a datetime."""


def raise_violations(faults: Iterable[Violation]) -> None:
    """Raise one pydantic ValidationError with all `faults`; do nothing if there are none.

    A fault is the key path of a value and a phrase that says what the value must be.

    Call it only inside a pydantic validator: pydantic then puts the section's own path before the
    path of each fault.
    """
    details: list[InitErrorDetails] = [
        {
            "type": PydanticCustomError("must_be", "{phrase}", {"phrase": phrase}),
            "loc": path,
            "input": None,
        }
        for path, phrase in faults
    ]
    if details:
        raise ValidationError.from_exception_data("job file", details)


def known(key: str, values: Collection[object]) -> BeforeValidator:
    """Return a pydantic validator that rejects a mapping if its value of `key` is not in `values`.

    A mapping without `key` is rejected too; anything that is not a mapping is left to pydantic. The
    validator runs before pydantic selects the member of a union by that key, whose messages about
    an unknown value it replaces.
    """

    def check(given: object) -> object:
        if isinstance(given, Mapping) and given.get(key) not in tuple(values):
            raise_violations([((key,), f"one of {', '.join(map(str, values))}")])
        return given

    return BeforeValidator(check)


class Section(pydantic.BaseModel):
    """Base class of the mappings (sections) in a job file, a serve file or a request.

    Its attributes are the section's keys. Instances are immutable. Unknown keys are errors, and
    values are not converted between types. `violations` adds checks of several keys together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, serialize_by_alias=True)

    @pydantic.model_validator(mode="after")
    def _reject_violations(self) -> Self:
        raise_violations(self.violations())
        return self

    def violations(self) -> Iterable[Violation]:
        """Return the faults in combinations of keys, such as a minimum above its maximum.

        Validation calls it once each key by itself is valid, and raises the faults. A section with
        such rules overrides it; this method returns no faults. The paths of faults begin below this
        section.
        """
        return ()


def _read_schema(given: object, info: pydantic.ValidationInfo) -> object:
    if not isinstance(given, str) or not info.context:
        return given
    try:
        return json.loads((info.context["directory"] / given).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not valid JSON: {error}"
        phrase = f"the path of a JSON file, relative to the job file's directory ({reason})"
        raise_violations([((), phrase)])
        raise


JsonSchemaInput = Annotated[
    dict[str, pydantic.JsonValue],
    MustBe("a JSON Schema (a mapping), or the path of a JSON file with one, such as facts.json"),
    BeforeValidator(_read_schema),
]
"""A JSON Schema, or the path of a JSON file with one, which is then read.

The path is relative to the `directory` of `checked`; without one, a path is an error."""


def violation_lines(
    error: ValidationError, data: object, shown: object, keys_at: KeysAt
) -> Iterator[str]:
    """Yield one message for each fault in `error`, which pydantic raised about `data`.

    A message has the key path, the value and what it must be. The value is taken from `shown`,
    which is `data` before environment variables were expanded, so that no secret is shown.
    `keys_at` returns the allowed keys at a path (see `keys_under`); messages about a missing or
    unknown key name them.
    """
    for details in error.errors():
        path, phrase = details["loc"], details["msg"]
        path = _without_kind(path, data)
        known = keys_at(data, path)
        match details["type"]:
            case "extra_forbidden":
                yield no_such_key(path, keys_at(data, path[:-1]) or ())
                continue
            case "missing" if not known:
                yield f"{dotted(path)}: missing; this key is required"
                continue
            case "missing" | "model_type" | "model_attributes_type" | "dict_type" | "too_short":
                phrase = f"a mapping with the keys {', '.join(known)}" if known else _MAPPING
            case "tuple_type":
                phrase = "a list"
            case "literal_error":
                phrase = f"one of {details['ctx']['expected']}"
        yield _fault_line(path, phrase, data, shown)


def _without_kind(path: KeyPath, data: object) -> KeyPath:
    """Return a path without the kind that pydantic puts between an item's index and its key."""
    if len(path) < 4 or not isinstance(path[1], int):
        return path
    try:
        kind = value_at(data, (*path[:2], "kind"))
    except LookupError:
        return path
    return (*path[:2], *path[3:]) if path[2] == kind else path


def _fault_line(path: KeyPath, phrase: str, data: object, shown: object) -> str:
    where = f"{dotted(path)}: " if path else ""
    try:
        written, expanded = value_at(shown, path), value_at(data, path)
    except LookupError:
        return f"{where}missing, must be {phrase}"
    from_environment = isinstance(written, str) and written != expanded
    source = " (a string from the environment)" if from_environment else ""
    return f"{where}got {format_value(written)}{source}, must be {phrase}"


S = TypeVar("S", bound=Section)


def load(
    kind: type[S],
    path: str | Path,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> tuple[S, dict[str, object]]:
    """Read the YAML file `path`, apply `overrides`, and validate it as a section of type `kind`.

    An override is `PATH=VALUE` (see `override`). Returns the section, with `${NAME}` replaced from
    `environ`, and the file's plain data with the overrides but without that replacement, so without
    secrets. Raises SpecError if the file cannot be read, an override cannot be applied, a variable
    is not set, or with one line per fault in the data.
    """
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    source = read_mapping(Path(path), required)
    return load_data(kind, source, Path(path).parent, overrides, environ)


def load_data(
    kind: type[S],
    source: dict[str, object],
    directory: Path,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> tuple[S, dict[str, object]]:
    """Do what `load` does with `source`, the plain data of a file in `directory`."""
    for assignment in overrides:
        source = override(source, assignment, keys_under(kind))
    return checked(kind, expand(source, environ), source, directory), source


def checked(kind: type[S], data: object, shown: object, directory: Path | None) -> S:
    """Validate `data`, mappings and lists as in YAML, and return it as a section of type `kind`.

    `shown` is `data` before environment variables were expanded; messages show its values, so that
    no secret is shown. A task's schema may be the path of a file, relative to `directory`; if
    `directory` is None, it must be the schema itself. Raises SpecError with one line per fault.
    """
    try:
        return kind.model_validate(data, context=directory and {"directory": directory})
    except ValidationError as error:
        lines = violation_lines(error, data, shown, keys_under(kind))
        raise SpecError("\n".join(lines)) from None


def keys_under(kind: type[Section]) -> KeysAt:
    """Return a function that looks up the allowed keys in a file whose root is of type `kind`.

    For some data and a path in it, the function returns the keys that the mapping at this path may
    have. It returns None if no section belongs there, so that any key or none is allowed.
    """

    def keys_at(data: object, path: KeyPath) -> tuple[str, ...] | None:
        section: object = kind
        for count, part in enumerate(path, 1):
            if get_origin(section) is tuple and isinstance(part, int):
                item = get_args(section)[0]
                section = _member(item, data, path[:count]) if get_args(item) else item
            else:
                section = getattr(_fields(section).get(part), "annotation", None)
        fields = _fields(section)
        return tuple(field.alias or str(name) for name, field in fields.items()) or None

    return keys_at


def _member(union: object, data: object, path: KeyPath) -> object:
    """Return the section of an annotated union that has the `kind` of the mapping at `path`."""
    value = value_at(data, path)
    name = value.get("kind") if isinstance(value, Mapping) else None
    members = get_args(get_args(union)[0])
    return next((member for member in members if _fields(member)["kind"].default == name), None)


def _fields(annotation: object) -> Mapping[str | int, FieldInfo]:
    """Return the fields of a section, which may be optional, or no fields for any other type."""
    kinds = {*get_args(annotation)} - {type(None)} or {annotation}
    return getattr(kinds.pop(), "model_fields", {}) if len(kinds) == 1 else {}
