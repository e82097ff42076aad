from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.engine.config import (
    EngineConfig,
    cpu_cache_gib,
    cpu_dtype,
    draft_settings,
    engine_arguments,
)
from pipelines.models.resolve import Model
from pipelines.tasks.kinds import Sampling
from pipelines.tasks.questions import make_question
from pipelines.text.tokens import ChatTokenizer

# torch and vLLM warn when they are imported
pytestmark = pytest.mark.filterwarnings("ignore")


def test_phi3_128k_keeps_its_whole_prefix_cache(tiny_model: Model) -> None:
    arguments = engine_arguments(EngineConfig(tiny_model, 4096, gpu=True))
    assert arguments["disable_sliding_window"] is True
    assert "enforce_eager" not in arguments


def test_engines_that_share_a_gpu_share_its_memory(tiny_model: Model) -> None:
    from vllm import EngineArgs

    whole = engine_arguments(EngineConfig(tiny_model, 4096, gpu=True))
    assert "gpu_memory_utilization" not in whole
    half = engine_arguments(EngineConfig(tiny_model, 4096, gpu=True, gpu_share=0.5))
    assert half["gpu_memory_utilization"] == EngineArgs.gpu_memory_utilization / 2


def test_a_window_below_the_length_is_kept_and_the_cache_retains_all_blocks(
    tiny_model: Model,
) -> None:
    narrow = replace(tiny_model, sliding_window=2047)
    arguments = engine_arguments(EngineConfig(narrow, 4096, gpu=True))
    assert "disable_sliding_window" not in arguments
    assert arguments["prefix_cache_retention_interval"] is None


def test_the_cache_on_a_cpu_holds_one_longest_sequence(tiny_model: Model) -> None:
    phi3 = EngineConfig(replace(tiny_model, layers=32, kv_heads=32), 131_072, gpu=False)
    wide = 2 if engine_arguments(phi3)["dtype"] == "float32" else 1
    assert cpu_cache_gib(phi3) == 48 * wide
    assert cpu_cache_gib(EngineConfig(tiny_model, 4096, gpu=False)) == 1


def test_a_cpu_without_bfloat16_computes_in_float32_where_memory_allows() -> None:
    assert cpu_dtype(10**9, 16 * 10**9, "AVX2") == "float32"
    assert cpu_dtype(10**9, 7 * 10**9, "AVX2") == "auto"
    assert cpu_dtype(10**9, 16 * 10**9, "AVX512") == "auto"


def test_the_drafter_finds_answers_and_questions_in_prompts(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    settings = draft_settings(EngineConfig(tiny_model, 4096, gpu=False), tiny_tokenizer)
    question = make_question("Who signed it?", Sampling(8), tiny_tokenizer)
    prompt = tiny_tokenizer.build_prompt(tiny_tokenizer.encode("A text."), question.token_ids)
    assert tuple(prompt[-len(settings.answer_start) :]) == settings.answer_start
    assert question.token_ids[: len(settings.question_start)] == settings.question_start
    assert settings.never == tiny_tokenizer.control_ids


def test_a_cpu_guesses_less_than_a_gpu_beside_as_many_requests(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    cpu, gpu = (
        draft_settings(EngineConfig(tiny_model, 4096, gpu=gpu), tiny_tokenizer)
        for gpu in (False, True)
    )
    assert cpu.least_probability(64) > gpu.least_probability(64)
