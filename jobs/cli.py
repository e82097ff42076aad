"""The command line `phifleet`: its commands and options, and what each ends with."""

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

from pipelines.errors import OutputError, PhifleetError
from pipelines.job.spec import Job, load_job

UNEXPECTED = "failed of what nobody foresaw"
EXIT_CODES = """\
exit codes of run and demo:
  0  done
  1  done, with more dead letters than limits.max_dead_letter_fraction allows
  2  the job file, the input or the model is wrong
  3  stopped by a signal, or because another run took over OUTPUT; run again to go on
  4  the cluster, an engine, the storage or phifleet itself failed; run again to go on
"""

JOB_EXAMPLE = """\
a job file (YAML):
  input:  {path: corpus/, id_column: doc_id, text_column: text, keep_columns: [title]}
  output: {path: answers/}
  model:  {name: microsoft/Phi-3-mini-128k-instruct}   # or a local path, or the built-in `tiny`
  tasks:
    - {name: summary, kind: summarize, max_words: 120}
    - {name: topic, kind: classify, labels: [risk, earnings, other]}
    - {name: facts, kind: extract, fields: {company: string, risks: [string]}}
    - {name: auditor, kind: ask, question: "Who audited the statements?"}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except PhifleetError as error:
        return _failed(error, as_json=options.json)
    except KeyboardInterrupt:
        return 3
    except Exception as error:
        # left to Python it would end with 1, which is a verdict about documents
        traceback.print_exc()
        told = f"{UNEXPECTED} ({type(error).__name__}); please report what stands above"
        return _failed(PhifleetError(told), as_json=options.json)
    return code


def _failed(error: PhifleetError, *, as_json: bool) -> int:
    """Say what failed; return the exit code."""
    if as_json:
        print(json.dumps({"status": "failed", "error": error.message}))
    print(f"phifleet: {error.message}", file=sys.stderr)
    return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="phifleet",
        description="Read huge corpora of long documents with Phi-3, on Ray.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="try:  phifleet demo\n\n" + JOB_EXAMPLE,
    )
    parser.add_argument("--version", action="version", version=f"phifleet {version('phifleet')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_runs(commands)
    _add_looks(commands)
    for other in entry_points(group="phifleet.commands"):
        other.load()(partial(_command, commands))
    return parser


def _add_runs(commands: Any) -> None:
    demo = _command(
        commands, "demo", _demo, "run the main job on real text, with no network or GPU", EXIT_CODES
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("phifleet-demo"),
        metavar="DIR",
        help="where corpus and answers go (default: ./phifleet-demo)",
    )
    run = _command(
        commands,
        "run",
        _run,
        "do a job, or go on where it stopped",
        JOB_EXAMPLE + "\n" + EXIT_CODES,
    )
    _add_job(run)
    run.add_argument(
        "--skip-bad-files",
        action="store_true",
        help="leave out files that are truncated or damaged, and list them; reads each file twice",
    )
    for each in (demo, run):
        each.add_argument(
            "--unit-seconds",
            type=float,
            default=30.0,
            metavar="S",
            help="engine seconds of one unit; a crash can cost the three in hand (default: 30)",
        )


def _add_looks(commands: Any) -> None:
    status = _command(commands, "status", _status, "how far a run is, from its ledger")
    status.add_argument("output", metavar="OUTPUT")
    verify = _command(
        commands,
        "verify",
        _verify,
        "reconcile input, parts and dead letters",
        "exit codes: 0 complete; 1 not, with what is wrong",
    )
    verify.add_argument("output", metavar="OUTPUT")
    show = _command(commands, "show", _show, "what the model would see of one document")
    _add_job(show)
    show.add_argument("--id", required=True, help="the document's id")
    model = _command(commands, "model", _model, "make or fetch a model and say where it lies")
    model.add_argument("name", metavar="NAME", help="a hub name, a local path, or `tiny`")
    model.add_argument("--revision", help="a hub revision (default: the newest, pinned)")


def _command(
    commands: Any, name: str, does: Callable[[argparse.Namespace], int], text: str, more: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--json", action="store_true", help="print exactly one JSON object on standard output"
    )
    parser.set_defaults(command=does)
    return parser


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", type=Path, metavar="JOB", help="the job file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a key of the job file, e.g. tasks.0.max_words=80",
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
    from pipelines.ledger.ledger import Ledger
    from pipelines.storage import Storage

    ledger = Ledger(Storage(options.output))
    job = ledger.job()
    if job is None:
        raise OutputError(f"{options.output} holds no run of phifleet")
    committed = ledger.committed()
    units = [unit for plan in ledger.plans() for unit in plan.units]
    done = sum(unit.number in committed for unit in units)
    found = {
        "run": job["source"].get("name", "phifleet"),
        "status": "done" if ledger.manifest() and done == len(units) else "unfinished",
        "documents": sum(unit.rows for unit in units),
        "documents_done": sum(unit.rows for unit in units if unit.number in committed),
        "units": len(units),
        "units_done": done,
        "model": job["model"],
        "revision": job["revision"],
        "fingerprint": job["fingerprint"],
    }
    _print(found, options)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from pipelines.ledger.verify import verify
    from pipelines.storage import Storage

    verdict = verify(Storage(options.output))
    _print({"complete": verdict.complete, **asdict(verdict)}, options)
    return 0 if verdict.complete else 1


def _show(options: argparse.Namespace) -> int:
    from jobs.show import show
    from pipelines.run.prepared import prepare_job

    shown = show(prepare_job(_load(options)), options.id)
    if options.json:
        print(json.dumps(shown))
        return 0
    print(f"{shown['id']}: {shown['tokens']} tokens, {shown['strategy']}, pool {shown['pool']}")
    count = len(shown["chunks"])
    for prompt in shown["prompts"]:
        chunk = f", chunk {prompt['chunk'] + 1} of {count}" if count > 1 else ""
        print(f"\n--- {prompt['task']}{chunk}: {len(prompt['token_ids'])} tokens\n{prompt['text']}")
    return 0


def _model(options: argparse.Namespace) -> int:
    from pipelines.models.resolve import resolve

    model = resolve(options.name, options.revision)
    _print({"name": model.name, "revision": model.revision, "path": str(model.path)}, options)
    return 0


def _print(found: dict[str, Any], options: argparse.Namespace) -> None:
    """One JSON object, or a line for each key."""
    if options.json:
        print(json.dumps(found))
        return
    for key, value in found.items():
        lines = value if isinstance(value, tuple | list) else [value]
        for line in lines:
            print(f"{key.replace('_', ' '):<16} {line}")


def entry() -> NoReturn:
    """The console script. Ends the process at once: pyarrow's and Ray's threads may still hold
    Python objects, and an interpreter that shuts down under them aborts now and then."""
    try:
        code = main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    entry()
