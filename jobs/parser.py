"""The arguments of the command line `phifleet`: its commands, their options and help.

Imports no command's body that needs Ray, vLLM or pyarrow, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

from jobs import commands, errors, usage
from jobs.evaluate import add_evaluate_arguments, run_evaluate
from jobs.options import add_sample
from jobs.plan_command import add_plan
from jobs.report import add_report_arguments, run_report


def new_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line. Its options have a function `command`, which
    takes them and returns the exit code, and `json`."""
    parser = argparse.ArgumentParser(
        prog="phifleet",
        description=(
            "Answer questions about every document of a large corpus with Phi-3, on Ray.\n"
            "Reads and writes Parquet, and accounts for every document exactly once."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"{usage.FIRST_STEPS}\n{usage.JOB_EXAMPLE}",
    )
    parser.add_argument("--version", action="version", version=f"phifleet {version('phifleet')}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_running(subparsers)
    _add_inspecting(subparsers)
    # packages that jobs must not import add their commands, such as `serve`
    for plugin in entry_points(group="phifleet.commands"):
        plugin.load()(partial(_command, subparsers))
    return parser


def _add_running(subparsers: Any) -> None:
    demo = _command(
        subparsers,
        "demo",
        commands.demo,
        "run a small example job with the built-in model, without network or GPU",
        usage.DEMO,
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("phifleet-demo"),
        metavar="DIR",
        help="directory for the corpus and the answers (default: ./phifleet-demo)",
    )
    run = _command(
        subparsers,
        "run",
        commands.run,
        "run a job, or resume it if OUTPUT contains a part of it",
        usage.RUN,
    )
    add_sample(run)
    plan = add_plan(partial(_command, subparsers), commands.load)
    for parser in (plan, run):
        _add_job(parser)
        parser.add_argument(
            "--skip-bad-files",
            action="store_true",
            help="skip truncated or damaged input files and list them; reads every file twice",
        )
    run.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="how progress and notices are written to standard error; json: one object a line, "
        "for log collectors, and no live view (default: text)",
    )
    run.add_argument(
        "--retry",
        metavar="dead-letters[:REASON]",
        help="ask again about dead letters, and about nothing else",
    )
    for parser in (demo, plan, run):
        parser.add_argument(
            "--unit-seconds",
            type=float,
            default=30.0,
            metavar="S",
            help="engine time planned for one unit of documents, in seconds; a crash repeats at "
            "most three units per engine (default: 30)",
        )


def _add_inspecting(subparsers: Any) -> None:
    status = _command(
        subparsers, "status", commands.status, "print the progress of a run", usage.STATUS
    )
    _add_output(status)
    status.add_argument(
        "--watch", action="store_true", help="print it again every few seconds until the run ends"
    )
    verify = _command(
        subparsers,
        "verify",
        commands.verify,
        "check that OUTPUT accounts for every input document exactly once",
        usage.VERIFY,
    )
    _add_output(verify)
    letters = _command(
        subparsers, "errors", errors.errors, "print dead letters, and what to do", usage.ERRORS
    )
    _add_output(letters)
    errors.add_options(letters)
    evaluate = _command(
        subparsers,
        "evaluate",
        run_evaluate,
        "compare the answers of a run with right ones",
        usage.EVALUATE,
    )
    _add_output(evaluate)
    add_evaluate_arguments(evaluate)
    report = _command(
        subparsers,
        "report",
        run_report,
        "write a page with the numbers and some documents of a run",
        usage.REPORT,
    )
    _add_output(report)
    add_report_arguments(report)
    show = _command(
        subparsers,
        "show",
        commands.show,
        "print the prompts that the model gets for a document",
        usage.SHOW,
    )
    _add_job(show)
    show.add_argument("--id", required=True, help="the document's value in input.id_column")
    doctor = _command(
        subparsers,
        "doctor",
        commands.doctor,
        "check whether all that a run needs is usable",
        usage.DOCTOR,
    )
    job_or_output = "a job file, whose input, output and model are checked too; or an OUTPUT"
    doctor.add_argument("target", nargs="?", metavar="JOB|OUTPUT", help=job_or_output)
    _add_overrides(doctor)
    model = _command(
        subparsers,
        "model",
        commands.model,
        "download or build a model, and print its path",
        usage.MODEL,
    )
    model.add_argument(
        "name", metavar="NAME", help="a name on the Hugging Face hub, a local path, or `tiny`"
    )
    model.add_argument(
        "--revision", help="branch, tag or commit on the hub (default: the newest commit)"
    )


def _command(
    subparsers: Any, name: str, call: Callable[[argparse.Namespace], int], text: str, more: str = ""
) -> argparse.ArgumentParser:
    """Add a command to the parsers of commands and return its parser.

    `call` runs the command with the parsed options and returns the exit code; `text` describes it
    in a phrase, and `more` is printed at the end of its help.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print exactly one JSON object to standard output, for programs",
    )
    parser.set_defaults(command=call)
    return parser


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", type=Path, metavar="JOB", help="path of the job file (YAML)")
    _add_overrides(parser)


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a key of the job file, e.g. tasks.0.max_words=80; may be repeated",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "output", metavar="OUTPUT", help="directory or URL of a run: its job's output.path"
    )
