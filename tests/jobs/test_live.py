"""The live view: its line, its table, its rates, and how it fits a terminal."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console

from jobs.figures import format_duration, format_eta
from jobs.live import View
from pipelines.corpus.units import Unit
from pipelines.ledger.records import Commit
from pipelines.run.pace import Eta, Sample
from pipelines.run.progress import Progress, UnitProgress, total
from pipelines.run.state import RunState


def _unit(number: int, tokens: int, rows: int) -> Unit:
    return Unit(number, "short", "file", 0, rows, tokens, 100, 1.0, "ids")


def _commit(unit: int, dead: int, tokens: int, **reasons: int) -> Commit:
    return Commit(
        unit=unit, plan="p", ids="i", rows=10, answered=10 - dead, dead_letters=dead,
        reasons=reasons, part=None, errors=None, prompt_tokens=tokens, cached_prompt_tokens=0,
        output_tokens=10, seconds=1.0, host="h", committed_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def _view() -> View:
    """Return the view of a resumed run: 2 of 10 units were committed by an earlier session, and one
    by this one, which has another in hand."""
    state = RunState(phase="reading")
    units = [_unit(number, 1_000, 10) for number in range(10)]
    state.plan(units, {0, 1})
    for number in (0, 1):
        state.books.add(_commit(number, 1, 900, empty=1))
    state.books.earlier = state.books.committed
    state.note_commit(_commit(2, 2, 900, empty=2))
    in_hand = UnitProgress(10, answered=4, dead_letters=1, reasons=Counter(too_long=1))
    known = UnitProgress(10, answered=8, dead_letters=2, reasons=Counter(empty=2), committed=1.0)
    progress = Progress(
        {2: known, 3: in_hand}, prompt_tokens=2_200, cached_prompt_tokens=1_000,
        output_tokens=100, workers=2,
    )  # fmt: skip
    return View("job", state, progress)


def _with_pace() -> View:
    """Return the view after 20 s at 100 tokens of work and 1,000 of requests a second."""
    view = _view()
    for time in range(21):
        view.pace.note(Sample(float(time), 1_500 + 100 * time, 1_000 * time))
    return view


def test_the_line_has_documents_rate_eta_dead_letters_and_prefix_cache() -> None:
    assert _with_pace().line() == (
        "reading: 35 of 100 documents, 3 of 10 units, 1,000 tokens/s, ETA 0:01:05, "
        "dead letters: 4 empty, 1 too_long, prefix cache: 25%"
    )


def test_the_line_and_the_table_count_engine_restarts() -> None:
    view = _view()
    view.progress.restarts = 3
    assert view.line().endswith(", engine restarts: 3")
    assert "3 of engines" in _table(view)
    assert "restarts" not in _table(_view())


def test_a_resumed_run_begins_where_the_numbers_stood() -> None:
    view = _view()
    view.progress = Progress()
    assert view.documents == 30
    assert view.reasons == {"empty": 4}
    assert view.totals().prompt_tokens == 1_800
    assert view.work == 3_000


def test_documents_of_a_worker_that_died_are_not_done() -> None:
    view = _view()
    assert (view.documents, view.work) == (35, 3_500)
    view.progress.units.pop(3)
    assert (view.documents, view.work) == (30, 3_000)


def test_while_the_corpus_is_indexed_the_view_counts_spans_and_documents() -> None:
    view = View("job", RunState(phase="indexing", spans=12, spans_done=3, documents=1_500))
    assert view.line() == "indexing: 3 of 12 spans of the corpus, 1,500 documents"
    assert "3 of 12 spans of the corpus" in _table(view) and "1,500 so far" in _table(view)


def test_without_dead_letters_there_are_none() -> None:
    assert "dead letters: none, " in View("job", RunState(phase="reading")).line()


def _table(view: View) -> str:
    console = Console(width=80, height=24, file=io.StringIO(), record=True)
    console.print(view)
    return console.export_text()


def test_the_table_shows_the_same() -> None:
    table = _table(_with_pace())
    for text in ("35 of 100", "3 of 10", "1,000", "0:01:05", "25% reused", "4 empty"):
        assert text in table


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 24), (30, 9), (20, 5)])
def test_the_view_fits_into_any_terminal(columns: int, lines: int) -> None:
    console = Console(width=columns, height=lines, file=io.StringIO())
    view = _with_pace()
    rendered = console.render_lines(view, pad=False)
    assert len(rendered) <= lines
    shown = ["".join(segment.text for segment in line).rstrip() for line in rendered]
    assert max(map(len, shown)) <= columns
    if columns >= 40:
        assert "…" not in "".join(shown)
    assert shown[0].split()[0] == ("phifleet" if lines > 9 else "reading:")


def test_totals_for_metrics_are_those_of_the_view() -> None:
    totals = _with_pace().totals()
    assert (totals.answered, totals.dead_letters, totals.units_left) == (30, 5, 7)
    assert (totals.prompt_tokens, totals.eta_seconds) == (4_000, 65.0)


def test_nothing_is_said_of_the_end_before_it_is_known() -> None:
    view = _view()
    assert view.eta is None and view.totals().eta_seconds is None
    assert "ETA not known yet" in view.line()
    view.state.phase = "done"
    assert "ETA" not in view.line()


def test_the_pace_begins_with_the_first_unit_in_hand() -> None:
    view = View("job", RunState())
    view.note(0.0)
    view.progress = Progress({0: UnitProgress(10)})
    view.note(100.0)
    view.progress = Progress(prompt_tokens=30, output_tokens=10)
    view.note(110.0)
    assert view.tokens_per_second == 4.0


def test_an_estimate_is_shown_with_its_interval() -> None:
    assert format_eta(Eta(60.0, 50.0, 80.0)) == "0:01:00 (0:00:50 to 0:01:20)"


def test_a_duration_has_hours_minutes_and_seconds() -> None:
    assert format_duration(3_725.4) == "1:02:05"


def test_workers_progress_adds_up() -> None:
    parts = [Progress({1: UnitProgress(5, answered=1)}, workers=1), Progress(workers=1)]
    whole = total([*parts, Progress({1: UnitProgress(5, answered=3), 2: UnitProgress(5)})])
    assert (whole.documents, whole.workers, len(whole.units)) == (3, 2, 2)
