"""The live view: its line, its table, its rates, and how it fits a terminal."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console

from jobs.live import View, format_duration
from pipelines.run.progress import Progress, total
from pipelines.run.state import RunState


def _view() -> View:
    state = RunState(
        phase="reading", documents=100, documents_before=20, tokens_to_run=8_000, units=10,
        units_done=3,
    )  # fmt: skip
    progress = Progress(
        answered=35, dead_letters=5, reasons=Counter(empty=4, too_long=1), prompt_tokens=4_000,
        cached_prompt_tokens=1_000, output_tokens=100, workers=2,
    )  # fmt: skip
    return View("job", state, progress, tokens_per_second=1_000.0, prompt_tokens_per_second=800.0)


def test_the_line_has_documents_rate_eta_dead_letters_and_prefix_cache() -> None:
    assert _view().line() == (
        "reading: 60/100 documents, 3/10 units, 1,000 tokens/s, ETA 0:00:05, "
        "dead letters: 4 empty, 1 too_long, prefix cache: 25%"
    )


def test_the_line_and_the_table_count_engine_restarts() -> None:
    view = _view()
    view.progress.restarts = 3
    assert view.line().endswith(", engine restarts: 3")
    assert "3 of engines" in _table(view)
    assert "restarts" not in _table(_view())


def test_while_the_corpus_is_indexed_the_view_counts_spans_and_documents() -> None:
    view = View("job", RunState(phase="indexing", spans=12, spans_done=3, documents=1_500))
    assert view.line() == "indexing: 3/12 spans of the corpus, 1500 documents"
    assert "3 of 12 spans of the corpus" in _table(view) and "1,500 so far" in _table(view)


def test_without_dead_letters_there_are_none() -> None:
    view = _view()
    view.progress.reasons.clear()
    assert "dead letters: none, " in view.line()


def test_documents_never_exceed_the_corpus() -> None:
    view = _view()
    view.progress.answered = 500
    assert view.documents == 100


def _table(view: View) -> str:
    console = Console(width=80, height=24, file=io.StringIO(), record=True)
    console.print(view)
    return console.export_text()


def test_the_table_shows_the_same() -> None:
    table = _table(_view())
    for text in ("60 of 100", "3 of 10", "1,000", "0:00:05", "25% of prompt", "4 empty"):
        assert text in table


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 24), (30, 9), (20, 5)])
def test_the_view_fits_into_any_terminal(columns: int, lines: int) -> None:
    console = Console(width=columns, height=lines, file=io.StringIO())
    view = _view()
    rendered = console.render_lines(view, pad=False)
    assert len(rendered) <= lines
    shown = ["".join(segment.text for segment in line).rstrip() for line in rendered]
    assert max(map(len, shown)) <= columns
    if columns >= 40:
        assert "…" not in "".join(shown)
    assert shown[0].split()[0] == ("phifleet" if lines > 9 else "reading:")


def test_totals_for_metrics_are_those_of_the_view() -> None:
    totals = _view().totals()
    assert (totals.answered, totals.units_left, totals.eta_seconds) == (35, 7, 5.0)


def test_without_a_rate_there_is_no_eta() -> None:
    view = _view()
    view.prompt_tokens_per_second = 0.0
    assert view.eta_seconds is None


def test_the_eta_follows_the_rate_of_prompt_tokens_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view = _view()
    reports = iter(
        [Progress(prompt_tokens=1_000), Progress(prompt_tokens=2_000, output_tokens=500)]
    )
    seconds = iter([0.0, 10.0])
    monkeypatch.setattr(view.state, "progress", lambda: next(reports))
    monkeypatch.setattr("jobs.live.time.monotonic", lambda: next(seconds))
    for _ in range(2):
        view.poll()
    assert view.tokens_per_second == 150
    assert view.eta_seconds == (8_000 - 2_000) / 100


def test_a_duration_has_hours_minutes_and_seconds() -> None:
    assert format_duration(3_725.4) == "1:02:05"


def test_workers_progress_adds_up() -> None:
    whole = total([Progress(answered=1, workers=1), Progress(dead_letters=2, workers=1)])
    assert (whole.documents, whole.workers) == (3, 2)
