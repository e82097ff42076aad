"""`phifleet run` on a terminal: a real run in a pseudo-terminal of 80 x 24 characters."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from runs import LIMIT_SECONDS, PHIFLEET, corpus_of, job_file
from terminal import CTRL_C, Terminal

from pipelines.models.resolve import Model

STARTED = "phifleet      tested - starting engines"
# The beginnings of all lines that a run may print on a terminal: notices, the view, the summary.
OURS = re.compile(
    r"phifleet|metrics of|model 'tiny-random' has random|to another model|"
    r"time |indexed|documents|units|tokens|ETA|dead letters|answered|answers|CPU |engine time |"
    r"waste |KV cache |oldest |restarts |\d+ workers?|[0-9a-f]{8} |engines| {14}\S|"
    r"stopped by SIGINT|resume$|the report is |\^C"
)
SUMMARY = [
    "answered",
    "dead letters",
    "tokens",
    "time",
    "engines",
    "answers",
    "the report is",
]


@pytest.fixture
def job(tiny_model: Model, tmp_path: Path) -> Path:
    """Return a small job with short relative paths: a long one would fill two lines."""
    (tmp_path / "corpus").mkdir()
    corpus_of(tmp_path / "corpus/a.parquet", range(1), longest=4_000)
    path = job_file(tmp_path)
    job = yaml.safe_load(path.read_text())
    job["input"]["path"], job["output"]["path"] = "corpus", "out"
    path.write_text(yaml.safe_dump(job))
    return path


def run(job: Path) -> Terminal:
    return Terminal([*PHIFLEET, "run", job.name, "--unit-seconds", "1"], job.parent)


def assert_only_ours(terminal: Terminal) -> None:
    unexpected = [line for line in terminal.whole() if line and not OURS.match(line)]
    assert unexpected == []
    assert b"EngineCore" not in terminal.sent and b"pid=" not in terminal.sent


def test_a_terminal_shows_the_view_then_the_summary_and_the_log_has_all_other_output(
    job: Path,
) -> None:
    with run(job) as terminal:
        lines = terminal.await_shown(lambda lines: STARTED in lines, LIMIT_SECONDS)
        assert not terminal.cursor_visible
        assert "phifleet run tested; the log is out/_run/log" in lines
        assert terminal.wait(LIMIT_SECONDS) == 0
        assert_only_ours(terminal)
        assert terminal.wraps == 0
        assert terminal.cursor_visible
    labels = [line[:14].strip() for line in terminal.whole() if line[:1].strip()]
    assert labels[-len(SUMMARY) :] == SUMMARY
    assert STARTED not in terminal.whole()
    log = (job.parent / "out/_run/log").read_text()
    assert "EngineCore" in log and "pid=" in log


def test_ctrl_c_stops_the_run_and_leaves_a_clean_terminal(job: Path) -> None:
    log = job.parent / "out/_run/log"
    with run(job) as terminal:
        terminal.await_shown(
            lambda lines: STARTED in lines and "EngineCore" in log.read_text(), LIMIT_SECONDS
        )
        terminal.type(CTRL_C)
        assert terminal.wait(LIMIT_SECONDS) == 3
    assert_only_ours(terminal)
    assert terminal.cursor_visible
    assert terminal.wraps == 0
    *_, last = terminal.whole()
    assert terminal.screen.cursor.x == 0
    assert "stopped by SIGINT. Committed work is kept" in " ".join(terminal.whole())
    assert last.endswith("resume")
