"""On CI a skip fails the run, unless its reason is on the list."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

SKIPPED = """
import pytest

def test_that_passes():
    pass

def test_that_is_skipped():
    pytest.skip("promtool is not installed")
"""
SKIPPED_FILE = """
import pytest
pytest.importorskip("no_such_package")

def test_that_passes():
    pass
"""
ALLOWED = """
import pytest

@pytest.fixture
def disk():
    pytest.skip("no filesystem can be mounted here: mount: /x: permission denied.")

def test_that_is_skipped(disk):
    pass

@pytest.mark.xfail
def test_that_fails_as_expected():
    assert False

def test_that_passes():
    pass
"""
PROCESSES = pytest.mark.parametrize(
    "options", [(), ("--numprocesses=2",)], ids=["alone", "workers"]
)
FAILED = SKIPPED.replace("    pass", "    assert False")


def run_pytest(directory: Path, text: str, ci: str | None, *options: str) -> tuple[int, str]:
    (directory / "test_it.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\n")
    ours = ("CI", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    if ci is not None:
        environment["CI"] = ci
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "skips", "-p", "no:cacheprovider", *options, "."],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@PROCESSES
def test_a_skip_fails_the_run_on_ci_and_is_told_with_its_reason(
    tmp_path: Path, options: Sequence[str]
) -> None:
    code, output = run_pytest(tmp_path, SKIPPED, "true", *options)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "promtool is not installed\n    test_it.py::test_that_is_skipped\n" in output
    assert ".ci/install" in output


@PROCESSES
def test_a_file_that_is_skipped_fails_the_run_on_ci(tmp_path: Path, options: Sequence[str]) -> None:
    (tmp_path / "test_other.py").write_text("def test_that_passes():\n    pass\n")
    code, output = run_pytest(tmp_path, SKIPPED_FILE, "true", *options)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "could not import 'no_such_package'" in output
    assert "\n    test_it.py\n" in output


def test_allowed_skips_and_expected_failures_pass_on_ci(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, ALLOWED, ci="true")
    assert (code, "1 passed, 1 skipped, 1 xfailed" in output) == (pytest.ExitCode.OK, True), output
    assert "skipped on CI" not in output


@pytest.mark.parametrize("ci", [None, "", "false", "0"])
def test_elsewhere_skips_pass(tmp_path: Path, ci: str | None) -> None:
    code, output = run_pytest(tmp_path, SKIPPED, ci)
    assert (code, "1 passed, 1 skipped" in output) == (pytest.ExitCode.OK, True), output


def test_failures_are_still_told(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, FAILED, ci="true")
    assert (code, "1 failed, 1 skipped" in output) == (pytest.ExitCode.TESTS_FAILED, True), output


def test_this_suite_has_the_plugin(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.pluginmanager.has_plugin("skips")
