"""The untrained network of `tiny`: a small Phi-3 in which, during training, the embedding of a word
after a blank is tied to the embedding of the word."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.utils import parametrize

from pipelines.models import phi3

if TYPE_CHECKING:
    from transformers import Phi3ForCausalLM

SHAPE = phi3.Shape(
    hidden_size=192,
    layers=4,
    intermediate_size=512,
    short_factors=[1.0] * (phi3.HEAD_SIZE // 2),
    long_factors=[1.0] * (phi3.HEAD_SIZE // 2),
)
"""The sizes of the network. All rope factors are 1: the rotary frequencies are not stretched."""
_INITIAL_DEVIATION = 0.02


def new_model(directory: Path) -> Phi3ForCausalLM:
    """Return a network with random weights, in training mode, with tied PairedEmbeddings.

    Its vocabulary is that of `tokenizer.json` in `directory`, where the network's `config.json` is
    written. The weights are drawn with torch's global random generator.
    """
    from tokenizers import Tokenizer
    from transformers import Phi3ForCausalLM

    ids = Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab()
    config = phi3.phi3_config(ids, SHAPE)
    config.save_pretrained(directory)
    config.dtype = "float32"
    config._attn_implementation = "sdpa"
    model: Phi3ForCausalLM = Phi3ForCausalLM(config)
    for name, weight in model.named_parameters():
        if not name.endswith("norm.weight"):
            torch.nn.init.normal_(weight, std=_INITIAL_DEVIATION)
    for embeddings in embedding_modules(model):
        paired = PairedEmbeddings(ids, config.vocab_size)
        parametrize.register_parametrization(embeddings, "weight", paired)
    model.train()
    return model


class PairedEmbeddings(torch.nn.Module):
    """Parametrization of an embedding matrix that ties the two forms of a word.

    The row of a word after a blank is the row of the word plus one vector that all such words
    share. What is learned about a word thus holds with and without a blank before it. `ids` is the
    vocabulary, token ids by token; `rows` is the number of rows of the matrix.
    """

    base: torch.Tensor
    after_blank: torch.Tensor

    def __init__(self, ids: Mapping[str, int], rows: int) -> None:
        super().__init__()
        base, after_blank = torch.arange(rows), torch.zeros(rows, 1)
        for number, word in phi3.paired_words(ids):
            base[number] = word
            after_blank[number] = 1.0
        self.register_buffer("base", base)
        self.register_buffer("after_blank", after_blank)
        self._blank = ids[phi3.BLANK]

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the embedding matrix [rows, hidden size], computed from `rows`, the matrix of the
        trained parameters, which has the same shape."""
        return rows[self.base] + self.after_blank * rows[self._blank]


def embedding_modules(model: Phi3ForCausalLM) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return the two modules of `model` whose weight has a row for each token: the input embeddings
    and the output projection, in this order."""
    return model.model.embed_tokens, model.lm_head
