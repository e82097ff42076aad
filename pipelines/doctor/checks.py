"""The result of a check: what was found, whether it is usable, and what to do if it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pipelines.errors import PhifleetError


class Status(StrEnum):
    """The result of a check: OK, WARNING (usable, but with a fault), or FAILED."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: the thing that was checked, such as `engine`.
        status: whether it can be used.
        detail: what was found, in a sentence.
        remedy: what to do; empty if the status is OK.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the attributes as JSON values by name."""
        return asdict(self)


def ok(name: str, detail: str) -> Check:
    """Return a check of something that can be used."""
    return Check(name, Status.OK, detail)


def warning(name: str, detail: str, remedy: str) -> Check:
    """Return a check of something that can be used, but not as it should be."""
    return Check(name, Status.WARNING, detail, remedy)


def failed(name: str, detail: str, remedy: str) -> Check:
    """Return a check of something that cannot be used."""
    return Check(name, Status.FAILED, detail, remedy)


def all_usable(checks: Iterable[Check]) -> bool:
    """Return whether no check failed."""
    return all(check.status is not Status.FAILED for check in checks)


def guarded(name: str, check: Callable[[], Check], remedy: str) -> Check:
    """Return the result of `check`; if it raises a PhifleetError, a failed check with its message
    and `remedy`."""
    try:
        return check()
    except PhifleetError as error:
        return failed(name, error.message, remedy)
