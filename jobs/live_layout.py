"""Fits labelled texts, bars and a table of workers into a terminal of any size.

No number is cut: texts are broken between words, and what does not fit is left out, the least
important first. Knows text only; nothing of runs.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

LABEL_COLUMNS = 14
"""The columns of the labels, with the space behind them."""
_BAR_COLUMNS, _WIDE_BAR_COLUMNS, _WIDE = 20, 40, 120
_LEAST_TEXT_COLUMNS = 24
_GAP = "  "


@dataclass(frozen=True, slots=True)
class Row:
    """A label and its text. `rank` is its importance: rows with the highest one are left out first.
    `done` is the share that a bar before the text shows, 0 to 1; None for no bar."""

    label: str
    text: str
    rank: int = 0
    done: float | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """A table with a line of `titles`, whose cells are shown whole or, in the column `cropped`,
    shortened. `optional` are the columns to leave out if there are too few columns, in order."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    cropped: int
    optional: Sequence[int] = ()


def layout(
    rows: Sequence[Row], grid: Grid | None, columns: int, lines: int, *, ascii_only: bool
) -> str:
    """Return the rows and as much of the grid as fits into `columns` and `lines`, "" if they are
    too few for anything."""
    if columns < LABEL_COLUMNS + _LEAST_TEXT_COLUMNS:
        return ""
    bars = all(row.done is None or _bar_fits(row, columns) for row in rows)
    wrapped = [(row, _lines(row, columns, bars=bars)) for row in rows]
    most = lines - _reserved(grid, lines)
    while sum(len(shown) for _, shown in wrapped) > most:
        least = max(wrapped, key=lambda pair: pair[0].rank)
        if least[0].rank == 0:
            break
        wrapped.remove(least)
    shown = [line for _, part in wrapped for line in part]
    if len(shown) > lines:
        return ""
    drawn = [_draw(line, columns, ascii_only=ascii_only) for line in shown]
    return "\n".join([*drawn, *grid_lines(grid, columns, lines - len(shown))])


def _reserved(grid: Grid | None, lines: int) -> int:
    """Return the lines that are kept free for the grid, a fifth of all at most."""
    return min(len(grid.rows) + 1, lines // 5) if grid is not None else 0


@dataclass(frozen=True, slots=True)
class _Line:
    label: str
    text: str
    done: float | None


def _bar_columns(columns: int) -> int:
    return _WIDE_BAR_COLUMNS if columns >= _WIDE else _BAR_COLUMNS


def _bar_fits(row: Row, columns: int) -> bool:
    with_bar = LABEL_COLUMNS + _bar_columns(columns) + len(_GAP) + len(row.text)
    return with_bar <= columns


def _lines(row: Row, columns: int, *, bars: bool) -> list[_Line]:
    """Return a row as one or more lines; only the first has the label and the bar."""
    if row.done is not None and bars:
        return [_Line(row.label, row.text, row.done)]
    width = columns - LABEL_COLUMNS
    parts = textwrap.wrap(row.text, width, break_long_words=False, break_on_hyphens=False)
    first, *rest = parts or [""]
    return [_Line(row.label, first, None), *(_Line("", part, None) for part in rest)]


def _draw(line: _Line, columns: int, *, ascii_only: bool) -> str:
    bar = ""
    if line.done is not None:
        full, rest = "#." if ascii_only else "█░"
        width = _bar_columns(columns)
        filled = int(width * min(1.0, max(0.0, line.done)))
        bar = full * filled + rest * (width - filled) + _GAP
    return f"{line.label:<{LABEL_COLUMNS}}{bar}{line.text}".rstrip()


def grid_lines(grid: Grid | None, columns: int, lines: int) -> list[str]:
    """Return the titles and as many rows as fit, and how many more there are; the first title alone
    if not even one row fits."""
    if grid is None or lines < 1:
        return []
    if not grid.rows or lines < min(3, len(grid.rows) + 1):
        return [grid.titles[0]]
    fits = len(grid.rows) if len(grid.rows) < lines else lines - 2
    shown = [grid.titles, *grid.rows[:fits]]
    left_out: set[int] = set()
    for column in (None, *grid.optional):
        left_out |= set() if column is None else {column}
        if drawn := _aligned(shown, left_out, grid.cropped, columns):
            more = len(grid.rows) - fits
            return [*drawn, *([f"and {more:,} more"] if more else [])]
    return [grid.titles[0]]


def _aligned(
    table: Sequence[Sequence[str]], left_out: set[int], cropped: int, columns: int
) -> list[str]:
    """Return the lines of a table without some columns, [] if they are too wide even then."""
    kept = [column for column in range(len(table[0])) if column not in left_out]
    widths = {column: max(len(row[column]) for row in table) for column in kept}
    excess = sum(widths.values()) + len(_GAP) * (len(kept) - 1) - columns
    if excess > 0:
        if cropped not in widths or widths[cropped] - excess < len(table[0][cropped]) + 4:
            return []
        widths[cropped] -= excess
    return [
        _GAP.join(_cell(row[column], widths[column]) for column in kept).rstrip() for row in table
    ]


def _cell(text: str, width: int) -> str:
    return f"{text[: width - 2]}.." if len(text) > width else text.ljust(width)
