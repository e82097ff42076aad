from __future__ import annotations

from pipelines.documents import Usage
from pipelines.run.progress import Progress, UnitProgress


def test_progress_includes_requests_of_unfinished_documents() -> None:
    progress = Progress()
    progress.note_engine(Usage(100, 40, 7), (90, 1_000), 0)
    progress.note_engine(Usage(150, 60, 9), (0, 1_000), 1)
    assert (progress.prompt_tokens, progress.cached_prompt_tokens) == (150, 60)
    assert (progress.output_tokens, progress.kv_tokens_in_flight) == (9, 0)
    assert progress.restarts == 1


def test_a_committed_unit_is_reported_until_the_driver_knows_of_it() -> None:
    progress = Progress({1: UnitProgress(committed=100.0), 2: UnitProgress()})
    progress.forget_committed(105.0)
    assert set(progress.units) == {1, 2}
    progress.forget_committed(111.0)
    assert set(progress.units) == {2}
