"""The bodies of short commands: each takes the parsed options and returns the exit code.

Imports Ray, vLLM and pyarrow only inside the commands that use them, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console

from pipelines.job.spec import Job, load_job


def load(options: argparse.Namespace) -> Job:
    """Load the job file that the options name."""
    return load_job(options.job, options.overrides)


def run(options: argparse.Namespace) -> int:
    """Run or resume the job of a job file."""
    from jobs.hosts import command_line
    from jobs.run import run_job
    from jobs.sample_view import show_sample

    job, host = load(options), command_line(os._exit)
    if options.sample is not None:
        return show_sample(job, host, options)
    finished = run_job(
        job,
        host,
        as_json=options.json,
        log_format=options.log_format,
        unit_seconds=options.unit_seconds,
        skip_bad_files=options.skip_bad_files,
        retry=options.retry,
    )
    return finished.exit_code


def demo(options: argparse.Namespace) -> int:
    """Run the demo's job, and show some of its answers."""
    from jobs.demo import demo_job, show_answers
    from jobs.hosts import command_line
    from jobs.run import run_job

    job = demo_job(options.output)
    finished = run_job(
        job, command_line(os._exit), as_json=options.json, unit_seconds=options.unit_seconds
    )
    if finished.manifest is not None and not options.json:
        show_answers(job.spec.output.path, Console(markup=False, emoji=False))
    return finished.exit_code


def status(options: argparse.Namespace) -> int:
    """Print the progress of a run."""
    from jobs.status import print_status

    print_status(options.output, sys.stdout, as_json=options.json, watch=options.watch)
    return 0


def verify(options: argparse.Namespace) -> int:
    """Print whether OUTPUT accounts for every document; the exit code is 1 if it does not."""
    from pipelines.ledger.opening import open_run
    from pipelines.ledger.verify import verify

    ledger, _ = open_run(options.output)
    report = verify(ledger.storage)
    _print({"complete": report.complete, **asdict(report)}, options)
    return 0 if report.complete else 1


def show(options: argparse.Namespace) -> int:
    """Print the prompts about one document."""
    from jobs.show import preview_document, preview_text
    from pipelines.corpus.not_read import describe_not_read
    from pipelines.run.prepared import prepare_job

    job = load(options)
    preview = preview_document(prepare_job(job), options.id)
    if not options.json and (not_read := describe_not_read(preview["files_not_read"])):
        print(f"{job.spec.input.path}: {not_read}", file=sys.stderr)
    print(json.dumps(preview) if options.json else preview_text(preview))
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Print what a run needs, and whether it is usable."""
    from jobs.doctor import print_examination

    return print_examination(options.target, options.overrides, as_json=options.json)


def model(options: argparse.Namespace) -> int:
    """Download or build a model, and print its path."""
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
