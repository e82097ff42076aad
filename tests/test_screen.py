"""The screen: our words reach the terminal, everybody else's the log, also where that is full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from pipelines.screen import screen_over

with screen_over(Path(sys.argv[1])) as screen:
    print("noise")
    print("the result", file=screen.results)
    screen.console.print("our words")
    raise SystemExit("the reason")
"""


def spoken(log: Path) -> tuple[str, str]:
    """What a program says on standard output and on standard error."""
    # noise waits in a buffer, as it does in a run
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, log], env=environment, capture_output=True, text=True
    )
    return done.stdout, done.stderr


def test_noise_goes_to_the_log_and_our_words_to_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "run/log"
    assert spoken(log) == ("the result\n", "our words\nthe reason\n")
    assert log.read_text() == "noise\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_log_that_is_full_costs_the_noise_alone() -> None:
    assert spoken(Path("/dev/full")) == ("the result\n", "our words\nthe reason\n")
