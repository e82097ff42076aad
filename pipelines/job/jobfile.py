"""A job file as plain data: read from YAML, keys overridden, environment filled in.

A value is addressed by its path: mapping keys and list indexes, written with dots. Knows YAML,
paths and the wording of faults; does not know which keys a job file has, whoever calls tells.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic
import yaml
from pydantic import BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import CoreSchema, custom_error_schema

from pipelines.errors import SpecError

KeyPath = tuple[str | int, ...]
Violation = tuple[KeyPath, str]
"""Where below the checked value, and what must be there: a phrase that follows "must be"."""
KeysAt = Callable[[object, KeyPath], tuple[str, ...] | None]
"""The keys that may stand at a path of the given data; None where any may, or none are known."""

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")

_PLAIN = (
    ("null", r"^(?:null|Null|NULL|~|)$"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    ("merge", r"^<<$"),
)
"""What an unquoted scalar means, in this order; everything else is text."""


def _tag(name: str) -> str:
    return f"tag:yaml.org,2002:{name}"


class StrictYamlLoader(yaml.SafeLoader):
    """YAML 1.2's core scalars only: `yes`, `1:30` and dates stay text, and all data is plain JSON.

    Refuses repeated keys, keys that are not text, and (by building deep) what contains itself.
    """

    yaml_implicit_resolvers = {None: [(_tag(name), re.compile(it)) for name, it in _PLAIN]}  # noqa: RUF012 (as PyYAML has it)
    yaml_constructors = {
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag in (None, *map(_tag, ("null", "bool", "int", "float", "str", "seq")))
    } | {_tag("map"): lambda loader, node: loader.construct_mapping(node, deep=True)}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping's data, after its keys were found to be text and to differ."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag not in (_tag("str"), _tag("merge")):
                raise _refused(f"the key {key.value!r} must be text: put it in quotes", key)
            if key.value in seen:
                raise _refused(f"the key {key.value!r} is there twice: keep one", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refused(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def read(path: Path, needed: Sequence[str]) -> dict[str, object]:
    """The mapping in the one YAML document of a file, which has at least the `needed` keys; a file
    with nothing in it is an empty mapping where none are. SpecError where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise SpecError(f"{path}: cannot read it: {error.strerror}") from error
    data = parse_yaml(text, str(path))
    if data is None and not needed:
        return {}
    if not isinstance(data, dict):
        got = "the file is empty" if data is None else f"got {written(data)}"
        keys = f" with the keys {', '.join(needed)}" if needed else ""
        raise SpecError(f"{path}: {got}, must be a mapping{keys}")
    return data


def parse_yaml(text: str, where: str) -> object:
    """Plain data from one YAML document. A SpecError begins with `where` and names the line."""
    try:
        return yaml.load(text, StrictYamlLoader)  # noqa: S506 (StrictYamlLoader builds only plain data)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"{where}, line {line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{where}: not valid YAML: {error}") from error


def override(data: dict[str, object], assignment: str, keys_at: KeysAt) -> dict[str, object]:
    """A copy of `data` with one `path.to.key=value` applied; the value is read as YAML.

    A key that may stand there is added where the file leaves it out. SpecError otherwise.
    """
    where, equals, text = assignment.partition("=")
    if not where or not equals:
        raise SpecError(f"--set {assignment}: must be a key's path, `=` and a value")
    value = parse_yaml(text, f"--set {assignment}")
    changed = copy.deepcopy(data)
    section: Any = changed
    path: KeyPath = ()
    *parents, last = where.split(".")
    for key in parents:
        part = _part(section, path, key, keys_at(changed, path))
        path = (*path, part)
        if isinstance(section, dict) and section.get(key) is None:
            section[key] = {}
        section = section[part]
    section[_part(section, path, last, keys_at(changed, path))] = value
    return changed


def _part(section: object, path: KeyPath, key: str, known: Sequence[str] | None) -> str | int:
    """The key or index that stands for `key` in what is at `path`, or a SpecError."""
    if isinstance(section, list):
        if not key.isdecimal() or int(key) >= len(section):
            raise SpecError(f"--set {no_such_key((*path, key), range(len(section)))}")
        return int(key)
    if not isinstance(section, dict):
        found = f"{dotted(path)} is {written(section)}"
        raise SpecError(f"--set {dotted((*path, key))}: no such key; {found}")
    if known is not None and key not in known:
        raise SpecError(f"--set {no_such_key((*path, key), known)}")
    return key


def expand(data: object, environ: Mapping[str, str], path: KeyPath = ()) -> object:
    """A copy of `data` with every `${NAME}` in its texts replaced; `$${` stands for `${`.

    What comes from the environment stays text. SpecError where a variable is not set.
    """

    def replace(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        if not found[1]:
            raise SpecError(f"{dotted(path)}: must be ${{NAME}}; a literal ${{ is written $${{")
        if found[1] not in environ:
            raise SpecError(f"{dotted(path)}: the environment variable {found[1]} is not set")
        return environ[found[1]]

    match data:
        case str():
            return _REFERENCE.sub(replace, data)
        case list():
            return [expand(item, environ, (*path, index)) for index, item in enumerate(data)]
        case dict():
            return {key: expand(item, environ, (*path, key)) for key, item in data.items()}
    return data


def value_at(data: object, path: KeyPath) -> object:
    """The value at a path. LookupError where there is none."""
    for part in path:
        if not isinstance(data, Mapping if isinstance(part, str) else list | tuple):
            raise LookupError(dotted(path))
        data = data[part]  # type: ignore[index]  # just checked, by the kind of part
    return data


def dotted(path: KeyPath) -> str:
    """How messages write a path: `tasks.0.max_words`."""
    return ".".join(map(str, path))


def written(value: object) -> str:
    """A value as a message shows it: in YAML's words, cut at 60 characters."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def no_such_key(path: KeyPath, known: Sequence[object]) -> str:
    """The message for an unknown key, with the nearest known one."""
    names = [str(key) for key in known]
    near = difflib.get_close_matches(str(path[-1]), names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{dotted(path)}: no such key; {hint}keys here: {', '.join(names) or 'none'}"


@dataclass(frozen=True, slots=True)
class MustBe:
    """Replaces all that pydantic says about a value by one phrase that follows "must be"."""

    phrase: str

    def __get_pydantic_core_schema__(self, kind: object, inner: GetCoreSchemaHandler) -> CoreSchema:
        return custom_error_schema(inner(kind), "must_be", custom_error_message=self.phrase)


NonEmptyStr = Annotated[str, Field(pattern=r"\S"), MustBe("a text that is not empty")]
NonEmptyStrs = Annotated[tuple[NonEmptyStr, ...], Field(strict=False)]
PositiveInt = Annotated[int, Field(ge=1), MustBe("a whole number of at least 1")]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False), MustBe("a number above 0")]
Time = Annotated[
    pydantic.AwareDatetime,
    BeforeValidator(lambda given: datetime.fromisoformat(given) if type(given) is str else given),
    MustBe("a time with its zone, such as 2030-01-31T18:00:00Z"),
]


def raise_violations(faults: Iterable[Violation]) -> None:
    """Inside a pydantic validator, raises all faults there are, each at its own path."""
    details: list[InitErrorDetails] = [
        {"type": PydanticCustomError("must_be", "{it}", {"it": it}), "loc": path, "input": None}
        for path, it in faults
    ]
    if details:
        raise ValidationError.from_exception_data("job file", details)


def known(key: str, values: Collection[object]) -> BeforeValidator:
    """Refuses a mapping whose `key` is none of `values`, before pydantic looks for its union."""

    def check(given: object) -> object:
        if isinstance(given, Mapping) and given.get(key) not in tuple(values):
            raise_violations([((key,), f"one of {', '.join(map(str, values))}")])
        return given

    return BeforeValidator(check)


class Section(pydantic.BaseModel):
    """A mapping of the job file: immutable, and no key or type but its own is let in."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, serialize_by_alias=True)

    @pydantic.model_validator(mode="after")
    def _refuse_faults(self) -> Self:
        raise_violations(self.violations())
        return self

    def violations(self) -> Iterable[Violation]:
        """What is wrong with the keys taken together, each of them being right alone."""
        return ()


def _read_schema(given: object, info: pydantic.ValidationInfo) -> object:
    if not isinstance(given, str) or not info.context:
        return given
    try:
        return json.loads((info.context["directory"] / given).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise_violations([((), f"the path of a JSON file beside the job file ({reason})")])
        raise


JsonSchemaInput = Annotated[
    dict[str, pydantic.JsonValue],
    MustBe("a JSON Schema, or the path of one beside the job file"),
    BeforeValidator(_read_schema),
]


def violation_lines(
    error: ValidationError, data: object, shown: object, keys_at: KeysAt
) -> Iterator[str]:
    """A line for each fault. `shown` is `data` before the environment was filled in."""
    for details in error.errors():
        path, phrase = details["loc"], details["msg"]
        if len(path) > 3 and isinstance(path[1], int):
            path = (*path[:2], *path[3:])  # pydantic puts a task's kind between index and key
        known = keys_at(data, path)
        match details["type"]:
            case "extra_forbidden":
                yield no_such_key(path, keys_at(data, path[:-1]) or ())
                continue
            case "missing" if not known:
                phrase = "given"
            case "missing" | "model_type" | "model_attributes_type" | "dict_type" | "too_short":
                phrase = f"a mapping with keys {', '.join(known or ())}".strip()
            case "tuple_type":
                phrase = "a list"
            case "literal_error":
                phrase = f"one of {details['ctx']['expected']}"
        yield _fault_line(path, phrase, data, shown)


def _fault_line(path: KeyPath, phrase: str, data: object, shown: object) -> str:
    where = f"{dotted(path)}: " if path else ""
    try:
        given, used = value_at(shown, path), value_at(data, path)
    except LookupError:
        return f"{where}missing, must be {phrase}"
    source = " (text from the environment)" if isinstance(given, str) and given != used else ""
    return f"{where}got {written(given)}{source}, must be {phrase}"
