"""Builds `tiny-random`: Phi-3's structure with random weights, in seconds, without a network.

It keeps what makes Phi-3 particular, at a size that a laptop runs. It does not know where models
lie or who uses them: see `models`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.models import phi3

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Phi3Config

BASE_VOCABULARY = 4096
_SHAPE = phi3.Shape(
    hidden_size=phi3.HEAD_SIZE,
    layers=2,
    intermediate_size=256,
    short_factors=[1 + 2 * i / phi3.HEAD_SIZE for i in range(phi3.HEAD_SIZE // 2)],
    long_factors=[1 + 64 * i / phi3.HEAD_SIZE for i in range(phi3.HEAD_SIZE // 2)],
)
# Phi-3's 0.02 suits 3,072 hidden units; at 96 it would leave attention flat and answers blind to
# the document.
WEIGHT_DEVIATION = 0.1


def revision() -> str:
    """Return 16 hex digits that change with what makes the model: this code, and the text that the
    tokenizer learns."""
    digest = hashlib.sha256(Path(__file__).read_bytes() + Path(phi3.__file__).read_bytes())
    for line in phi3.training_lines():
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:16]


def build(directory: Path) -> None:
    """Write config, weights, tokenizer and generation config into the existing `directory`."""
    tokenizer = phi3.make_tokenizer(BASE_VOCABULARY)
    phi3.write_tokenizer(tokenizer, directory)
    ids = tokenizer.get_vocab()
    config = phi3.phi3_config(ids, _SHAPE)
    config.save_pretrained(directory)
    phi3.write_weights(_weights(config, len(ids)), directory)


def _weights(config: Phi3Config, tokens: int) -> dict[str, Tensor]:
    import torch
    from transformers import Phi3ForCausalLM

    # On `meta` transformers only names the tensors: its own initialisation would draw from the
    # caller's random numbers.
    with torch.device("meta"):
        shapes = Phi3ForCausalLM(config).state_dict()
    generator = torch.Generator().manual_seed(0)
    weights = {name: _values(name, shapes[name], generator) for name in sorted(shapes)}
    # no token has these ids: at zero they are never the likeliest
    weights["lm_head.weight"][tokens:] = 0
    return weights


def _values(name: str, shape: Tensor, generator: Any) -> Tensor:
    import torch

    if name.endswith("norm.weight"):
        return torch.ones(shape.shape, dtype=torch.bfloat16)
    values = torch.randn(shape.shape, generator=generator, device="cpu")
    return (values * WEIGHT_DEVIATION).to(torch.bfloat16)
