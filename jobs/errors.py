"""`phifleet errors`: the dead letters of a run, from its committed files alone. Needs no cluster.

Imports pyarrow only when the command runs, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from pipelines.errors import SpecError

if TYPE_CHECKING:
    from pipelines.reporting.letters import LetterFilter, Letters

_GROUPS, _GROUPS_AS_JSON = 10, 1_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command but OUTPUT."""
    parser.add_argument("--reason", help="only dead letters with this reason")
    parser.add_argument("--task", metavar="NAME", help="only dead letters of this task")
    parser.add_argument(
        "--like",
        metavar="TEXT",
        help="only messages that contain TEXT, or differ from it in numbers and quoted values only",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=20,
        metavar="N",
        help="print at most N dead letters after the counts (default: 20)",
    )


def errors(options: argparse.Namespace) -> int:
    """Print the dead letters that the options choose, and return the exit code. Raises as
    `run_errors`."""
    from jobs.letters_text import errors_json, print_errors
    from pipelines.reporting.letters import LetterFilter

    wanted = LetterFilter(options.reason, options.task, options.like)
    letters = run_errors(options.output, wanted, options.limit, as_json=options.json)
    if options.json:
        print(json.dumps(errors_json(letters)))
    else:
        print_errors(letters, Console(markup=False, emoji=False, highlight=False))
    return 0


def run_errors(output: str, wanted: LetterFilter, limit: int, *, as_json: bool) -> Letters:
    """Return the wanted dead letters of the run in `output`, with at most `limit` rows.

    Raises OutputError if there is no run or a file is damaged, SpecError if no dead letter can have
    the reason or the task, StorageError.
    """
    from pipelines.ledger.opening import open_run
    from pipelines.ledger.reasons import REASONS
    from pipelines.reporting.letters import read_letters

    if limit < 0:
        raise SpecError(f"--limit {limit}: must be 0 or more; 0 prints the counts alone")
    ledger, job = open_run(output)
    _check_name("--reason", wanted.reason, list(REASONS))
    tasks = [str(task["name"]) for task in job["source"].get("tasks", ()) if "name" in task]
    _check_name("--task", wanted.task, tasks)
    return read_letters(ledger.storage, wanted, limit, _GROUPS_AS_JSON if as_json else _GROUPS)


def _check_name(option: str, name: str | None, known: Sequence[str]) -> None:
    if name is None or name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    raise SpecError(f"{option} {name}: must be one of {', '.join(known)}{meant}")
