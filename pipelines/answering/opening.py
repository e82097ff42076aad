"""Opening a document: decide how it is read, and cut the first passage of each reading.

A document has one or two readings: of its passages, by the tasks about the whole document, and of
its parts, by the tasks that read parts. Pure: no Ray, no vLLM, no files.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.answering.parts import split_into_parts
from pipelines.answering.passages import Passage, SplitText, split_into_passages
from pipelines.tasks.kinds import Task, TaskSet


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading of a document's text: its passages, and the tasks that are asked about them.

    `split` has the passages; its first one is `first`, which was read from it already. `tasks` are
    in the job's order.
    """

    split: SplitText
    first: Passage
    tasks: tuple[Task, ...]


def open_readings(text: str, tasks: TaskSet) -> list[Reading] | None:
    """Return the readings of a text, each with its first passage cut.

    Returns None if the job rejects a text of this length.
    """
    split = split_into_passages(text, tasks)
    if split is None:
        return None
    read_whole = tuple(task for task in tasks.all if not task.in_parts)
    in_parts = tuple(task for task in tasks.all if task.in_parts)
    readings = [Reading(split, next(split.passages), read_whole)] if read_whole else []
    if in_parts:
        parts = split_into_parts(text, tasks, split.strategy)
        readings.append(Reading(parts, next(parts.passages), in_parts))
    return readings
