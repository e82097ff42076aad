from __future__ import annotations

from pipelines.documents import Usage
from pipelines.run.progress import Progress, Timing


def test_progress_includes_requests_of_unfinished_documents() -> None:
    progress = Progress()
    progress.note_engine(Usage(100, 40, 7), 90, 0)
    progress.note_engine(Usage(150, 60, 9), 0, 1)
    assert (progress.prompt_tokens, progress.cached_prompt_tokens) == (150, 60)
    assert (progress.output_tokens, progress.kv_tokens_in_flight) == (9, 0)
    assert progress.restarts == 1


def test_steady_seconds_count_overlapping_units_once_and_no_gaps() -> None:
    timing = Timing()
    for started, ended in ((0.0, 4.0), (2.0, 5.0), (10.0, 11.0), (3.0, 4.0)):
        timing.add({"started": started, "ended": ended, "engine_start_seconds": 1.0})
    assert timing.steady_seconds == 6.0
