"""The command `phifleet plan`: its arguments, its help, and the call of `plan.py`.

Imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from jobs.usage import JOB_EXAMPLE
from pipelines.job.spec import Job

HELP = f"""\
examples:
  phifleet plan job.yaml
  phifleet plan job.yaml --sample 0.01            # quick, with intervals
  phifleet plan job.yaml --price h100=2.5 --price l4=0.4
  phifleet plan job.yaml --calibrate earlier/     # answers and speed as in that run
  phifleet plan job.yaml --set long_documents.chunk_tokens=1536 --json

Prints documents, lengths, dead letters to come, what is left out, tokens, and
time and price on several GPUs. Starts no engine. The index is kept in OUTPUT: a
run of the same job does not index again. If the job file or the input changes
before the run, the run indexes anew; nothing binds you to what you planned.

{JOB_EXAMPLE}
exit codes:
  0  the plan was printed
  2  the job file, the input, OUTPUT, the model or an option is wrong
  3  stopped by a signal
  4  the cluster or the storage failed
"""


def add_plan(
    command: Callable[
        [str, Callable[[argparse.Namespace], int], str, str], argparse.ArgumentParser
    ],
    load: Callable[[argparse.Namespace], Job],
) -> argparse.ArgumentParser:
    """Add the command with its own options, and return its parser.

    `command` adds a command by its name, call, description and help text, and `load` loads the job
    that the options name.
    """

    def call(options: argparse.Namespace) -> int:
        return _plan(load(options), options)

    parser = command("plan", call, "index a job's input, and state what the job will cost", HELP)
    parser.add_argument(
        "--sample",
        type=float,
        metavar="SHARE",
        help="measure only this share of the documents, e.g. 0.01, and state intervals; keeps no "
        "index",
    )
    parser.add_argument(
        "--price",
        action="append",
        default=[],
        metavar="NAME=USD",
        dest="prices",
        help="price of one GPU for one hour, e.g. h100=2.5; may be repeated",
    )
    parser.add_argument(
        "--calibrate",
        metavar="OUTPUT",
        help="take lengths of answers and the speed of engines from a run of the same model",
    )
    return parser


def _plan(job: Job, options: argparse.Namespace) -> int:
    from jobs.plan import PlanOptions, plan

    return plan(
        job,
        PlanOptions(
            sample=options.sample,
            prices=options.prices,
            calibrate=options.calibrate,
            unit_seconds=options.unit_seconds,
            skip_bad_files=options.skip_bad_files,
        ),
        as_json=options.json,
    )
