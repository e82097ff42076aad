"""Groups messages that differ only in numbers, quoted values and names of files.

Works on whole columns of Arrow. Knows no files.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# Groups that are held in memory; further messages are counted without a group.
MAX_GROUPS = 10_000
_MAX_CHARACTERS = 400
_LETTERS_TO_COMPARE = 3
_SUBSTITUTIONS = (
    (r"""(^|[\s(=\[{:,])('[^']*'|"[^"]*"|`[^`]*`)""", r"\1'...'"),
    (r"[^\s'\"]*/[^\s'\":;,]+", "PATH"),
    (r"\b0x[0-9A-Fa-f]+\b|\b[0-9A-Fa-f]{8,}\b", "#"),
    (r"(^|[^\w-])-?\d+(?:[.,_]\d+)*", r"\1#"),
)
_KEYS = ("reason", "task", "pattern")


def message_patterns(messages: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the messages, a column of strings, with `#` for each number, `'...'` for each quoted
    value and PATH for each path, cut off after 400 characters. A null becomes ""."""
    patterns = pc.fill_null(messages, "")
    for pattern, substitute in _SUBSTITUTIONS:
        patterns = pc.replace_substring_regex(patterns, pattern, substitute)
    return pc.utf8_slice_codeunits(patterns, 0, _MAX_CHARACTERS)


def are_like(letters: pa.Table, text: str) -> pa.ChunkedArray:
    """Return a boolean for each row: whether its message contains `text`, in upper or lower case,
    or has other numbers, values or paths where `text` has some. `letters` has the columns
    `message` and `pattern`."""
    contained = pc.match_substring(pc.fill_null(letters["message"], ""), text, ignore_case=True)
    pattern: str = message_patterns(pa.chunked_array([[text]]))[0].as_py()
    words = pattern.replace("PATH", "")
    if sum(character.isalpha() for character in words) < _LETTERS_TO_COMPARE:
        # only numbers and values: every message has some
        return contained
    return pc.or_(contained, pc.match_substring(letters["pattern"], pattern, ignore_case=True))


@dataclass(frozen=True, slots=True)
class MessageGroup:
    """Dead letters with the same reason and task whose messages have the same `pattern`.

    `example` is one of them, as JSON values by column.
    """

    reason: str
    task: str | None
    pattern: str
    count: int
    example: dict[str, Any]


@dataclass
class MessageGroups:
    """Counts messages by pattern, in bounded memory.

    Attributes:
        ungrouped: the dead letters, by reason, that came after `MAX_GROUPS` patterns were known and
            have none of these.
    """

    ungrouped: Counter[str] = field(default_factory=Counter)
    _counts: Counter[tuple[str, str | None, str]] = field(default_factory=Counter)
    _examples: dict[tuple[str, str | None, str], dict[str, Any]] = field(default_factory=dict)

    def add(self, letters: pa.Table) -> None:
        """Count dead letters: a table with the columns of `dead_letters_table`, and `pattern`."""
        at = pa.array(range(letters.num_rows), pa.int64())
        rows = letters.select(list(_KEYS)).append_column("at", at)
        grouped = rows.group_by(list(_KEYS)).aggregate([("at", "count"), ("at", "min")])
        for group in grouped.sort_by("at_min").to_pylist():
            key = (group["reason"], group["task"], group["pattern"])
            if key not in self._examples:
                if len(self._examples) >= MAX_GROUPS:
                    self.ungrouped[group["reason"]] += group["at_count"]
                    continue
                (self._examples[key],) = letters.slice(group["at_min"], 1).to_pylist()
            self._counts[key] += group["at_count"]

    def most_frequent(self, limit: int) -> list[MessageGroup]:
        """Return the groups with the most dead letters, at most `limit`, the largest first."""
        largest = sorted(self._counts.items(), key=lambda item: (-item[1], str(item[0])))[:limit]
        return [MessageGroup(*key, count, self._examples[key]) for key, count in largest]
