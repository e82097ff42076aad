"""Tests of the time that engines need for sums of work, by figures computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from phi3_mini import PHI3

from pipelines.models.devices import CPU, Device, device_named, gpu
from pipelines.reporting.planning.work import EngineKind, Work, bytes_of_weight, engine_times

DEVICE = Device("fast", 1e14, 1e12, memory_bytes=80 * 10**9, step_seconds=0.01)
ENGINE = EngineKind(PHI3)


def test_prefill_takes_two_flops_for_each_weight_and_four_for_each_pair_and_channel() -> None:
    work = Work(computed_tokens=1000, pairs=500_000)
    flops = 2 * PHI3.multiplied_parameters * 1000 + 4 * 3072 * 32 * 500_000
    assert engine_times(work, ENGINE, DEVICE).prefill == pytest.approx(flops / 1e14)
    # 7.248e9 L + 1.966e5 L^2 of a prompt of L tokens
    assert flops == pytest.approx(7.248e9 * 1000 + 1.966e5 * 1000**2, rel=0.001)


def test_decode_reads_the_cache_of_each_sequence_and_the_weights_once_a_batch() -> None:
    work = Work(output_tokens=100, steps=50, step_context=50 * 10_000)
    # (0.92 x 80 GB - weights - 3 GB) / 393,216 B are 160,000 tokens: 16 sequences of 10,000
    together = (0.92 * 80e9 - 2 * PHI3.parameters - 3e9) / 393_216 / 10_000
    assert 15 < together < 17
    step = 2 * PHI3.multiplied_parameters / 1e12 + 0.01
    seconds = 50 * 10_000 * 393_216 / 1e12 + 50 * step / together
    assert engine_times(work, ENGINE, DEVICE).decode == pytest.approx(seconds)


def test_fp8_halves_the_cache_and_so_doubles_the_tokens_that_fit() -> None:
    half = replace(ENGINE, kv_share=0.5)
    assert half.kv_tokens(DEVICE) == pytest.approx(2 * ENGINE.kv_tokens(DEVICE))
    work = Work(steps=1000, step_context=1e7)
    assert engine_times(work, half, DEVICE).decode < engine_times(work, ENGINE, DEVICE).decode


@pytest.mark.parametrize(
    ("name", "tokens"), [("H100", 171_000), ("A100-40", 73_000), ("L4", 31_000), ("A10G", 31_000)]
)
def test_the_cache_holds_what_engines_of_phi_3_mini_report(name: str, tokens: int) -> None:
    assert ENGINE.kv_tokens(gpu(name)) == pytest.approx(tokens, rel=0.07)


def test_time_is_infinite_where_a_sequence_does_not_fit() -> None:
    work = Work(steps=1, step_context=1e6)
    assert engine_times(work, ENGINE, gpu("L4")).total == float("inf")
    assert engine_times(work, ENGINE, CPU).total < float("inf")


def test_work_adds_up_and_multiplies() -> None:
    one = Work(1, 2, 3, 4, 5, 6, 12)
    assert one + one == one.times(2)
    assert one.mean_context == 2 and Work().mean_context == 1


def test_two_gpus_are_faster_than_one_but_not_twice_as_fast() -> None:
    two = DEVICE.times(2)
    assert two.memory_bytes == 2 * DEVICE.memory_bytes
    assert 1 < two.flops_per_second / DEVICE.flops_per_second < 2
    assert DEVICE.times(1) is DEVICE


def test_quantized_weights_take_fewer_bytes() -> None:
    sizes = [bytes_of_weight(name) for name in (None, "fp8", "awq_marlin", "unheard-of")]
    assert sizes[0] == sizes[3] == 2 and sizes[1] == 1 and sizes[2] < 0.6


def test_ray_names_of_both_a100_are_told_apart() -> None:
    assert device_named("A100-80G") == gpu("A100-80")
    assert device_named("A100") == device_named("A100-40G") == gpu("A100-40")
