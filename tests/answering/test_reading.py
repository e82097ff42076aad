from __future__ import annotations

from pipelines.answering.reading import kv_tokens_needed


def test_what_prompts_share_is_reserved_once() -> None:
    # 100 shared tokens; questions of 10 and 20 tokens; answers of up to 30 and 40
    assert (
        kv_tokens_needed(100, [110, 120], [30, 40], min_request_tokens=1) == 100 + 10 + 20 + 30 + 40
    )


def test_a_request_is_never_counted_as_less_than_a_sequence() -> None:
    assert kv_tokens_needed(5, [6, 7], [1, 1], min_request_tokens=64) == 2 * 64


def test_one_prompt_reserves_itself_and_its_answer() -> None:
    assert kv_tokens_needed(50, [60], [8], min_request_tokens=1) == 68
