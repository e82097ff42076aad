"""The command line `phifleet`: parses the arguments, calls a command, returns the exit code.

Imports Ray, vLLM and pyarrow only inside the commands that use them, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from jobs import usage
from pipelines.errors import PhifleetError
from pipelines.job.spec import Job, load_job

UNEXPECTED = "unexpected error in phifleet"
"""The beginning of the message about an exception that phifleet does not raise on purpose."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, 3 for a KeyboardInterrupt.

    `arguments` are those after the program's name; None stands for the process's own. Errors are
    printed to standard error, not raised; only wrong arguments, `--help` and `--version` raise
    SystemExit.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except PhifleetError as error:
        return _report_error(error, as_json=options.json)
    except KeyboardInterrupt:
        return 3
    except Exception as error:
        # Python would end with 1, which means too many dead letters
        traceback.print_exc()
        message = (
            f"{UNEXPECTED} ({type(error).__name__}: {error}). This is a bug: please report it with "
            "the traceback above"
        )
        return _report_error(PhifleetError(message), as_json=options.json)
    return code


def _report_error(error: PhifleetError, *, as_json: bool) -> int:
    """Print the error to standard error, with `as_json` also as the JSON result; return its exit
    code."""
    if as_json:
        print(json.dumps({"status": "failed", "error": error.message}))
    print(f"phifleet: {error.message}", file=sys.stderr)
    return error.exit_code


def _parser() -> argparse.ArgumentParser:
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
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_running(commands)
    _add_inspecting(commands)
    # packages that jobs must not import add their commands, such as `serve`
    for plugin in entry_points(group="phifleet.commands"):
        plugin.load()(partial(_command, commands))
    return parser


def _add_running(commands: Any) -> None:
    demo = _command(
        commands,
        "demo",
        _demo,
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
        commands, "run", _run, "run a job, or resume it if OUTPUT contains a part of it", usage.RUN
    )
    _add_job(run)
    run.add_argument(
        "--skip-bad-files",
        action="store_true",
        help="skip truncated or damaged input files and list them; reads every file twice",
    )
    for parser in (demo, run):
        parser.add_argument(
            "--unit-seconds",
            type=float,
            default=30.0,
            metavar="S",
            help="engine time planned for one unit of documents, in seconds; a crash repeats at "
            "most three units per engine (default: 30)",
        )


def _add_inspecting(commands: Any) -> None:
    status = _command(commands, "status", _status, "print the progress of a run", usage.STATUS)
    _add_output(status)
    verify = _command(
        commands,
        "verify",
        _verify,
        "check that OUTPUT accounts for every input document exactly once",
        usage.VERIFY,
    )
    _add_output(verify)
    show = _command(
        commands, "show", _show, "print the prompts that the model gets for a document", usage.SHOW
    )
    _add_job(show)
    show.add_argument("--id", required=True, help="the document's value in input.id_column")
    model = _command(
        commands, "model", _model, "download or build a model, and print its path", usage.MODEL
    )
    model.add_argument(
        "name", metavar="NAME", help="a name on the Hugging Face hub, a local path, or `tiny`"
    )
    model.add_argument(
        "--revision", help="branch, tag or commit on the hub (default: the newest commit)"
    )


def _command(
    commands: Any, name: str, call: Callable[[argparse.Namespace], int], text: str, more: str = ""
) -> argparse.ArgumentParser:
    """Add a command and return its parser.

    `call` runs the command with the parsed options and returns the exit code; `text` describes it
    in a phrase, and `more` is printed at the end of its help.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
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


def _load(options: argparse.Namespace) -> Job:
    return load_job(options.job, options.overrides)


def _run(options: argparse.Namespace) -> int:
    from jobs.run import run_job

    finished = run_job(
        _load(options),
        as_json=options.json,
        unit_seconds=options.unit_seconds,
        exit_process=os._exit,
        skip_bad_files=options.skip_bad_files,
    )
    return finished.exit_code


def _demo(options: argparse.Namespace) -> int:
    from jobs.demo import demo_job, show_answers
    from jobs.run import run_job

    job = demo_job(options.output)
    finished = run_job(
        job,
        as_json=options.json,
        unit_seconds=options.unit_seconds,
        exit_process=os._exit,
    )
    if finished.manifest is not None and not options.json:
        show_answers(job.spec.output.path, Console(markup=False, emoji=False))
    return finished.exit_code


def _status(options: argparse.Namespace) -> int:
    from jobs.status import run_status

    _print(run_status(options.output), options)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from pipelines.ledger.verify import verify
    from pipelines.storage import Storage

    report = verify(Storage(options.output))
    _print({"complete": report.complete, **asdict(report)}, options)
    return 0 if report.complete else 1


def _show(options: argparse.Namespace) -> int:
    from jobs.show import preview_document, preview_text
    from pipelines.corpus.not_read import describe_not_read
    from pipelines.run.prepared import prepare_job

    job = _load(options)
    preview = preview_document(prepare_job(job), options.id)
    if not options.json and (not_read := describe_not_read(preview["files_not_read"])):
        print(f"{job.spec.input.path}: {not_read}", file=sys.stderr)
    print(json.dumps(preview) if options.json else preview_text(preview))
    return 0


def _model(options: argparse.Namespace) -> int:
    from pipelines.models.resolve import resolve

    model = resolve(options.name, options.revision)
    _print({"name": model.name, "revision": model.revision, "path": str(model.path)}, options)
    return 0


def _print(values: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the values as one JSON object with --json, else a line for each key or list item."""
    if options.json:
        print(json.dumps(values))
        return
    for key, value in values.items():
        lines = value if isinstance(value, tuple | list) else [value]
        for line in lines:
            print(f"{key.replace('_', ' '):<16} {line}")


def entry() -> NoReturn:
    """Run the console script `phifleet` and end the process without Python's shutdown.

    Threads of pyarrow and Ray may still hold Python objects; a shutdown under them aborts the
    process now and then.
    """
    try:
        code = main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    entry()
