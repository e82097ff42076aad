"""`phifleet report`, the report at the end of a run, and the function of the Python API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import StringIO
from pathlib import Path

import pytest
from here import InProcessRun
from quick import QuickRun
from reported import reported_run
from rich.console import Console

import phifleet
from jobs.cli import main
from jobs.control import Stopped
from jobs.hosts import Host
from jobs.report import report_finished_run
from jobs.summary import RunPrinter
from pipelines.models.resolve import Model
from pipelines.run import cluster
from pipelines.run.screen import Screen
from pipelines.text.tokens import ChatTokenizer


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> InProcessRun:
    run = reported_run(tmp_path_factory.mktemp("run"), tiny_tokenizer)
    run()
    return run


def test_the_command_prints_the_path_of_the_page(
    run: InProcessRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", run.storage.url]) == 0
    assert capsys.readouterr().out.strip() == f"{run.storage.url}/report.html"
    to = tmp_path / "page.html"
    assert main(["report", run.storage.url, "--id", "wide", "--to", str(to), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["report"] == str(to) and to.exists()
    assert [document["id"] for document in printed["shown"]] == ["wide"]


def test_wrong_arguments_end_with_2(
    run: InProcessRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "does not contain a phifleet run" in capsys.readouterr().err
    assert main(["report", run.storage.url, "--id", "nobody"]) == 2
    assert "--id nobody" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["report", run.storage.url, "--documents", "0"])


def test_the_function_takes_the_job_or_its_output(run: InProcessRun, tmp_path: Path) -> None:
    result = phifleet.report(run.prepared.job, documents=1, to=tmp_path / "page.html")
    assert result.path == str(tmp_path / "page.html")
    assert result.facts["documents"]["answered"] == 5 and len(result.facts["shown"]) == 1


@contextmanager
def stopped() -> Iterator[None]:
    raise Stopped("SIGTERM")
    yield


def printed_by_the_end_of(run: InProcessRun, output: str, *, signalled: bool = False) -> str:
    """Write the report as at the end of a run, and return what is printed."""
    sink = StringIO()
    screen = Screen(Console(file=sink, width=300), StringIO())
    host = Host(
        cluster,
        lambda log: nullcontext(screen),
        stopped if signalled else nullcontext,
        lambda report: nullcontext(),
    )
    report_finished_run(output, host, RunPrinter(screen, run.prepared.spec, as_json=False))
    return sink.getvalue()


def test_a_finished_run_has_a_report(run: InProcessRun) -> None:
    run.storage.remove("report.html")
    printed = printed_by_the_end_of(run, run.storage.url)
    assert printed.strip() == f"the report is {run.storage.url}/report.html"
    assert run.storage.exists("report.html")


def test_a_report_that_cannot_be_written_is_a_notice(run: InProcessRun, tmp_path: Path) -> None:
    printed = printed_by_the_end_of(run, str(tmp_path / "nothing"))
    assert printed.startswith("the report was not written: OutputError: ")
    assert f"phifleet report {tmp_path / 'nothing'} writes it" in printed
    assert "stopped by SIGTERM" in printed_by_the_end_of(run, run.storage.url, signalled=True)


def test_phifleet_run_writes_the_report_and_prints_one_object(tmp_path: Path) -> None:
    run = QuickRun(tmp_path, str(tmp_path / "out"), documents=8)
    code, result, errors = run()
    assert (code, result["status"]) == (0, "done"), errors
    assert f"the report is {tmp_path / 'out'}/report.html" in errors
    assert (tmp_path / "out/report.html").read_text().startswith("<!doctype html>")
