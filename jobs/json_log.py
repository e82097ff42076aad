"""The log of a run for programs: one JSON object a line, with a time, a level and an event.

Knows no run; the values are the caller's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Literal

LogFormat = Literal["text", "json"]
"""The format in which a run writes its notices and progress to standard error."""
Level = Literal["info", "warning", "error"]


def utc_now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class JsonLog:
    """Writes events to a stream. `now` returns the time, with its time zone."""

    sink: IO[str]
    now: Callable[[], datetime] = utc_now

    def write(self, event: str, level: Level = "info", **values: Any) -> None:
        """Write one event with its values as one line, and flush."""
        time = self.now().astimezone(UTC).isoformat(timespec="milliseconds")
        head = {"time": time.replace("+00:00", "Z"), "level": level, "event": event}
        # in one call: other threads write to the same stream
        self.sink.write(f"{json.dumps(head | values)}\n")
        self.sink.flush()
