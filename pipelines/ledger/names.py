"""The names of all files in OUTPUT, and the check that OUTPUT has this layout.

    OUTPUT/answers/part-000017.parquet        the answers of a unit
    OUTPUT/answers/_delta_log/                only with `output.table: delta`
    OUTPUT/dead_letters/part-000017.parquet   its dead letters
    OUTPUT/manifest.json                      the results of a finished run
    OUTPUT/_run/                              bookkeeping

`answers` and `dead_letters` hold committed files only, so that any reader of Parquet can be given
the directory at any time. Bookkeeping that is Parquet inside (plans, indexes, staged files) has
names without an ending: readers choose files by their ending, and a glob such as
`OUTPUT/**/*.parquet` would otherwise find a document again in a staged copy of its part.

Knows storage; knows nothing of records.
"""

from __future__ import annotations

import re
import uuid

from pipelines.errors import OutputError
from pipelines.storage import Storage

ANSWERS = "answers"
"""The directory of published parts."""
DEAD_LETTERS = "dead_letters"
"""The directory of published dead letters."""
DELTA_LOG = "answers/_delta_log"
"""The log of the Delta table over the parts, if the job asks for one."""
MANIFEST = "manifest.json"
"""The file that states the results of a finished run."""
JOB = "_run/job.json"
"""The record of the job: its source, the digests of its keys, and the model's revision."""
COMMITS = "_run/commits"
"""The directory of commit records, `UNIT.json`."""
WITHDRAWALS = "_run/withdrawals"
"""The directory of the revisions of units from which documents were withdrawn, `PLAN-UNIT.json`."""
STAGING = "_run/staging"
"""The directory of finished files that are not published yet."""
INDEX = "_run/index"
"""The directory of the indexes, each in a directory of its own."""
INDEX_NAME = re.compile(r"(\d{4,})-[0-9a-f]{8}")
"""The names of directories in INDEX; the group is the number of the plan."""
_COMMIT_NAME = re.compile(r"(\d{6,})\.json")
_REVISION_NAME = re.compile(r"(\d{4,})-(\d{6,})\.json")
_STAGED_NAME = re.compile(r"(?:part-|errors-)?(\d{6,})-")
# The first plan of versions that wrote parts into OUTPUT itself and dead letters into `_errors`.
_OLDER_PLAN = "_run/units.parquet"


def part_name(unit: int) -> str:
    """Return the name, below OUTPUT, of the published part of the unit number `unit`."""
    return f"{ANSWERS}/{_published(unit)}"


def dead_letters_name(unit: int) -> str:
    """Return the name, below OUTPUT, of the published dead letters of the unit number `unit`."""
    return f"{DEAD_LETTERS}/{_published(unit)}"


def _published(unit: int) -> str:
    return f"part-{unit:06d}.parquet"


def new_index(plan: int) -> str:
    """Return an unused name, below OUTPUT, for the directory of an index that is to become plan
    number `plan`. Creates nothing."""
    return f"{INDEX}/{plan:04d}-{uuid.uuid4().hex[:8]}"


def new_staged(kind: str, unit: int) -> str:
    """Return an unused name in STAGING for a file of the unit number `unit`; `kind` is `part` or
    `errors`. Creates nothing."""
    return f"{STAGING}/{kind}-{unit:06d}-{uuid.uuid4().hex}"


def unit_of(name: str) -> int | None:
    """Return the unit of a staged file or of an attempt's record, or None for any other name."""
    match = _STAGED_NAME.match(name)
    return int(match[1]) if match else None


def plan_name(number: int) -> str:
    """Return the name, below OUTPUT, of the plan number `number`, counted from 0."""
    return "_run/units" if number == 0 else f"_run/units-{number:04d}"


def commit_name(unit: int) -> str:
    """Return the name, below OUTPUT, of the commit of the unit number `unit`."""
    return f"{COMMITS}/{unit:06d}.json"


def unit_of_commit(name: str) -> int | None:
    """Return the unit whose commit has this name in COMMITS, or None for any other name."""
    match = _COMMIT_NAME.fullmatch(name)
    unit = int(match[1]) if match else None
    return unit if unit is not None and commit_name(unit) == f"{COMMITS}/{name}" else None


def revision_name(plan: int, unit: int) -> str:
    """Return the name, below OUTPUT, of the revision of a unit that the plan number `plan` made
    necessary."""
    return f"{WITHDRAWALS}/{plan:04d}-{unit:06d}.json"


def revision_of(name: str) -> tuple[int, int] | None:
    """Return the numbers of plan and unit of the revision that has this name in WITHDRAWALS, or
    None for any other name."""
    match = _REVISION_NAME.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def check_layout(storage: Storage) -> None:
    """Raise OutputError if OUTPUT was written by an older version of phifleet, which kept answers
    in OUTPUT itself and dead letters in `_errors`."""
    if storage.exists(_OLDER_PLAN):
        raise OutputError(
            f"output.path: {storage.url} was written by an older version of phifleet: it has "
            f"{_OLDER_PLAN}, parts in OUTPUT itself and dead letters in _errors/. This version "
            f"writes {ANSWERS}/ and {DEAD_LETTERS}/ and cannot continue or check that run. Use "
            "the version that wrote it, or set output.path to a new directory and run again"
        )
