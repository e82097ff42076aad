"""The cost model: more tokens cost more, faster devices less, and attention grows squared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.cost import CPU, CostModel, device_named
from pipelines.models import Model

PHI3 = Model(
    name="phi3",
    revision="r",
    path=Path(),
    max_model_len=131_072,
    short_rope_len=4096,
    sliding_window=None,
    layers=32,
    hidden_size=3072,
    intermediate_size=8192,
    heads=32,
    kv_heads=32,
    head_dim=96,
    vocab_size=32_064,
    tied_embeddings=False,
)
WEIGHTS = PHI3.parameters - 2 * 32_064 * 3072
H100 = device_named("H100")


def seconds(tokens: int, model: CostModel) -> float:
    return float(model.seconds(np.array([tokens]))[0])


def test_a_prefill_costs_two_flops_a_weight_and_token() -> None:
    model = CostModel(PHI3, H100, 0, (0,), (0,))
    pairs = 4 * 3072 * 32 * 1000**2 / 2
    expected = (2 * WEIGHTS * 1000 + pairs) / H100.flops_per_second
    assert seconds(1000, model) - seconds(0, model) == pytest.approx(expected)


def test_a_second_task_costs_its_question_and_answer_but_no_second_document() -> None:
    one = CostModel(PHI3, H100, 30, (20,), (10,))
    two = CostModel(PHI3, H100, 30, (20, 20), (10, 10))
    more = seconds(4000, two) - seconds(4000, one)
    assert 0 < more < 0.5 * seconds(4000, one)


def test_cost_rises_with_length_faster_than_linear() -> None:
    model = CostModel(PHI3, H100, 30, (20,), (100,))
    costs = model.seconds(np.array([0, 1, 1000, 4000, 32_000, 128_000]))
    assert (np.diff(costs) > 0).all()
    assert costs[5] > 4 * costs[4]


def test_tied_embeddings_are_counted_once() -> None:
    tied = replace(PHI3, tied_embeddings=True)
    assert seconds(1000, CostModel(tied, H100, 0, (5,), (9,))) == pytest.approx(
        seconds(1000, CostModel(PHI3, H100, 0, (5,), (9,)))
    )


def test_devices_are_known_by_rays_names() -> None:
    assert device_named(None) is CPU
    a100, l4 = device_named("A100-80G"), device_named("L4")
    assert a100.flops_per_second == device_named("A100").flops_per_second
    assert H100.flops_per_second > a100.flops_per_second > l4.flops_per_second
    assert device_named("B9000").flops_per_second == l4.flops_per_second
