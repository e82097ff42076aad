"""Tests of the screen: our output reaches the terminal, that of libraries the log, even if it is
full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from terminal import Terminal

PROGRAM = """
import sys
from pathlib import Path
from pipelines.run.screen import redirect_output

with redirect_output(Path(sys.argv[1])) as screen:
    print("noise")
    print("the result", file=screen.results)
    screen.console.print("our words")
    raise SystemExit("the reason")
"""


def output_of(log: Path) -> tuple[str, str]:
    """Run the program with this log; return its standard output and standard error."""
    # buffered output, as in a run
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, log], env=environment, capture_output=True, text=True
    )
    return done.stdout, done.stderr


def test_library_output_goes_to_the_log_and_ours_to_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "run/log"
    assert output_of(log) == ("the result\n", "our words\nthe reason\n")
    assert log.read_text() == "noise\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_log_loses_only_library_output() -> None:
    assert output_of(Path("/dev/full")) == ("the result\n", "our words\nthe reason\n")


VIEW = """
import logging, os, subprocess, sys, threading, time
from pathlib import Path
from pipelines.run.screen import redirect_output

def noise():
    print("noise of print")
    print("noise of stderr", file=sys.stderr)
    logging.getLogger("any").warning("noise of logging")
    os.write(2, b"noise of C\\n")
    subprocess.run(["echo", "noise of a child"], check=True)

with redirect_output(Path("log")) as screen:
    screen.console.print("ours: [/red] :smile: " + str(screen.console.size.width))
    if not screen.console.is_interactive:
        raise SystemExit("no live view here")
    with screen.live_view(lambda: f"the view of {screen.console.size.width}"):
        thread = threading.Thread(target=noise)
        thread.start()
        noise()
        thread.join()
        while not Path("go").exists():
            time.sleep(0.1)
        if "abort" in sys.argv:
            screen.end_views()
            screen.console.print("the reason")
            os._exit(4)
    screen.console.print("the end")
"""
LIVE = [sys.executable, "-c", VIEW]


def test_during_a_live_view_library_output_goes_to_the_log(tmp_path: Path) -> None:
    with Terminal(LIVE, tmp_path) as terminal:
        ours = ["ours: [/red] :smile: 80", "the view of 80"]
        terminal.await_shown(lambda lines: lines == ours, 30)
        assert not terminal.cursor_visible
        terminal.resize(40, 24)
        terminal.await_shown(lambda lines: lines == [ours[0], "the view of 40"], 30)
        (tmp_path / "go").touch()
        assert terminal.wait(30) == 0
        assert terminal.whole() == [ours[0], "the end"]
        assert terminal.cursor_visible
        assert b"noise" not in terminal.sent
        kinds = ("print", "stderr", "logging", "C", "a child")
        log = (tmp_path / "log").read_text()
        assert [log.count(f"noise of {kind}") for kind in kinds] == [2] * 5


def test_a_process_that_ends_during_its_view_shows_the_cursor_again(tmp_path: Path) -> None:
    with Terminal([*LIVE, "abort"], tmp_path) as terminal:
        terminal.await_shown(lambda lines: "the view of 80" in lines, 30)
        (tmp_path / "go").touch()
        assert terminal.wait(30) == 4
        assert terminal.cursor_visible
        assert terminal.whole()[1:] == ["the view of 80", "the reason"]


def test_the_size_is_that_of_the_terminal_it_writes_to(tmp_path: Path) -> None:
    devnull = Path(os.devnull)
    (tmp_path / "go").touch()
    with Terminal(LIVE, tmp_path, columns=57, redirected={0: devnull, 1: devnull}) as terminal:
        assert terminal.wait(30) == 0
        assert terminal.whole()[0] == "ours: [/red] :smile: 57"


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_INTERACTIVE"])
def test_a_file_gets_no_live_view_whatever_the_environment_says(tmp_path: Path, name: str) -> None:
    with Terminal(LIVE, tmp_path, {name: "1"}, redirected={2: tmp_path / "errors"}) as terminal:
        assert terminal.wait(30) == 1
        errors = (tmp_path / "errors").read_text()
        assert errors == "ours: [/red] :smile: 80\nno live view here\n"


def test_a_terminal_that_cannot_move_its_cursor_gets_no_live_view(tmp_path: Path) -> None:
    with Terminal(LIVE, tmp_path, {"TERM": "dumb"}, columns=60) as terminal:
        assert terminal.wait(30) == 1
        assert terminal.whole() == ["ours: [/red] :smile: 60", "no live view here"]
        assert b"\x1b" not in terminal.sent


def test_no_color_turns_colours_off(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\nfrom pipelines.run.screen import redirect_output\n"
        "with redirect_output(Path('log')) as screen:\n"
        "    screen.console.print('warned', style='yellow')"
    )
    sent = []
    for environment in ({}, {"NO_COLOR": "1"}):
        with Terminal([sys.executable, "-c", program], tmp_path, environment) as terminal:
            assert terminal.wait(30) == 0
            sent.append(terminal.sent.strip())
    assert sent == [b"\x1b[33mwarned\x1b[0m", b"warned"]
