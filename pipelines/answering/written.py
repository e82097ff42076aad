"""The answer of a task that reads parts: what was written about them, joined or combined.

Pure: no Ray, no vLLM, no files.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.answering.combining import Finding
from pipelines.answering.records import TaskRecord
from pipelines.documents import Answer, Written
from pipelines.tasks.kinds import LENGTH
from pipelines.tasks.writing import WrittenPart, join_parts

STOP = "stop"
"""The finish reason of an answer that is complete."""


def failed_part(record: TaskRecord) -> Answer | None:
    """Return the answer of a task that reads parts if any part has none, else None.

    What was written about the other parts is not an answer: a text with a gap could be taken for a
    complete one.
    """
    if not record.task.in_parts or not record.problems:
        return None
    return record.answer(None, record.problems[0], record.last_reason)


def joined_parts(record: TaskRecord, findings: Sequence[Finding], text: str) -> Answer | None:
    """Return the answer of a task whose parts are joined, or None if they are combined.

    `findings` are those of all parts, in order. Its finish reason is `length` if what was written
    about any part was cut off.
    """
    if not record.task.in_parts or record.task.combine_question is not None:
        return None
    parts = [
        WrittenPart(finding.start, finding.end, finding.value.text)
        for finding in findings
        if isinstance(finding.value, Written)
    ]
    reason = LENGTH if record.cut_off else STOP
    return record.answer(Written(join_parts(parts, text)), None, reason)
