"""What happened in a storm, and whether it left anything lost, doubled, strange or done again."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass, field

from chaos.checker import Found

EXPECTED_CODES = {0, 3, 4, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}
# Share of all prompts that may be about documents whose unit was committed before they were asked.
MOST_REDONE = 0.02


@dataclass
class Report:
    """What happened so far."""

    blows: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    starts: int = 0
    strange_ends: int = 0
    found: list[Found] = field(default_factory=list)

    def total(self, name: str) -> int:
        return sum(getattr(each, name) for each in self.found)

    @property
    def redone_share(self) -> float:
        return self.total("redone") / max(1, self.total("asked"))

    def table(self) -> str:
        """For people: what was done, and what was found."""
        codes = ", ".join(f"{count} with {code}" for code, count in sorted(self.codes.items()))
        letters = sum((Counter(each.dead_letters) for each in self.found), Counter[str]())
        return "\n".join(
            (
                f"| blows | {_counted(self.blows)} |",
                f"| S3 requests that failed | {_counted(self.faults)} |",
                f"| runs | {self.runs}, in {self.starts} starts, which ended: {codes} |",
                f"| documents | {self.total('documents'):,} |",
                f"| lost | {self.total('lost')} |",
                f"| doubled | {self.total('doubled')} |",
                f"| strange | {self.total('strange')} |",
                f"| dead letters | {dict(letters)} |",
                f"| redone beyond units in flight: asked after their commit | "
                f"{self.total('redone')} of {self.total('asked'):,} prompts "
                f"({self.redone_share:.2%}; at most {MOST_REDONE:.0%}) |",
            )
        )

    @property
    def sound(self) -> bool:
        whole = all(each.sound for each in self.found)
        return whole and not self.strange_ends and self.redone_share < MOST_REDONE


def _counted(counts: Counter[str]) -> str:
    each = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return f"{counts.total()}: {each}" if counts else "none"
