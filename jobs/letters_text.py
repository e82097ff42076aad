"""Prints dead letters as text for people or as JSON values. Knows no storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.ledger.reasons import REASONS, UNKNOWN, ReasonText
from pipelines.reporting.letters import Letters
from pipelines.reporting.messages import MessageGroup

_EXAMPLE_CHARACTERS = 160


def errors_json(letters: Letters) -> dict[str, Any]:
    """Return the dead letters as JSON values: `dead_letters`, `reasons`, `messages`, `ungrouped`
    and `rows`."""
    return {
        "dead_letters": letters.total,
        "reasons": [{**asdict(count), **_words(_text(count.reason))} for count in letters.counts],
        "messages": [{**asdict(group), "example": _row(group.example)} for group in letters.groups],
        "ungrouped": letters.ungrouped,
        "rows": [_row(row) for row in letters.rows],
    }


def _text(reason: str) -> ReasonText:
    return REASONS.get(reason, UNKNOWN)


def _words(text: ReasonText) -> dict[str, str]:
    return {"meaning": text.meaning, "remedy": text.remedy}


def _row(letter: Mapping[str, Any]) -> dict[str, Any]:
    names = {"document": "doc_id", "file": "source"}
    columns = ("document", "file", "row", "task", "reason", "message", "attempts")
    return {name: letter[names.get(name, name)] for name in columns}


def print_errors(letters: Letters, console: Console) -> None:
    """Print the dead letters as text for people: counts with remedies, similar messages, rows."""
    if not letters.total:
        console.print("no dead letters")
        return
    console.print(_counts_table(letters))
    if any(group.count > 1 for group in letters.groups):
        console.print(_groups_table(letters.groups))
    if letters.rows:
        console.print(_rows_table(letters))
    for line in _notices(letters):
        console.print(line)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        number = column in ("documents", "tasks", "count")
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _counts_table(letters: Letters) -> Table:
    title = f"{letters.total:,} dead letters by reason"
    table = _table(title, "reason", "documents", "tasks", "meaning and remedy")
    for count in letters.counts:
        text = _text(count.reason)
        words = Text(f"{text.meaning}. {text.remedy}.")
        table.add_row(count.reason, f"{count.documents:,}", f"{count.tasks:,}", words)
    return table


def _groups_table(groups: Sequence[MessageGroup]) -> Table:
    table = _table("similar messages", "count", "reason", "task", "message", "for example")
    for group in groups:
        example = _row(group.example)
        table.add_row(
            f"{group.count:,}",
            group.reason,
            group.task or "-",
            Text(_shortened(group.pattern)),
            Text(f"{example['document']} ({example['file']} row {example['row']})"),
        )
    return table


def _rows_table(letters: Letters) -> Table:
    shown = len(letters.rows)
    title = f"the first {shown:,} of {letters.total:,}" if shown < letters.total else "all of them"
    table = _table(title, "document", "file and row", "task", "reason", "message")
    for letter in map(_row, letters.rows):
        place = f"{letter['file']} row {letter['row']}"
        cells = (str(letter["document"]), place, letter["task"] or "-", letter["reason"])
        table.add_row(*map(Text, cells), Text(letter["message"] or ""))
    return table


def _notices(letters: Letters) -> Iterator[str]:
    if letters.ungrouped:
        yield f"{letters.ungrouped:,} with rare messages are in no group of similar messages"
    if len(letters.rows) < letters.total:
        yield "--limit N prints more; --reason, --task and --like TEXT choose"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _EXAMPLE_CHARACTERS else f"{line[:_EXAMPLE_CHARACTERS]}..."
