"""The shape of Phi-3-mini, for tests of estimates, without its files."""

from __future__ import annotations

from pathlib import Path

from pipelines.models.resolve import Model

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
