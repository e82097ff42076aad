"""Tests that property tests fail only because of what they check, and then show the example."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
SLOW_ONCE = """
import time
from hypothesis import given, strategies as st

calls = []

@given(st.just("x" * 40_000))
def test_that_is_slow_once(text):
    time.sleep(0 if calls else 0.3)
    calls.append(text)
"""
FALSE = """
from hypothesis import given, strategies as st

@given(st.just("x" * 40_000))
def test_that_is_false(text):
    assert text == "short"
"""


def run_pytest(directory: Path, text: str) -> str:
    """Run a test file with the project's pytest settings, and return the output."""
    (directory / "test_it.py").write_text(text)
    settings = ["-c", str(TESTS.parent / "pyproject.toml"), "-p", "properties"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *settings, "-p", "no:cacheprovider", "test_it.py"],
        cwd=directory,
        env={"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def test_a_slow_example_does_not_fail(tmp_path: Path) -> None:
    assert "1 passed" in run_pytest(tmp_path, SLOW_ONCE)


def test_a_failing_example_with_a_large_value_is_shown(tmp_path: Path) -> None:
    output = run_pytest(tmp_path, FALSE)
    assert "AssertionError" in output and "Failing test case" in output
    assert "Generating overly large repr" not in output
