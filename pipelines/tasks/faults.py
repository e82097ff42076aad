"""The faults of one schema, collected so that all of them are reported at once. Knows no tasks."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.errors import SpecError

# More would hide the first ones, which often cause the others.
_MAX_REPORTED = 20


class Faults:
    """Collects the faults found in one schema, to report all of them in one SpecError.

    Two faults with the same key path and message are one.
    """

    def __init__(self) -> None:
        self._messages: dict[str, None] = {}

    def add(self, place: str, message: str) -> None:
        """Record a fault, to be raised by `raise_any`.

        `place` is the key path of the wrong value, such as `tasks.parties.schema.type`. `message`
        says what is wrong with it and what to do.
        """
        self._messages[f"{place}: {message}"] = None

    def raise_any(self) -> None:
        """Raise SpecError with a line `PLACE: MESSAGE` per fault, at most 20; none without faults.

        Call it when all parts of the schema have been checked.
        """
        raise_all(self._messages)


def raise_all(messages: Iterable[str]) -> None:
    """Raise SpecError with these messages, one a line, or do nothing if there are none.

    Equal messages are one. Of more than 20, the first 20 are listed and the others counted.
    """
    listed = list(dict.fromkeys(messages))
    if not listed:
        return
    more = len(listed) - _MAX_REPORTED
    if more > 0:
        listed = [*listed[:_MAX_REPORTED], f"and {more} more; correct these first"]
    raise SpecError("\n".join(listed))
