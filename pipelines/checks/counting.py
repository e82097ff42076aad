"""Counts, in the tables of a unit, the answers in which checks found something.

Knows no files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.checks.outcome import failed_check
from pipelines.documents import ANSWERED
from pipelines.tasks.columns import ANSWER, CHECKS


def count_checks(
    part: pa.Table | None, dead_letters: pa.Table | None, tasks: Iterable[str]
) -> dict[str, int]:
    """Return the number of answers in which each check found something, by the check's name.

    `part` is the table of a unit's answers, `dead_letters` that of its dead letters; None without
    rows. `tasks` are the names of the tasks: kept columns may be answers of an earlier job.
    """
    found: Counter[str] = Counter()
    for task in tasks:
        if part is None:
            break
        answers = pc.struct_field(part.column(task), ANSWER)
        if answers.type.get_field_index(CHECKS) < 0:
            continue
        for answer in answers.to_pylist():
            # the others are dead letters, and counted as such
            if answer["status"] == ANSWERED:
                found.update({item["check"] for item in answer[CHECKS]})
    if dead_letters is not None:
        names = map(failed_check, dead_letters.column("message").to_pylist())
        found.update(name for name in names if name is not None)
    return dict(sorted(found.items()))
