"""A pytest plugin that fails a run on CI if a test is skipped for a reason that is not allowed.

Without it, a run could pass although a program is missing on the CI machine and tests were skipped.
"""

from __future__ import annotations

import os
import re

import pytest

# Allowed reasons on CI: regular expressions for their beginnings, and why they are allowed.
ALLOWED = {
    "no filesystem can be mounted here: ": "a container may forbid mounts even to its root",
    "Phi-3's tokenizer and configs are not in ": "they are not part of the project",
    r"\w+ \(requirements/formats\.txt\) is not installed": "large readers and writers, for -m slow",
    "the shared cases are not in ": "they are not part of the project",
}
ADVICE = "install what they need (.ci/install), or add the reason to ALLOWED in tests/skips.py"


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        config.pluginmanager.register(SkipGuard(), "skip-guard")


class SkipGuard:
    """Collects the skips that are not allowed, and fails the run if there are any."""

    def __init__(self) -> None:
        self._refused: dict[str, list[str]] = {}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._add(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # pytest reports a test that fails as expected (xfail) as skipped, too
        if not hasattr(report, "wasxfail"):
            self._add(report)

    def _add(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        # the longrepr of a skip is its file, line and reason
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            if not any(re.match(pattern, reason) for pattern in ALLOWED):
                self._refused.setdefault(reason, []).append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._refused and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._refused:
            terminalreporter.section("skipped on CI: the run fails", red=True, bold=True)
            for reason, tests in self._refused.items():
                terminalreporter.line(reason, red=True)
                for test in tests:
                    terminalreporter.line(f"    {test}")
            terminalreporter.line(ADVICE)
