"""Builds the model `tiny-random`: Phi-3's structure with random weights, at a laptop's size.

Takes seconds and needs no network. `resolve.py` decides where the model is stored.
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
"""Number of tokens without the control tokens."""
_SHAPE = phi3.Shape(
    hidden_size=phi3.HEAD_SIZE,
    layers=2,
    intermediate_size=256,
    short_factors=[1 + 2 * i / phi3.HEAD_SIZE for i in range(phi3.HEAD_SIZE // 2)],
    long_factors=[1 + 64 * i / phi3.HEAD_SIZE for i in range(phi3.HEAD_SIZE // 2)],
)
WEIGHT_DEVIATION = 0.1
"""Standard deviation of the weights. Phi-3's 0.02 is for 3,072 hidden units; with 96, attention
would be uniform and answers would not depend on the document."""


def revision() -> str:
    """Return the model's revision: 16 hex digits of a hash of all that determines its files.

    That is the code of this module and of `phi3`, and the text that the tokenizer is trained on.
    """
    digest = hashlib.sha256(Path(__file__).read_bytes() + Path(phi3.__file__).read_bytes())
    for line in phi3.training_lines():
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:16]


def build(directory: Path) -> None:
    """Write the model's config, weights, tokenizer and generation config into `directory`.

    The directory must exist.
    """
    tokenizer = phi3.make_tokenizer(BASE_VOCABULARY)
    phi3.write_tokenizer(tokenizer, directory)
    ids = tokenizer.get_vocab()
    config = phi3.phi3_config(ids, _SHAPE)
    config.save_pretrained(directory)
    phi3.write_weights(_weights(config, len(ids)), directory)


def _weights(config: Phi3Config, tokens: int) -> dict[str, Tensor]:
    import torch
    from transformers import Phi3ForCausalLM

    # On the device `meta`, transformers creates no values: its own initialization would change the
    # state of the caller's random number generator.
    with torch.device("meta"):
        shapes = Phi3ForCausalLM(config).state_dict()
    generator = torch.Generator().manual_seed(0)
    weights = {name: _values(name, shapes[name], generator) for name in sorted(shapes)}
    # no token has these ids, and with zero weights they never have the highest logit
    weights["lm_head.weight"][tokens:] = 0
    return weights


def _values(name: str, shape: Tensor, generator: Any) -> Tensor:
    import torch

    if name.endswith("norm.weight"):
        return torch.ones(shape.shape, dtype=torch.bfloat16)
    values = torch.randn(shape.shape, generator=generator, device="cpu")
    return (values * WEIGHT_DEVIATION).to(torch.bfloat16)
