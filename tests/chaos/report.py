"""The report of a fault injection run: the faults injected, and the results of the checks."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass, field

from chaos.checker import CheckResult

EXPECTED_CODES = {0, 3, 4, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}
"""Exit codes that a disturbed driver may have."""
RAY_ENDED_IT = (1, "Worker will terminate")
"""The exit code and the words in its log of a driver that Ray's C++ code ended, because the raylet
died in the fraction of a second in which the driver connected to it. Python cannot prevent it."""
MAX_REDONE_SHARE = 0.02
"""The maximum share of prompts about documents whose unit had been committed before."""


@dataclass
class Report:
    """The faults injected and the results so far.

    Attributes:
        faults: injected faults, by name.
        codes: drivers, by exit code.
        request_faults: failed S3 requests, by kind of fault.
        runs: how many runs were completed.
        starts: how many drivers were started for them.
        ended_by_ray: drivers that Ray's C++ code ended (`RAY_ENDED_IT`).
        unexpected_ends: drivers with an exit code or an error that no fault explains.
        results: the check of each run.
    """

    faults: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    request_faults: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    starts: int = 0
    ended_by_ray: int = 0
    unexpected_ends: int = 0
    results: list[CheckResult] = field(default_factory=list)

    def total(self, name: str) -> int:
        """Return the sum of a field of CheckResult over all runs."""
        return sum(getattr(result, name) for result in self.results)

    @property
    def redone_share(self) -> float:
        """The share of prompts about documents whose unit had been committed before, 0 to 1."""
        return self.total("redone") / max(1, self.total("prompts"))

    def table(self) -> str:
        """Return the report as the rows of a Markdown table."""
        codes = ", ".join(f"{count} with {code}" for code, count in sorted(self.codes.items()))
        dead_letters = sum(
            (Counter(result.dead_letters) for result in self.results), Counter[str]()
        )
        return "\n".join(
            (
                f"| faults injected | {_counted(self.faults)} |",
                f"| S3 requests that failed | {_counted(self.request_faults)} |",
                f"| runs | {self.runs}, in {self.starts} starts; exit codes: {codes} |",
                f"| ended by Ray while it connected | {self.ended_by_ray} |",
                f"| ended unexpectedly | {self.unexpected_ends} |",
                f"| documents | {self.total('documents'):,} |",
                f"| documents with a new edition in the middle | {self.total('changed'):,} |",
                f"| lost | {self.total('lost')} |",
                f"| doubled | {self.total('doubled')} |",
                f"| unexpected | {self.total('unexpected')} |",
                f"| answered from an earlier edition | {self.total('stale')} |",
                f"| dead letters | {dict(dead_letters)} |",
                f"| prompts about documents of units already committed | "
                f"{self.total('redone')} of {self.total('prompts'):,} "
                f"({self.redone_share:.2%}; limit {MAX_REDONE_SHARE:.0%}) |",
            )
        )

    @property
    def sound(self) -> bool:
        """True if all runs passed, no driver ended unexpectedly, and few prompts were redone."""
        passed = all(result.sound for result in self.results)
        return passed and not self.unexpected_ends and self.redone_share < MAX_REDONE_SHARE


def _counted(counts: Counter[str]) -> str:
    by_name = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return f"{counts.total()}: {by_name}" if counts else "none"
