"""Tests of the lengths up to which a model answers well."""

from dataclasses import replace

import pytest

from pipelines.models.effective_lengths import EffectiveLengths, effective_lengths
from pipelines.models.resolve import Model


@pytest.mark.parametrize(
    ("name", "max_model_len", "expected"),
    [
        ("microsoft/Phi-3-mini-128k-instruct", 131_072, (16_384, 3_072)),
        ("microsoft/Phi-3.5-mini-instruct", 131_072, (16_384, 3_072)),
        ("microsoft/Phi-3-mini-4k-instruct", 4_096, (3_072, 3_072)),
        ("tiny", 131_072, (1_400, 1_000, 400)),
        ("tinyllama", 131_072, (16_384, 3_072)),
        ("some/model", 8_192, (4_096, 3_072)),
        ("some/model", 2_048, (1_024, 1_024)),
    ],
)
def test_effective_lengths_follow_the_model(
    tiny_model: Model, name: str, max_model_len: int, expected: tuple[int, ...]
) -> None:
    model = replace(tiny_model, name=name, max_model_len=max_model_len)
    assert effective_lengths(model) == EffectiveLengths(*expected)
