from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pipelines.engine.config import (
    EngineConfig,
    cpu_cache_gib,
    cpu_dtype,
    draft_settings,
    engine_arguments,
    option_hint,
    set_environment,
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


def with_options(model: Model, gpu: bool = False, **options: Any) -> EngineConfig:
    return EngineConfig(model, 4096, gpu=gpu, options=options)


def test_options_replace_phifleets_own_arguments(tiny_model: Model) -> None:
    own = engine_arguments(with_options(tiny_model))
    options: dict[str, Any] = {"enforce_eager": False, "block_size": None, "dtype": "float16"}
    assert engine_arguments(with_options(tiny_model, **options)) == {**own, **options}


@pytest.mark.parametrize(
    ("gpu", "step", "expected"),
    [(False, None, 2048), (True, None, 4096), (True, 16_384, 4096), (True, 512, 256), (True, 1, 1)],
)
def test_a_long_prompt_leaves_others_half_of_a_step_of_any_size(
    tiny_model: Model, gpu: bool, step: int | None, expected: int
) -> None:
    config = replace(with_options(tiny_model, gpu, max_num_batched_tokens=step), online=True)
    assert engine_arguments(config)["long_prefill_token_threshold"] == expected


def test_the_cache_on_a_cpu_is_sized_for_the_data_type_of_the_options(tiny_model: Model) -> None:
    phi3 = replace(tiny_model, layers=32, kv_heads=32)
    sizes = {"bfloat16": 12, "float16": 12, "half": 12, "float32": 24, "float": 24}
    for dtype, gib in sizes.items():
        config = replace(with_options(phi3, dtype=dtype), max_model_len=32_768)
        assert cpu_cache_gib(config) == gib


SIZE, COMPILER = "VLLM_CPU_KVCACHE_SPACE", "TORCHDYNAMO_DISABLE"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {SIZE, COMPILER}),
        ({"max_num_seqs": 8}, {SIZE, COMPILER}),
        ({"kv_cache_memory_bytes": 2**30}, {COMPILER}),
        ({"gpu_memory_utilization": 0.2}, {COMPILER}),
        ({"enforce_eager": False}, {SIZE}),
    ],
)
def test_no_variable_overrides_an_option(
    tiny_model: Model,
    options: Mapping[str, Any],
    expected: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (SIZE, COMPILER):
        # so that monkeypatch restores the variable, even if it was not set
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    set_environment(with_options(tiny_model, **options))
    assert {SIZE, COMPILER} & os.environ.keys() == expected


def test_the_hint_names_the_options_that_an_error_mentions_or_all(tiny_model: Model) -> None:
    config = with_options(tiny_model, block_size=7, max_num_seqs=0)
    error = "1 validation error for SchedulerConfig\nmax_num_seqs\n  Input should be"
    assert option_hint(config, error) == "The error mentions model.engine.max_num_seqs: 0. "
    both = "The file sets model.engine.block_size: 7, model.engine.max_num_seqs: 0. "
    assert option_hint(config, "Engine core initialization failed.") == both
    assert option_hint(with_options(tiny_model), error) == ""
