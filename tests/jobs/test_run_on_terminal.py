"""`phifleet run` on a terminal, as a person sees it: a real run in a pty of 80 x 24."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from runs import LIMIT_SECONDS, PHIFLEET, corpus_of, job_file
from terminal import CTRL_C, Terminal

from pipelines.models.resolve import Model

STARTED = "phifleet      tested - starting engines"
# The first words of all that a run may say on a terminal: messages, the view, the summary.
OURS = re.compile(
    r"phifleet|metrics of|model 'tiny-random' has random|(the path they )?take is real|"
    r"time |spans|documents|units|tokens|ETA|reuse|workers|dead letters|answered|answers|"
    r" +[━╸╺]+$| {14}\S|stopped by SIGINT|on$|\^C"
)
SUMMARY = ["answered", "dead letters", "tokens", "time", "answers"]


@pytest.fixture
def job(tiny_model: Model, tmp_path: Path) -> Path:
    """A small job whose paths are short, as a user's are: a long one would fill two lines."""
    (tmp_path / "corpus").mkdir()
    corpus_of(tmp_path / "corpus/a.parquet", range(1), longest=4_000)
    path = job_file(tmp_path)
    written = yaml.safe_load(path.read_text())
    written["input"]["path"], written["output"]["path"] = "corpus", "out"
    path.write_text(yaml.safe_dump(written))
    return path


def run(job: Path) -> Terminal:
    return Terminal([*PHIFLEET, "run", job.name, "--unit-seconds", "1"], job.parent)


def assert_ours_alone(terminal: Terminal) -> None:
    strange = [line for line in terminal.whole() if line and not OURS.match(line)]
    assert strange == []
    assert b"EngineCore" not in terminal.sent and b"pid=" not in terminal.sent


def test_a_terminal_shows_the_view_and_then_the_summary_and_the_log_has_the_rest(
    job: Path,
) -> None:
    with run(job) as terminal:
        lines = terminal.await_shown(lambda lines: STARTED in lines, LIMIT_SECONDS)
        assert not terminal.cursor_visible
        assert "phifleet run tested; the log is out/_run/log" in lines
        assert terminal.wait(LIMIT_SECONDS) == 0
        assert_ours_alone(terminal)
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
    assert_ours_alone(terminal)
    assert terminal.cursor_visible
    assert terminal.wraps == 0
    *_, last = terminal.whole()
    assert terminal.screen.cursor.x == 0
    assert "stopped by SIGINT: what was committed stays" in " ".join(terminal.whole())
    assert last.endswith("on")
