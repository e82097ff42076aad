"""A job file as plain data: reads YAML, applies overrides and expands environment variables.

A value is addressed by its path of mapping keys and list indexes, written with dots. This module
does not know which keys a job file has: callers pass the allowed keys. `sections.py` validates.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import SpecError

KeyPath = tuple[str | int, ...]
"""The mapping keys and list indexes that lead to a value, for example ("tasks", 0, "name")."""
KeysAt = Callable[[object, KeyPath], tuple[str, ...] | None]
"""A function of data and a path that returns the keys which the mapping at this path may have.

It returns None if any key is allowed at this path, or if its value must not be a mapping."""

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")

_PLAIN = (
    ("null", r"^(?:null|Null|NULL|~|)$"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    ("merge", r"^<<$"),
)
"""Types of unquoted scalars by pattern; the first match decides, and anything else is a string."""


def _tag(name: str) -> str:
    return f"tag:yaml.org,2002:{name}"


class StrictYamlLoader(yaml.SafeLoader):
    """A YAML loader, used through `parse_yaml`, that returns only values which JSON has.

    Unquoted scalars are null, true, false, decimal numbers, or else strings: so are `yes`, `1:30`
    and dates. Anchors and merge keys (`<<`) work. Other tags, a repeated key, a key that is not a
    string, and a value that contains itself raise yaml.YAMLError.
    """

    yaml_implicit_resolvers = {None: [(_tag(name), re.compile(it)) for name, it in _PLAIN]}  # noqa: RUF012 (as PyYAML has it)
    yaml_constructors = {
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag in (None, *map(_tag, ("null", "bool", "int", "float", "str", "seq")))
    } | {_tag("map"): lambda loader, node: loader.construct_mapping(node, deep=True)}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping of a YAML node; with `deep`, its values are complete on return.

        PyYAML calls this. Raises yaml.constructor.ConstructorError if a key is repeated or is not a
        string.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag not in (_tag("str"), _tag("merge")):
                raise _error_at(key, f"key {key.value!r} must be a string: put it in quotes")
            if key.value in seen:
                raise _error_at(key, f"key {key.value!r} occurs twice: remove one of them")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _error_at(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def read_mapping(path: Path, required: Sequence[str]) -> dict[str, object]:
    """Return the mapping in a YAML file with one document.

    `required` are the keys that the mapping needs. They are not checked here: they are only named
    in the message about a file that is empty or holds no mapping. An empty file is an empty mapping
    if `required` is empty. Raises SpecError, naming the file, if it cannot be read, is not UTF-8,
    is not valid YAML, or does not hold a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{path}: not valid UTF-8: {error.reason} at byte {error.start}; save the file as UTF-8"
        ) from error
    except OSError as error:
        raise SpecError(
            f"{path}: cannot read the file: {error.strerror}; check its path and its permissions"
        ) from error
    data = parse_yaml(text, str(path))
    if data is None and not required:
        return {}
    if not isinstance(data, dict):
        got = "the file is empty" if data is None else f"got {format_value(data)}"
        keys = f" with the keys {', '.join(required)}" if required else ""
        raise SpecError(f"{path}: {got}, must be a YAML mapping{keys}; write lines of KEY: VALUE")
    return data


def parse_yaml(text: str, where: str) -> object:
    """Return the data of `text`, one YAML document; None if it is empty.

    `where` says in messages where the text is from, for example a file's path. Raises SpecError,
    with `where` and the line, if the text is not YAML as StrictYamlLoader accepts it.
    """
    try:
        return yaml.load(text, StrictYamlLoader)  # noqa: S506 (StrictYamlLoader builds only plain data)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(
            f"{where}, line {line}: not valid YAML: {error.problem}; correct this line"
        ) from error
    except yaml.YAMLError as error:
        raise SpecError(
            f"{where}: not valid YAML: {error}; remove this character, or write it as an escape in "
            "double quotes"
        ) from error


def override(data: dict[str, object], assignment: str, keys_at: KeysAt) -> dict[str, object]:
    """Return a copy of `data` with the value at one path replaced.

    `assignment` is `PATH=VALUE`, as in the option `--set`: PATH consists of mapping keys and list
    indexes, joined by dots, and VALUE is parsed as YAML. Keys that are missing in `data` are added,
    list items are not. Raises SpecError if `assignment` has another form, VALUE is not YAML, the
    path leads through a value that is not a mapping or a list, or `keys_at` does not allow a key.
    """
    where, equals, text = assignment.partition("=")
    if not where or not equals:
        raise SpecError(
            f"--set {assignment}: must be PATH=VALUE, such as --set model.name=tiny or "
            "--set tasks.0.max_words=80"
        )
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
    """Return `key` as a key or index of `section`, the value at `path`.

    `known` are the allowed keys, None if any is. Raises SpecError if there is no such key.
    """
    if isinstance(section, list):
        if not key.isdecimal() or int(key) >= len(section):
            raise SpecError(f"--set {no_such_key((*path, key), range(len(section)))}")
        return int(key)
    if not isinstance(section, dict):
        value = f"{dotted(path)} is {format_value(section)}, not a mapping or a list"
        remedy = f"to replace it, use --set {dotted(path)}=VALUE"
        raise SpecError(f"--set {dotted((*path, key))}: no such key; {value}; {remedy}")
    if known is not None and key not in known:
        raise SpecError(f"--set {no_such_key((*path, key), known)}")
    return key


def expand(data: object, environ: Mapping[str, str], path: KeyPath = ()) -> object:
    """Return a copy of `data` with each `${NAME}` in its strings replaced by `environ[NAME]`.

    `$${` becomes `${`. A string stays a string, also if it then looks like a number. Mapping keys
    are not expanded. `path` is the key path of `data` in its file, for messages. Raises SpecError
    if a variable is not set, or if `${` does not begin a reference.
    """

    def replace(reference: re.Match[str]) -> str:
        name = reference[1]
        if reference[0] == "$${":
            return "${"
        if not name:
            raise SpecError(
                f"{dotted(path)}: '${{' must start a reference such as ${{HOME}}; "
                "write a literal ${ as $${"
            )
        if name not in environ:
            raise SpecError(
                f"{dotted(path)}: the environment variable {name} is not set; set it, or write a "
                "literal ${ as $${"
            )
        return environ[name]

    match data:
        case str():
            return _REFERENCE.sub(replace, data)
        case list():
            return [expand(item, environ, (*path, index)) for index, item in enumerate(data)]
        case dict():
            return {key: expand(item, environ, (*path, key)) for key, item in data.items()}
    return data


def value_at(data: object, path: KeyPath) -> object:
    """Return the value at `path` in nested mappings and lists; the empty path is `data` itself.

    Raises LookupError if there is no such path.
    """
    for part in path:
        if not isinstance(data, Mapping if isinstance(part, str) else list | tuple):
            raise LookupError(dotted(path))
        data = data[part]  # type: ignore[index]  # just checked, by the kind of part
    return data


def dotted(path: KeyPath) -> str:
    """Return a key path with dots between its parts, as messages show it: `tasks.0.max_words`."""
    return ".".join(map(str, path))


def format_value(value: object) -> str:
    """Return a value as messages show it: null, true and false as in YAML, else Python's repr.

    More than 60 characters are cut off after 57, and "..." follows.
    """
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def no_such_key(path: KeyPath, known: Sequence[object]) -> str:
    """Return the message that there is no key or index `path[-1]` at `path[:-1]`.

    `known` are the allowed keys or indexes. The message names the most similar one, if one is
    similar, and then all of them, or "none".
    """
    names = [str(key) for key in known]
    similar = difflib.get_close_matches(str(path[-1]), names, n=1)
    hint = f"did you mean '{similar[0]}'? " if similar else ""
    return f"{dotted(path)}: no such key; {hint}allowed keys: {', '.join(names) or 'none'}"
