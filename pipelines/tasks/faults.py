"""The faults of one schema, collected so that all of them are reported at once. Knows no tasks."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.errors import SpecError

# More would hide the first ones, which often cause the others.
_MAX_REPORTED = 20


class Faults:
    """Collects the messages about one schema; each begins with the key path of what is wrong."""

    def __init__(self) -> None:
        self._messages: dict[str, None] = {}

    def add(self, place: str, message: str) -> None:
        """Record that `place`, a key path, is wrong. `message` says why, and what to do."""
        self._messages[f"{place}: {message}"] = None

    def raise_any(self) -> None:
        """Raise SpecError with one line per fault, if there is any."""
        raise_all(self._messages)


def raise_all(messages: Iterable[str]) -> None:
    """Raise SpecError with these messages, one a line and at most 20, if there are any."""
    listed = list(dict.fromkeys(messages))
    if not listed:
        return
    more = len(listed) - _MAX_REPORTED
    if more > 0:
        listed = [*listed[:_MAX_REPORTED], f"and {more} more; correct these first"]
    raise SpecError("\n".join(listed))
