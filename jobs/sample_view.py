"""Prints the answers of a sample as a table, or as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from jobs.hosts import Host
from jobs.run import EXIT_DONE, EXIT_STOPPED
from jobs.sample import Sample, run_sample
from pipelines.documents import ANSWERED
from pipelines.job.spec import Job, JobSpec
from pipelines.run.sampling import engine_seconds
from pipelines.tasks.columns import ANSWER, EVIDENCE

_CELL_CHARACTERS = 160
_COLUMNS = ("task", "answer", "evidence", "status")
_TOTALS = (
    "run", "documents", "answered", "dead_letters", "dead_letter_reasons", "prompt_tokens",
    "cached_prompt_tokens", "output_tokens", "engine_start_seconds", "model", "revision",
    "fingerprint",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: a value of an answer, the passage that is its evidence, and the status
    of the evidence with the passage's place in the text."""

    name: str
    value: str
    passage: str = ""
    status: str = ""


def show_sample(job: Job, host: Host, options: argparse.Namespace) -> int:
    """Answer and print a sample, as the options of `phifleet run` ask for it, and return the
    command's exit code. Raises PhifleetError."""
    sample = run_sample(
        job,
        host,
        documents=options.sample,
        directory=options.sample_output,
        skip_bad_files=options.skip_bad_files,
        as_json=options.json,
        log_format=options.log_format,
    )
    if sample is None:
        return EXIT_STOPPED
    print_sample(sample, job.spec, as_json=options.json)
    return EXIT_DONE


def print_sample(sample: Sample, spec: JobSpec, *, as_json: bool) -> None:
    """Print the answers to standard output: a table for people, or one JSON object."""
    if as_json:
        print(json.dumps(sample_json(sample), default=str))
        return
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(sample_view(sample, spec))


def sample_json(sample: Sample) -> dict[str, Any]:
    """Return the sample as one JSON object: totals, and the rows as in an OUTPUT. Dates and other
    values that JSON lacks are for `json.dumps` to convert."""
    return {
        "status": "sample",
        **{name: sample.manifest[name] for name in _TOTALS},
        "engine_seconds": engine_seconds(sample.manifest),
        "rows": sample.rows,
        "dead_letter_rows": sample.dead_letters,
    }


def sample_view(sample: Sample, spec: JobSpec) -> Group:
    """Return the answers, what each document and all of them cost, and the dead letters."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in _COLUMNS:
        # fold long words on a narrow terminal instead of cutting them
        table.add_column(name, overflow="fold", header_style="bold")
    for row in sample.rows:
        table.add_row(Text(str(row[spec.input.id_column]), style="bold"), _cost(row, spec))
        for line in document_lines(row, spec):
            table.add_row(f"  {line.name}", line.value, line.passage, line.status)
    letters = [
        Text(f"dead letter: {letter['doc_id']}{_task(letter)}: {letter['message']}", style="yellow")
        for letter in sample.dead_letters
    ]
    return Group(table, Text(), *letters, *map(Text, total_lines(sample)))


def _task(letter: Mapping[str, Any]) -> str:
    return f", {letter['task']}" if letter["task"] else ""


def _cost(row: Mapping[str, Any], spec: JobSpec) -> str:
    """Return the tokens that a document cost, over all tasks."""
    told = [row[task.name][ANSWER] for task in spec.tasks]
    prompts, outputs = (
        sum(each[name] or 0 for each in told) for name in ("prompt_tokens", "output_tokens")
    )
    return f"{prompts:,} tokens in prompts, {outputs:,} generated"


def document_lines(row: Mapping[str, Any], spec: JobSpec) -> Iterator[Line]:
    """Yield the lines of all answers about one document."""
    for task in spec.tasks:
        cell = row[task.name]
        told = cell[ANSWER]
        if told["status"] != ANSWERED:
            yield Line(task.name, f"({told['status']})")
        elif task.kind == "extract":
            names = [name for name in cell if name not in (EVIDENCE, ANSWER)]
            for name in names:
                yield _line(f"{task.name}.{name}", cell[name], _evidence_of(cell, name))
        elif task.kind == "classify":
            yield _line(task.name, _labels(cell), cell[EVIDENCE] or ())
        else:
            yield _line(task.name, cell["text"], cell[EVIDENCE] or ())


def _evidence_of(cell: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the evidence of a field and of all values in it."""
    beginnings = (f"{name}.", f"{name}[")
    return [
        row
        for row in cell[EVIDENCE] or ()
        if row["path"] == name or row["path"].startswith(beginnings)
    ]


def _labels(cell: Mapping[str, Any]) -> str | None:
    if "labels" in cell:
        pairs = zip(cell["labels"], cell["confidence"], strict=True)
        return ", ".join(_with_confidence(*pair) for pair in pairs) or "(none)"
    return _with_confidence(cell["label"], cell["confidence"])


def _with_confidence(label: str, confidence: float | None) -> str:
    return label if confidence is None else f"{label} ({confidence:.2f})"


def _line(name: str, value: Any, evidence: Sequence[Mapping[str, Any]]) -> Line:
    """Return the line of a value, with the first passage of its evidence. If values in it have
    different statuses, all are named."""
    passage = next((row for row in evidence if row["text"] is not None), None)
    statuses = list(dict.fromkeys(row["status"] for row in evidence))
    place = f" {passage['start']:,}" if passage else ""
    return Line(
        name,
        _short(_text(value)),
        _short(passage["text"]) if passage else "",
        f"{', '.join(statuses)}{place}".replace("not_applicable", "-"),
    )


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str | date):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CELL_CHARACTERS else f"{line[: _CELL_CHARACTERS - 1]}…"


def total_lines(sample: Sample) -> list[str]:
    """Return lines for people about what the sample cost and where it is."""
    manifest = sample.manifest
    reuse = manifest["cached_prompt_tokens"] / max(1, manifest["prompt_tokens"])
    seconds = engine_seconds(manifest)
    return [
        f"sample: {manifest['answered']} of {manifest['documents']} documents answered",
        f"tokens: {manifest['prompt_tokens']:,} in prompts ({reuse:.0%} from the prefix cache), "
        f"{manifest['output_tokens']:,} generated",
        f"engine time: {seconds:.1f} s after a start of {manifest['engine_start_seconds']:.0f} s",
        "Nothing was written to the job's OUTPUT.",
    ]
