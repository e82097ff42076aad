"""Group the objects in several chunks' answers by the entity that they describe.

An entity is the one thing in the document, such as a company, that objects describe. Two objects
that state different values for any field describe different entities, and their fields are never
mixed. Pure; knows no schema, prompts or engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.tasks.comparison import meaning_key, value_key
from pipelines.tasks.list_items import contradict, single_values
from pipelines.tasks.statements import Statement

# An object is compared with the things of the most complete objects, so that time stays linear.
_MAX_COMPARED = 64


@dataclass
class _Entity:
    """The objects of one thing with their indices among all, and its single values by path."""

    members: list[tuple[int, Statement]]
    values: dict[str, Any]


def entities(objects: Sequence[Statement]) -> list[list[Statement]]:
    """Group objects that several chunks state by entity, and return the groups in document order.

    `objects` are the chunks' statements of one field, in document order; the value of each is an
    object. An entity is the one thing in the document that the objects of a group describe.

    An object contradicts an entity if it has a different value for one of its fields, not counting
    lists. It belongs to the only entity that it does not contradict and has a value in common with.
    If it has a value in common with none, it belongs to the only entity that it does not
    contradict. An object that could belong to several entities is in no group, since nothing tells
    which one it completes.
    """
    equal: dict[str, list[tuple[int, Statement]]] = {}
    for member in enumerate(objects):
        equal.setdefault(value_key(member[1].value), []).append(member)
    different = [(members, single_values(members[0][1])) for members in equal.values()]
    different.sort(key=lambda pair: -len(pair[1]))
    result: list[_Entity] = []
    parts: list[_Entity] = []
    for members, values in different:
        known = result[:_MAX_COMPARED]
        is_new = all(contradict(values, entity.values) for entity in known)
        (result if is_new else parts).append(_Entity(members, values))
    for part in sorted(parts, key=lambda part: not _sharing(result, part)):
        _complete(result, part)
    for entity in result:
        entity.members.sort(key=lambda member: member[0])
    result.sort(key=lambda entity: entity.members[0][0])
    return [[statement for _, statement in entity.members] for entity in result]


def _complete(things: list[_Entity], part: _Entity) -> None:
    """Add a part to the only thing that it may describe, or to the things if there is none."""
    possible = [
        entity for entity in things[:_MAX_COMPARED] if not contradict(part.values, entity.values)
    ]
    possible = _sharing(possible, part) or possible
    if not possible:
        things.append(part)
    elif len(possible) == 1:
        possible[0].members += part.members
        possible[0].values.update(part.values)


def _sharing(things: Sequence[_Entity], part: _Entity) -> list[_Entity]:
    """Return the things that have an equal value under a path of the part."""
    return [
        entity
        for entity in things[:_MAX_COMPARED]
        if any(
            path in entity.values and meaning_key(value) == meaning_key(entity.values[path])
            for path, value in part.values.items()
        )
    ]
