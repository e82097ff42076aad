"""Find out which objects of several chunks describe the same thing.

Two objects that state different values in any field are different things. Their fields are never
mixed. Pure; knows no schema, prompts or engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.tasks.comparison import value_key
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
    """Return the objects of each thing, in document order.

    An object belongs to a thing that it does not contradict: to the only one with which it shares a
    value or, if there is none, to the only other one. An object that could belong to several things
    is left out, since nothing tells which one it completes.
    """
    equal: dict[str, list[tuple[int, Statement]]] = {}
    for member in enumerate(objects):
        equal.setdefault(value_key(member[1].value), []).append(member)
    different = [(members, single_values(members[0][1])) for members in equal.values()]
    different.sort(key=lambda pair: -len(pair[1]))
    result: list[_Entity] = []
    for members, values in different:
        possible = _possible(result[:_MAX_COMPARED], values)
        if not possible:
            result.append(_Entity(members, values))
        elif len(possible) == 1:
            possible[0].members += members
            possible[0].values.update(values)
    for entity in result:
        entity.members.sort(key=lambda member: member[0])
    result.sort(key=lambda entity: entity.members[0][0])
    return [[statement for _, statement in entity.members] for entity in result]


def _possible(known: Sequence[_Entity], values: dict[str, Any]) -> list[_Entity]:
    """Return the things that an object with these values may describe."""
    possible = [entity for entity in known if not contradict(values, entity.values)]
    sharing = [entity for entity in possible if values.keys() & entity.values.keys()]
    return sharing or possible
