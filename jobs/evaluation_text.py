"""Prints an evaluation for people: tables that fit into 80 columns.

Knows results and the screen; computes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.reporting.results import (
    Comparison,
    Confusion,
    Coverage,
    Evaluation,
    EvidenceResult,
    FieldDifference,
    FieldResult,
    StrategyResult,
    Tally,
    WrongDocument,
)
from pipelines.reporting.significance import Figure

_STRATEGIES = {"single": "single pass", "map_reduce": "chunks", "truncate": "truncated"}
_STATUSES = {
    "shown": "shown: a quote has it",
    "found": "found in the text",
    "near": "near: only similar words",
    "absent": "absent",
    "not_applicable": "not applicable",
    None: "no evidence",
}
_MOST_LABELS = 8
_MOST_CONFUSED = 10
_LABEL_CHARACTERS = 24
_ALL = "all fields"


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print an evaluation to the console."""
    console.print(f"{evaluation.output}, compared with {evaluation.gold}", soft_wrap=True)
    for line in _head(evaluation):
        console.print(line)
    if evaluation.fields:
        console.print(_fields_table(evaluation))
    if evaluation.evidence:
        console.print(_evidence_table(evaluation.evidence))
    if evaluation.strategies:
        console.print(_strategies_table(evaluation.strategies))
    for confusion in evaluation.confusions:
        console.print(_confusion_table(confusion))
    for line in _worst_lines(evaluation.worst, console.width):
        console.print(line, soft_wrap=True)
    if evaluation.against is not None:
        _print_comparison(evaluation.against, console)


def _head(evaluation: Evaluation) -> Iterator[str]:
    yield from _coverage_lines(evaluation.coverage)
    if feedback := evaluation.feedback:
        used = feedback.verdicts - sum(feedback.unused.values())
        yield f"feedback        {used:,} of {feedback.verdicts:,} verdicts state a right answer"
        for reason, count in feedback.unused.items():
            yield f"                {count:,} {reason}"
    if total := evaluation.total:
        yield f"stated values   {_of(total.recall)} were found"
        yield f"given values    {_of(total.precision)} are right"
        yield f"without value   {_of(total.none_recall)} were recognized"


def _coverage_lines(coverage: Coverage) -> Iterator[str]:
    yield (
        f"documents       {coverage.gold:,} with right answers: {coverage.answered:,} answered, "
        f"{coverage.dead_letters:,} dead letters"
    )
    if coverage.missing:
        why = "" if coverage.finished else "; the run has not finished"
        yield (
            f"not in OUTPUT   {coverage.missing:,} of them, first {coverage.first_missing!r}{why}"
        )


def _of(tally: Tally) -> str:
    share = f" ({_percent(tally.share)} %)" if tally.share else ""
    return f"{tally.right:,} of {tally.total:,}{share}"


def _percent(figure: Figure | None) -> str:
    return "-" if figure is None else f"{100 * figure.value:.1f}"


def _interval(figure: Figure | None) -> str:
    """Return a figure in per cent with its interval."""
    if figure is None:
        return "-"
    bounds = f"{100 * figure.low:.1f}-{100 * figure.high:.1f}"
    return f"{100 * figure.value:.1f} ({bounds})"


def _table(title: str, first: str, *others: str) -> Table:
    """Return a table whose first column may be folded, and whose other ones are numbers."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _fields_table(evaluation: Evaluation) -> Table:
    table = _table(
        "\nper cent, with 95 % intervals",
        *("field", "docs", "prec", "recall", "F1", "none", "similar"),
    )
    rows = [(each.path or "", each) for each in evaluation.fields]
    if evaluation.total is not None:
        rows = [(_ALL, evaluation.total), *rows]
    for name, result in rows:
        table.add_row(name, f"{result.documents:,}", *_figures(result))
        if name == _ALL:
            table.add_section()
    return table


def _figures(result: FieldResult) -> Iterator[str]:
    is_text = result.kind is not None and not result.kind.is_counted and result.similarity
    if is_text:
        yield from ("", "", "", "", _percent(result.similarity))
    else:
        yield from _figures_of_values(result)


def _evidence_table(evidence: Sequence[EvidenceResult]) -> Table:
    table = _table("\nvalues by their evidence", "evidence", "values", "right", "% right")
    for each in evidence:
        if each.path is None:
            name = _STATUSES.get(each.status, str(each.status))
            values = each.values
            table.add_row(name, f"{values.total:,}", f"{values.right:,}", _interval(values.share))
    return table


def _strategies_table(strategies: Sequence[StrategyResult]) -> Table:
    table = _table(
        "\nby the way documents were read",
        *("read in", "docs", "prec", "recall", "F1", "none", "similar"),
    )
    for each in strategies:
        name = _STRATEGIES.get(each.strategy, each.strategy)
        shown = name if each.task is None else f"  {each.task}"
        table.add_row(shown, f"{each.result.documents:,}", *_figures_of_values(each.result))
    return table


def _figures_of_values(result: FieldResult) -> Iterator[str]:
    none = result.none_recall
    yield _percent(result.precision.share)
    yield _percent(result.recall.share)
    yield _interval(result.f1)
    yield f"{none.right:,}/{none.total:,}" if none.total else ""
    yield _percent(result.similarity) if result.similarity else ""


def _confusion_table(confusion: Confusion) -> Table:
    """Return the table of right and given labels; of many labels, the most frequent confusions."""
    if len(confusion.labels) > _MOST_LABELS:
        return _confused_table(confusion)
    columns: list[str | None] = [*confusion.labels]
    rows: list[str | None] = [*confusion.labels]
    if any(given is None for _, given in confusion.counts):
        columns.append(None)
    if any(right is None for right, _ in confusion.counts):
        rows.append(None)
    numbers = [str(at) if label is not None else "none" for at, label in enumerate(columns, 1)]
    table = _table(f"\n{confusion.task}: given labels by their number", "right label", *numbers)
    for at, right in enumerate(rows, 1):
        name = "none" if right is None else f"{at} {_cut(right, _LABEL_CHARACTERS)}"
        counts = [confusion.counts.get((right, given), 0) for given in columns]
        table.add_row(name, *(f"{count:,}" if count else "." for count in counts))
    return table


def _confused_table(confusion: Confusion) -> Table:
    table = _table(
        f"\n{confusion.task}: the most frequent confusions", "right label", "given", "docs"
    )
    confused = [(pair, count) for pair, count in confusion.counts.items() if pair[0] != pair[1]]
    confused.sort(key=lambda item: (-item[1], str(item[0])))
    for pair, count in confused[:_MOST_CONFUSED]:
        labels = [_cut(label or "none", _LABEL_CHARACTERS) for label in pair]
        table.add_row(*labels, f"{count:,}")
    return table


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def _worst_lines(worst: Sequence[WrongDocument], width: int) -> Iterator[str]:
    if worst:
        yield "\ndocuments with the most wrong answers"
    for document in worst:
        yield _cut(f"{document.doc_id}", width)
        for value in document.wrong:
            line = f"{value.path}: {_json(value.answer)}, right is {_json(value.gold)}"
            yield f"  {_cut(line, width - 2)}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _print_comparison(comparison: Comparison, console: Console) -> None:
    console.print(f"\ncompared with {comparison.output}", soft_wrap=True)
    for line in _coverage_lines(comparison.coverage):
        console.print(line)
    table = _table(
        "\nper cent; p: of such a difference by chance",
        *("field", "measure", "this", "other", "difference", "p"),
    )
    for each in comparison.fields:
        table.add_row(each.path or _ALL, *_difference(each))
    console.print(table)
    for path in comparison.not_compared:
        console.print(f"not compared, as the other OUTPUT does not have it: {path}")


def _difference(each: FieldDifference) -> Iterator[str]:
    figure = each.difference.figure
    yield {"f1": "F1", "right": "docs right"}.get(each.measure, each.measure)
    yield _percent(each.ours)
    yield _percent(each.other)
    yield f"{100 * figure.value:+.1f} ({100 * figure.low:+.1f} {100 * figure.high:+.1f})"
    yield f"{each.difference.p:.4f}" if each.difference.p >= 0.0001 else "<0.0001"
