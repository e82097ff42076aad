"""The log of a run as JSON: each notice, the progress, the end, and errors, one object a line."""

from __future__ import annotations

import io
import json
import os
import pty
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from live_runs import large_run
from test_summary import MANIFEST, Printed

from jobs.cli import main
from jobs.control import Stopped
from jobs.json_log import JsonLog
from jobs.live import View, show_view
from jobs.summary import RunPrinter
from pipelines.corpus.not_read import NotRead, Reason
from pipelines.errors import StorageError
from pipelines.job.spec import JobSpec, parse_job
from pipelines.models.resolve import Model
from pipelines.run.screen import Screen, Terminal


@pytest.fixture
def spec() -> JobSpec:
    task = {"name": "summary", "kind": "summarize"}
    source = {"name": "tested", "input": {"path": "corpus"}, "output": {"path": "out"}}
    return parse_job({**source, "tasks": [task]})


def test_an_event_has_the_time_its_level_its_name_and_values() -> None:
    written = io.StringIO()
    JsonLog(written, lambda: datetime(2030, 1, 31, 12, 0, 1, 500_000, UTC)).write(
        "start", run="a\nb"
    )
    assert written.getvalue() == (
        '{"time": "2030-01-31T12:00:01.500Z", "level": "info", "event": "start", "run": "a\\nb"}\n'
    )


def test_every_notice_is_an_object_with_its_text_and_its_values(
    spec: JobSpec, tiny_model: Model
) -> None:
    printed = Printed(spec, as_json=False, width=20, log_format="json")
    printer, not_read, log = printed.printer, NotRead(), Path("/a/log")
    not_read.add(Reason.ENDING, "notes.txt")
    printer.print_start(log)
    printer.print_model(tiny_model)
    printer.print_not_read(not_read)
    printer.print_node_metrics("http://10.0.0.1:1/metrics")
    printer.print_run_metrics(9_100)
    printer.print_stopped(Stopped("SIGTERM"))
    printer.print_log_not_stored(log, StorageError("no access"))
    printer.print_retried({"empty": 2}, {})
    printer.print_failure("Ray died")
    printer.print_finished(MANIFEST)
    events = [json.loads(line) for line in printed.notices]
    assert [(event["event"], event["level"]) for event in events] == [
        ("start", "info"), ("random_weights", "warning"), ("files_not_read", "warning"),
        ("node_metrics", "info"), ("run_metrics", "info"), ("stopped", "warning"),
        ("log_not_stored", "warning"), ("retried", "info"), ("failed", "error"),
        ("finished", "info"),
    ]  # fmt: skip
    by_name = {event["event"]: event for event in events}
    assert by_name["start"]["run"] == "tested" and by_name["start"]["log"] == str(log)
    assert "random weights" in by_name["random_weights"]["message"]
    assert by_name["run_metrics"]["url"] == "http://127.0.0.1:9100/metrics"
    assert by_name["retried"]["retried"] == {"empty": 2}
    assert by_name["failed"]["error"] == "Ray died"
    assert by_name["finished"]["answered"] == 1_230 and "files" not in by_name["finished"]
    assert printed.results == []


def test_with_json_too_the_result_goes_to_standard_output_as_before(spec: JobSpec) -> None:
    printed = Printed(spec, as_json=True, log_format="json")
    printed.printer.print_finished(MANIFEST)
    assert printed.results[0]["status"] == "done"
    assert json.loads(printed.notices[0])["event"] == "finished"


def shown(terminal: int, spec: JobSpec) -> None:
    """Show a run's view with a JSON log on a terminal until its end."""
    view = cast(View, large_run(View, 2))
    view.state._latest = view.progress
    with os.fdopen(terminal, "w", buffering=1) as file:
        screen = Screen(Terminal(file), io.StringIO())
        printer = RunPrinter(screen, spec, as_json=False, log_format="json")
        with show_view(view, screen, printer.log_progress):
            pass


def test_on_a_terminal_the_json_log_takes_the_place_of_the_live_view(spec: JobSpec) -> None:
    master, slave = pty.openpty()
    shown(slave, spec)
    (line,) = os.read(master, 100_000).decode().splitlines()
    os.close(master)
    event: dict[str, Any] = json.loads(line)
    assert (event["event"], event["phase"], event["documents"]) == (
        "progress", "reading", 1_000_000,
    )  # fmt: skip
    assert event["limits"]["max_dead_letter_fraction"]["limit"] == 0.05
    assert event["oldest_unit"]["unit"] == 4_100 and event["kv_cache_tokens"] == 2_800_000


@pytest.mark.parametrize("unexpected", [False, True])
def test_an_error_of_the_command_is_an_event(
    tmp_path: Path,
    unexpected: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(path: Path, settings: object) -> None:
        raise ZeroDivisionError(f"of {path}")

    if unexpected:
        monkeypatch.setattr("jobs.commands.load_job", fail)
    job = tmp_path / "no.yaml"
    assert main(["run", str(job), "--log-format", "json"]) == (4 if unexpected else 2)
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"]) == ("failed", "error")
    assert str(job) in event["error"] and event["message"].startswith("phifleet: ")
    assert ("traceback" in event) == unexpected
    assert printed.out == ""


def test_the_default_is_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path / "no.yaml")]) == 2
    assert capsys.readouterr().err.startswith("phifleet: ")
