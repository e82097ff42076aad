"""Tests that cost grows with tokens, quadratically in attention, and falls with faster devices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from phi3_mini import PHI3

from pipelines.models.cost import CostModel
from pipelines.models.devices import CPU, device_named
from pipelines.models.resolve import Model
from pipelines.text.chunking import ChunkSize
from pipelines.text.lengths import PromptShape, ReadingPlan

LIMIT = 10**6


def costs(model: Model, *questions: int) -> CostModel:
    """Return a cost model for documents read whole; `questions` are lengths, answers ten tokens."""
    shape = PromptShape(0, questions, (10,) * len(questions))
    reading = ReadingPlan("single", LIMIT, ChunkSize(64), shape, shape, LIMIT, 4096, 4096, 4096)
    return CostModel(model, H100, reading)


WEIGHTS = PHI3.parameters - 2 * 32_064 * 3072
H100 = device_named("H100")


def seconds(tokens: int, model: CostModel) -> float:
    return float(model.seconds(np.array([tokens]))[0])


def test_prefill_costs_two_flops_per_weight_and_token() -> None:
    model = costs(PHI3, 0)
    pairs = 4 * 3072 * 32 * 1000**2 / 2
    flops = model.prefill_flops(np.array([1000.0]), 0.0)
    assert flops[0] == pytest.approx(2 * WEIGHTS * 1000 + pairs)
    assert seconds(1000, model) > flops[0] / H100.flops_per_second


def test_a_second_task_costs_its_question_and_answer_but_no_second_document() -> None:
    one, two = costs(PHI3, 20), costs(PHI3, 20, 20)
    added = seconds(4000, two) - seconds(4000, one)
    assert 0 < added < 0.5 * seconds(4000, one)


def test_cost_rises_with_length_faster_than_linear() -> None:
    cost = costs(PHI3, 20).seconds(np.array([0, 1, 1000, 4000, 32_000, 128_000]))
    assert (np.diff(cost) > 0).all()
    assert cost[5] > 4 * cost[4]


def test_tied_embeddings_are_counted_once() -> None:
    tied = replace(PHI3, tied_embeddings=True)
    assert seconds(1000, costs(tied, 5)) == pytest.approx(seconds(1000, costs(PHI3, 5)))


def test_chunks_of_a_long_document_cost_less_than_one_pass_of_it() -> None:
    shape = PromptShape(300, (50,), (10,))
    in_chunks = ReadingPlan(
        "auto", 16_384, ChunkSize(3072, 128), shape, shape, LIMIT, 4096, 4096, 4096
    )
    chunked = CostModel(PHI3, H100, in_chunks)
    assert seconds(100_000, chunked) < 0.5 * seconds(100_000, costs(PHI3, 50))
    assert seconds(16_000, chunked) == pytest.approx(
        seconds(16_000, CostModel(PHI3, H100, replace(in_chunks, policy="single")))
    )


def test_devices_are_found_by_rays_names() -> None:
    assert device_named(None) is CPU
    a100, l4 = device_named("A100-80G"), device_named("L4")
    assert a100.flops_per_second == device_named("A100").flops_per_second
    assert H100.flops_per_second > a100.flops_per_second > l4.flops_per_second
    assert device_named("B9000").flops_per_second == l4.flops_per_second
