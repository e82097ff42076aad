"""Right answers as the user writes them, checked against the tasks of an OUTPUT.

Values become those of JSON: dates and times are strings in ISO 8601, times in UTC. Knows single
rows; knows no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from pipelines.job.jobfile import format_value
from pipelines.reporting.fields import EvaluatedTask, item_type, struct_fields
from pipelines.reporting.meaning import meaning_of
from pipelines.tasks.meanings import Moment
from pipelines.tasks.paths import field_path, item_path

_INTEGERS = 2**63


class WrongGold(ValueError):
    """A value of gold cannot be a right answer. The message names its path, and what is right."""


def gold_answers(row: Mapping[str, Any], tasks: Mapping[str, EvaluatedTask]) -> dict[str, Any]:
    """Return the right answers in a row of gold, by task.

    `row` has a value for each judged task, by its name, or for a field of an `extract` task, by its
    path, such as `facts.company`. Raises WrongGold for other keys, and for wrong values.
    """
    answers: dict[str, Any] = {}
    for key, value in row.items():
        name, rest = task_key(key, tasks)
        task = tasks[name]
        nested = _nested(task.type, rest, value) if rest else value
        checked = gold_answer(task, nested)
        if rest and isinstance(answers.get(name), dict):
            answers[name] = _merged(answers[name], checked)
        else:
            answers[name] = checked
    return answers


def task_key(key: str, tasks: Mapping[str, EvaluatedTask]) -> tuple[str, str]:
    """Return the task that a key of gold names, and the path of the field within it, "" for none.

    Raises WrongGold, naming the known keys, if there is no such task or field.
    """
    name, _, rest = key.partition(".")
    task = tasks.get(name)
    if task is None or (rest and task.kind != "extract"):
        raise WrongGold(f"{key}: OUTPUT has no such task; its tasks are {', '.join(tasks)}")
    if rest:
        _nested(task.type, rest, None)
    return name, rest


def _nested(kind: pa.DataType, path: str, value: Any) -> dict[str, Any]:
    """Return an object in which `value` is at a path of fields, such as `address.city`."""
    fields = _by_name(kind)
    if path in fields:
        return {path: value}
    name, _, rest = path.partition(".")
    if not rest or name not in fields or not pa.types.is_struct(fields[name]):
        raise WrongGold(f"{path}: no such field; the known fields are {', '.join(fields)}")
    return {name: _nested(fields[name], rest, value)}


def _merged(some: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(some)
    for name, value in others.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = _merged(result[name], value) if both else value
    return result


def gold_answer(task: EvaluatedTask, value: Any) -> Any:
    """Return the right answer to a task as JSON: None for none, a label, a text or a list of texts
    of which each is right, a list of labels, or an object with the judged fields.

    `value` may also have the form of OUTPUT's column, such as {text: ...}. Raises WrongGold.
    """
    if task.kind == "extract":
        return _object(value, task.type, task.name)
    if isinstance(value, Mapping):
        value = _unwrapped(value, task)
    if task.multiple:
        return None if value is None else _texts(value, task.name, "a list of labels")
    if isinstance(value, list | tuple) and task.kind != "classify" and value:
        return _texts(value, task.name, "a text, or a list of texts of which each is right")
    wanted = "a label" if task.kind == "classify" else "a text"
    return _text(value, task.name, wanted)


def _unwrapped(value: Mapping[str, Any], task: EvaluatedTask) -> Any:
    name = task.type.field(0).name
    others = [key for key in value if key not in (name, "confidence") and not key.startswith("_")]
    if others or name not in value:
        raise WrongGold(
            f"{task.name}: {format_value(dict(value))} has no key {name}; write the right value "
            f"itself, or {{{name}: VALUE}}"
        )
    return value[name]


def _texts(value: Any, path: str, wanted: str) -> list[str]:
    items = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise _wrong(path, value, wanted)
    return list(items)


def _text(value: Any, path: str, wanted: str = "a text") -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal | date):
        return str(value)
    raise _wrong(path, value, wanted)


def _wrong(path: str, value: Any, wanted: str) -> WrongGold:
    return WrongGold(f"{path}: got {format_value(value)}, must be {wanted}, or null for none")


def _by_name(kind: pa.DataType) -> dict[str, pa.DataType]:
    return {each.name: each.type for each in struct_fields(kind)}


def _object(value: Any, kind: pa.StructType, path: str) -> dict[str, Any] | None:
    if value is None:
        return None
    fields = _by_name(kind)
    if not isinstance(value, Mapping):
        raise _wrong(path, value, f"an object with fields such as {next(iter(fields))}")
    judged = {name: item for name, item in value.items() if not name.startswith("_")}
    if unknown := [name for name in judged if name not in fields]:
        raise WrongGold(
            f"{field_path(path, unknown[0])}: no such field; the known fields are "
            f"{', '.join(fields)}"
        )
    return {
        name: _value(item, fields[name], field_path(path, name)) for name, item in judged.items()
    }


def _value(value: Any, kind: pa.DataType, path: str) -> Any:
    """Return a value of an extraction as JSON; raises WrongGold if it does not fit its column."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return _object(value, kind, path)
    if pa.types.is_map(kind):
        return _map(value, kind, path)
    if pa.types.is_list(kind):
        return _list(value, kind, path)
    return next(read for matches, read in _READERS if matches(kind))(value, path)


def _map(value: Any, kind: pa.MapType, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(path, value, "an object of names and values")
    return {
        str(name): _value(item, kind.item_type, field_path(path, str(name)))
        for name, item in value.items()
    }


def _list(value: Any, kind: pa.ListType, path: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise _wrong(path, value, "a list")
    return [_value(item, item_type(kind), item_path(path, at)) for at, item in enumerate(value)]


def _boolean(value: Any, path: str) -> bool:
    if isinstance(value, bool):
        return value
    raise _wrong(path, value, "true or false")


def _integer(value: Any, path: str) -> int:
    number = value if isinstance(value, int | float | Decimal) else None
    if number is None or isinstance(value, bool) or number != number // 1:
        raise _wrong(path, value, "a whole number")
    if not -_INTEGERS <= number < _INTEGERS:
        raise _wrong(path, value, "a whole number of 64 bits")
    return int(number)


def _number(value: Any, path: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or value != value:
        raise _wrong(path, value, "a number")
    return float(value) if isinstance(value, Decimal) else value


def _date(value: Any, path: str) -> str:
    if isinstance(value, datetime):
        value = value.date()
    text = value.isoformat() if isinstance(value, date) else value
    meaning = meaning_of(text, {"format": "date"}) if isinstance(text, str) else None
    if meaning is None or not isinstance(meaning.key, Moment):
        raise _wrong(path, value, "a date such as 2024-03-01")
    return meaning.key.day.isoformat()


def _moment(value: Any, path: str) -> str:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _wrong(path, value, "a time such as 2024-03-01T09:30:00Z") from None
    return utc_text(moment)


def utc_text(moment: datetime) -> str:
    """Return a time in UTC in ISO 8601; one without a zone is taken as UTC, as in answers."""
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).isoformat()


def json_value(value: Any) -> Any:
    """Return a value of OUTPUT, as Arrow returns it, as a JSON value."""
    match value:
        case datetime():
            return utc_text(value)
        case date():
            return value.isoformat()
        case Mapping():
            return {name: json_value(item) for name, item in value.items()}
        case list():
            return [json_value(item) for item in value]
    return value


def known_keys(tasks: Iterable[EvaluatedTask], others: Sequence[str]) -> str:
    """Return the keys that rows of gold may have, for messages."""
    names = [
        f"{task.name} ({', '.join(_by_name(task.type))})" if task.kind == "extract" else task.name
        for task in tasks
    ]
    return ", ".join([*others, *names])


_READERS: Sequence[tuple[Callable[[pa.DataType], bool], Callable[[Any, str], Any]]] = (
    (pa.types.is_boolean, _boolean),
    (pa.types.is_integer, _integer),
    (pa.types.is_floating, _number),
    (pa.types.is_date, _date),
    (pa.types.is_timestamp, _moment),
    (lambda _: True, _text),
)
"""Readers of single values by the type of their column; the first that matches counts."""
