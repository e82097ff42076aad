"""Tests of the KV cache tokens reserved for a passage."""

from __future__ import annotations

from pipelines.answering.reading import kv_tokens_needed


def test_the_shared_prefix_is_reserved_once() -> None:
    # 100 shared tokens; questions of 10 and 20 tokens; answers of up to 30 and 40
    assert (
        kv_tokens_needed(100, [110, 120], [30, 40], min_request_tokens=1) == 100 + 10 + 20 + 30 + 40
    )


def test_a_request_is_counted_with_at_least_the_minimum() -> None:
    assert kv_tokens_needed(5, [6, 7], [1, 1], min_request_tokens=64) == 2 * 64


def test_a_single_prompt_reserves_its_tokens_and_its_answer() -> None:
    assert kv_tokens_needed(50, [60], [8], min_request_tokens=1) == 68
