"""What a run shows on terminals of several sizes, with and without colours, and in a pipe."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from typing import Any, cast

import pyte
import pytest
from live_runs import large_run
from rich.console import Console

from jobs.live import View, line_printer, show_view
from pipelines.run.screen import Screen

LIMITS: dict[str, Any] = {
    "max_gpu_hours": 40,
    "max_cost_usd": 130,
    "deadline": "2030-01-31T18:00:00Z",
}
NARROW = """\
phifleet      filings-digest - reading
time          1:02:05, 4:01:05 in all sessions
documents     ████████░░░░░░░░░░░░  411,071 of 1,000,000 (41%)
units         ████████░░░░░░░░░░░░  4,096 of 10,000 (40%)
tokens/s      391,022 now, 377,356 over all
ETA           0:37:32 (0:31:18 to 0:46:52)
dead letters  1,205 of at most 50,000 (1,203 empty, 1 engine_crash, 1 too_long)
tokens        5,430,338,120 in prompts (63% reused), 48,292,906 generated in
              0.61 steps each
H100          31.54 engine hours, 31.54 GPU hours
engine time   93.2% answering, 1.0% commit, 3.9% start, 0.6% idle, 1.3% waste
waste         worker_died 904 s, engine_died 611 s, idle 633 s
KV cache      58% (16,462,240 of 28,000,000 tokens reserved)
restarts      3 of engines, 1 of the run
cost          $126.16 at $4.00 an hour of H100 (list price of October 2025)
limit         max_gpu_hours: 31.54 of 40.00 GPU hours (8.46 left)
limit         max_cost_usd: $126.16 of $130.00 ($3.84 left)
limit         deadline: 2030-01-31T18:00:00Z (6:00:00 left)
20 workers  pool   host            KV   units  documents  oldest
5be1c0aa    short  ip-10-0-12-114  85%  2      83 of 200  0:01:30
5be1c29d    short  ip-10-0-12-114  83%  2      82 of 200  0:01:29
5be1c490    short  ip-10-0-12-114  80%  2      81 of 200  0:01:28
and 17 more
"""
WIDE = """\
phifleet      filings-digest - reading
time          1:02:05, 4:01:05 in all sessions
documents     ████████████████░░░░░░░░░░░░░░░░░░░░░░░░  411,071 of 1,000,000 (41%)
units         ████████████████░░░░░░░░░░░░░░░░░░░░░░░░  4,096 of 10,000 (40%)
tokens/s      391,022 now, 377,356 over all
ETA           0:37:32 (0:31:18 to 0:46:52)
dead letters  1,205 of at most 50,000 (1,203 empty, 1 engine_crash, 1 too_long)
tokens        5,430,338,120 in prompts (63% reused), 48,292,906 generated in 0.61 steps each
H100          31.54 engine hours, 31.54 GPU hours
engine time   93.2% answering, 1.0% commit, 3.9% start, 0.6% idle, 1.3% waste
waste         worker_died 904 s, engine_died 611 s, idle 633 s
KV cache      58% (16,462,240 of 28,000,000 tokens reserved)
oldest        unit 4100 on ip-10-0-12-114 for 0:01:30, 71 of 100 documents, attempt 2; \
document 10-K-2021 for 0:00:58
restarts      3 of engines, 1 of the run
cost          $126.16 at $4.00 an hour of H100 (list price of October 2025)
limit         max_gpu_hours: 31.54 of 40.00 GPU hours (8.46 left)
limit         max_cost_usd: $126.16 of $130.00 ($3.84 left)
limit         deadline: 2030-01-31T18:00:00Z (6:00:00 left)
20 workers  pool   host            KV   units  documents  oldest
5be1c0aa    short  ip-10-0-12-114  85%  2      83 of 200  0:01:30
"""
LINE = (
    "2030-01-31T12:00:00Z reading: 411,071 of 1,000,000 documents, 4,096 of 10,000 units, "
    "391,022 tokens/s, ETA 0:37:32 (0:31:18 to 0:46:52), dead letters: 1,203 empty, "
    "1 engine_crash, 1 too_long, prefix cache: 63%, engine restarts: 3, "
    "max_gpu_hours: 31.54 of 40.00 GPU hours (8.46 left), "
    "max_cost_usd: $126.16 of $130.00 ($3.84 left), "
    "deadline: 2030-01-31T18:00:00Z (6:00:00 left)\n"
)


def view_of(workers: int = 20, **limits: Any) -> View:
    view = cast(View, large_run(View, workers, **limits))
    view.now = lambda: datetime(2030, 1, 31, 12, tzinfo=UTC)
    return view


def on_terminal(view: View, columns: int, lines: int, *, colour: bool = True) -> list[str]:
    """Return the lines of an emulated terminal on which the view was printed."""
    sent = io.StringIO()
    console = Console(
        file=sent, width=columns, height=lines, force_terminal=True, no_color=not colour,
        color_system="standard" if colour else None,
    )  # fmt: skip
    console.print(view, end="")
    screen = pyte.HistoryScreen(columns, lines, history=1_000)
    pyte.Stream(screen).feed(sent.getvalue().replace("\n", "\r\n"))
    assert not screen.history.top, "the view is higher than the terminal"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", sent.getvalue())
    assert max(map(len, plain.split("\n"))) <= columns
    return [line.rstrip() for line in screen.display]


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_of_80_x_24_shows_all_numbers_and_as_many_workers_as_fit(colour: bool) -> None:
    shown = on_terminal(view_of(**LIMITS), 80, 24, colour=colour)
    assert "\n".join(shown) == NARROW


def test_a_wide_terminal_shows_each_text_on_one_line_and_all_workers() -> None:
    shown = on_terminal(view_of(**LIMITS), 200, 50)
    assert "\n".join(shown).startswith(WIDE)
    assert shown[38] == "5be1e5b3    short  ip-10-0-12-114  31%  2      64 of 200  0:01:11"
    assert set(shown[39:]) == {""}


SIZES = [(columns, lines) for columns in (38, 45, 60, 79, 133) for lines in (9, 12, 20, 40)]


@pytest.mark.parametrize("workers", [0, 1, 2, 5, 100])
def test_no_number_is_cut_and_no_line_is_too_long_on_any_terminal(workers: int) -> None:
    view = view_of(workers, **LIMITS)
    whole = "\n".join([*on_terminal(view, 133, 140), view.line()])
    known = set(re.findall(r"[\d,.:]*\d", whole))
    for columns, lines in SIZES:
        shown = "\n".join(on_terminal(view, columns, lines))
        # how many workers are left out, and how much of a host's name, depends on the size
        shown = re.sub(r"and [\d,]+ more|ip-\S+", "", shown)
        assert set(re.findall(r"[\d,.:]*\d", shown)) <= known, shown


def test_a_terminal_that_is_too_small_shows_the_beginning_of_the_line() -> None:
    shown = on_terminal(view_of(), 34, 6)
    assert shown[0].startswith("reading: 411,071 of 1,000,000") and shown[1] == ""


def test_bars_are_of_ascii_where_the_output_is() -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, "ascii"), width=80, height=24)
    console.print(view_of(**LIMITS))
    console.file.flush()
    assert "documents     ########............  411,071" in raw.getvalue().decode()


def test_a_pipe_gets_one_line_however_long_with_the_time() -> None:
    printed = io.StringIO()
    line_printer(Console(file=printed, width=80))(view_of(**LIMITS))
    assert printed.getvalue() == LINE


def test_at_the_end_of_a_run_a_pipe_has_a_line_and_no_view() -> None:
    printed = io.StringIO()
    view = view_of(**LIMITS)
    view.state.progress_actor = None
    latest = view.progress
    view.state._latest = latest
    with show_view(view, Screen(Console(file=printed, width=80), io.StringIO()), None):
        assert printed.getvalue() == ""
    assert printed.getvalue().startswith("2030-01-31T12:00:00Z reading: 411,071 of 1,000,000 ")
    assert printed.getvalue().count("\n") == 1


def test_without_limits_and_with_a_price_the_line_has_the_cost() -> None:
    assert view_of().line().endswith("engine restarts: 3, cost: $126.16")
