"""Tests that a run prints notices and the summary, and exactly one JSON object with --json."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jobs.control import Stopped
from jobs.json_log import LogFormat
from jobs.summary import RunPrinter
from pipelines.corpus.files import SourceFile
from pipelines.corpus.not_read import NotRead, Reason
from pipelines.errors import StorageError
from pipelines.job.spec import JobSpec, parse_job
from pipelines.models.resolve import Model
from pipelines.run.screen import Screen

MANIFEST: dict[str, Any] = {
    "run": "tested", "status": "done", "documents": 1_234, "answered": 1_230, "dead_letters": 4,
    "dead_letter_reasons": {"empty": 3, "too_large": 1}, "prompt_tokens": 4_000,
    "cached_prompt_tokens": 3_000, "output_tokens": 2_500, "engine_start_seconds": 17.4,
    "steady_seconds": 22.44, "wall_seconds": 3_725.0, "tokens_per_second": 58_656.0,
    "steps_per_output_token": 0.314, "skipped_files": [],
    "files_without_rows": {"count": 0, "first": []},
    "files": [{"name": "answers/part-000000.parquet"}],
    "bill": {
        "engine_seconds": 7_200.0, "engine_restarts": 3,
        "devices": {"H100": {"engine_seconds": 7_200.0}},
        "waste": {"idle": {"seconds": 360.0}, "engine_died": {"seconds": 360.0}},
    },
}  # fmt: skip


def test_the_summary_says_what_checks_found(spec: JobSpec) -> None:
    checks = {
        "pii": {"action": "null", "answers": 1_200}, "names": {"action": "flag", "answers": 0},
        "tone": {"action": "dead_letter", "answers": 3},
    }  # fmt: skip
    printed = Printed(spec, as_json=False)
    printed.printer.print_finished({**MANIFEST, "checks": checks})
    (line,) = (line for line in printed.notices if line.startswith("checks"))
    assert line.split(maxsplit=1)[1] == (
        "pii: 1,200 answers taken out, names: 0 answers flagged, tone: 3 answers made dead letters"
    )
    printed = Printed(spec, as_json=False)
    printed.printer.print_finished(MANIFEST)
    assert not any(line.startswith("checks") for line in printed.notices)


@pytest.fixture
def spec() -> JobSpec:
    return parse_job(
        {
            "name": "tested",
            "input": {"path": "corpus"},
            "output": {"path": "answers/here"},
            "tasks": [{"name": "summary", "kind": "summarize"}],
            "limits": {"max_dead_letter_fraction": 0.25},
        }
    )


class Printed:
    """A printer on a console of `width` columns, and what it has printed."""

    def __init__(
        self, spec: JobSpec, *, as_json: bool, width: int = 120, log_format: LogFormat = "text"
    ) -> None:
        self._errors, self._results = StringIO(), StringIO()
        screen = Screen(Console(file=self._errors, width=width), self._results)
        self.printer = RunPrinter(screen, spec, as_json, log_format)

    @property
    def notices(self) -> list[str]:
        return [line.rstrip() for line in self._errors.getvalue().splitlines()]

    @property
    def results(self) -> list[Any]:
        return [json.loads(line) for line in self._results.getvalue().splitlines()]


@pytest.fixture
def text(spec: JobSpec) -> Printed:
    return Printed(spec, as_json=False)


@pytest.fixture
def as_json(spec: JobSpec) -> Printed:
    return Printed(spec, as_json=True)


def test_the_summary_has_a_row_for_each_total(text: Printed) -> None:
    text.printer.print_finished(MANIFEST)
    rows = [line.split("  ", 1) for line in text.notices]
    assert [(label.strip(), value.strip()) for label, value in rows] == [
        ("answered", "1,230 of 1,234 documents"),
        ("dead letters", "4 (reasons: 3 empty, 1 too_large)"),
        (
            "tokens",
            "4,000 in prompts (75% from the prefix cache), 2,500 generated in 0.31 steps each",
        ),
        ("time", "1:02:05 in total; engine start 17 s, then 22.4 s at 58,656 tokens/s"),
        ("engines", "2.00 h on H100; 10% idle or for nothing; 3 restarted"),
        ("answers", "answers/here/answers"),
    ]
    assert text.results == []


def test_files_that_are_not_read_are_named_on_one_notice(text: Printed) -> None:
    not_read = NotRead()
    text.printer.print_not_read(not_read)
    assert text.notices == []
    not_read.add(Reason.ENDING, "notes.txt")
    text.printer.print_not_read(not_read)
    assert text.notices == [
        "corpus: 1 file or directory is not read: 1 with other endings (notes.txt)"
    ]
    assert text.results == []


def test_the_summary_names_skipped_files_and_too_many_dead_letters(text: Printed) -> None:
    text.printer.print_finished(
        {**MANIFEST, "status": "too_many_dead_letters", "skipped_files": ["a.parquet: truncated"]}
    )
    notices = " ".join(" ".join(text.notices).split())
    assert "skipped a.parquet: truncated too many dead letters: " in notices
    assert "limits.max_dead_letter_fraction (25%)" in notices
    assert notices.endswith("answers/here/dead_letters/")


def test_the_summary_names_the_delta_table(text: Printed) -> None:
    text.printer.print_finished({**MANIFEST, "table": {"format": "delta", "version": 3}})
    assert text.notices[-1].endswith("answers/here/answers (also a Delta table, version 3)")


def test_the_summary_names_files_without_rows(text: Printed) -> None:
    without_rows = {"count": 2, "first": ["a.parquet", "b.jsonl"]}
    text.printer.print_finished({**MANIFEST, "files_without_rows": without_rows})
    assert "no rows in 2 input files: a.parquet, b.jsonl" in " ".join(
        " ".join(text.notices).split()
    )


def test_a_run_that_read_nothing_has_a_summary(text: Printed) -> None:
    nothing = {"prompt_tokens": 0, "cached_prompt_tokens": 0, "dead_letter_reasons": {}}
    text.printer.print_finished({**MANIFEST, **nothing, "dead_letters": 0})
    assert text.notices[1].split() == ["dead", "letters", "0"]
    assert "0 in prompts (0% from" in text.notices[2]


def test_with_json_the_manifest_without_its_files_is_the_only_result(as_json: Printed) -> None:
    as_json.printer.print_finished(MANIFEST)
    assert as_json.results == [{key: MANIFEST[key] for key in MANIFEST if key != "files"}]
    assert as_json.notices == []


def test_with_json_a_stopped_run_has_a_result_of_its_own(as_json: Printed) -> None:
    as_json.printer.print_stopped(Stopped("SIGINT"))
    as_json.printer.print_stopped_result()
    assert as_json.results == [{"run": "tested", "status": "stopped"}]
    assert as_json.notices[0].endswith("run the same command to resume")


def test_with_json_a_failure_is_a_result_and_a_notice(as_json: Printed) -> None:
    as_json.printer.print_failure("Ray's raylet died")
    assert as_json.results == [{"status": "failed", "error": "Ray's raylet died"}]
    assert as_json.notices == ["phifleet: Ray's raylet died"]


def test_without_json_nothing_goes_to_standard_output(text: Printed) -> None:
    text.printer.print_stopped(Stopped("SIGTERM"))
    text.printer.print_stopped_result()
    text.printer.print_failure("Ray's raylet died")
    assert text.results == []


def test_the_log_is_named_relative_to_the_working_directory(
    text: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text.printer.print_start(tmp_path / "out/_run/log")
    text.printer.print_start(tmp_path.parent / "log")
    assert text.notices[0].endswith(" out/_run/log")
    assert text.notices[1].endswith(f" {tmp_path.parent / 'log'}")


def test_paths_and_urls_are_not_broken_on_a_narrow_terminal(spec: JobSpec) -> None:
    narrow = Printed(spec, as_json=False, width=30)
    log = Path("/a/directory/with/a/name/longer/than/the/terminal/log")
    narrow.printer.print_log_not_stored(log, StorageError("s3://bucket: no access"))
    narrow.printer.print_node_metrics("http://a-host-with-a-long-name:12345/metrics")
    assert len(narrow.notices) == 2
    assert str(log) in narrow.notices[0] and "s3://bucket: no access" in narrow.notices[0]


def test_only_a_model_with_random_weights_is_warned_of(text: Printed, tiny_model: Model) -> None:
    text.printer.print_model(tiny_model)
    assert "random weights" in " ".join(text.notices)
    printed = len(text.notices)
    text.printer.print_model(replace(tiny_model, random_weights=False))
    assert len(text.notices) == printed


def test_large_files_that_are_one_piece_are_named(spec: JobSpec) -> None:
    printed = Printed(spec, as_json=False, width=300)
    printed.printer.print_undivided([])
    assert printed.notices == []
    printed.printer.print_undivided([SourceFile("a.jsonl.gz", 2**30, "")])
    assert printed.notices[0].startswith("a.jsonl.gz (1,024 MiB): read as one piece, which one CPU")


def test_lines_of_a_summary_in_a_pipe_are_not_folded(spec: JobSpec) -> None:
    printed = Printed(spec, as_json=False, width=40)
    printed.printer.print_finished(MANIFEST)
    printed.printer.print_retried({"empty": 1_000}, {"empty": 999, "too_large": 12})
    assert "4,000 in prompts (75% from the prefix cache), 2,500 generated" in printed.notices[2]
    assert printed.notices[-1].endswith("dead letters now: 999 empty, 12 too_large")
