"""Builds the built-in model: Phi-3's structure with random weights, in seconds, without a network.

It keeps what makes Phi-3 particular (LongRoPE with two factor sets, head size 96, a sliding window
nobody reaches, control tokens right after the base vocabulary, `</s>` that is not special) at a
size that a laptop runs. It does not know where models lie or who uses them: see `models`.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from pydoc_data import topics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor
    from transformers import Phi3Config

BASE_VOCABULARY = 4096
UNKNOWN = "<unk>"
SENTENCE_TOKENS = (UNKNOWN, "<s>", "</s>")
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
CONTROL_TOKENS = (
    "<|endoftext|>",
    "<|assistant|>",
    "<|placeholder1|>",
    "<|placeholder2|>",
    "<|placeholder3|>",
    "<|placeholder4|>",
    "<|system|>",
    "<|end|>",
    "<|placeholder5|>",
    "<|placeholder6|>",
    "<|user|>",
)
CONTEXT_TOKENS = 131_072
SHORT_CONTEXT_TOKENS = 4096
HEAD_SIZE = 96
# Phi-3's 0.02 suits 3,072 hidden units; at 96 it would leave attention flat and answers blind to
# the document.
WEIGHT_DEVIATION = 0.1

CHAT_TEMPLATE = (
    "{%- for message in messages if message['role'] in ('system', 'user', 'assistant') -%}"
    "{{- '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' -}}"
    "{%- endfor -%}"
    "{{- '<|assistant|>\\n' if add_generation_prompt else eos_token -}}"
)


def revision() -> str:
    """Return 16 hex digits that change with this file and with the text the tokenizer learns."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for line in training_lines():
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:16]


def build(directory: Path) -> None:
    """Write config, weights, tokenizer and generation config into the existing `directory`."""
    tokenizer = make_tokenizer()
    tokenizer.save(str(directory / "tokenizer.json"))
    _write_json(directory / "tokenizer_config.json", _tokenizer_settings())
    ids = tokenizer.get_vocab()
    _write_json(directory / "generation_config.json", _generation_settings(ids))
    config = _config(ids)
    config.save_pretrained(directory)
    _save_weights(config, len(ids), directory / "model.safetensors")


def training_lines() -> list[str]:
    """Return the Python reference that every installation carries, without control strings.

    Lines carry no newline, so that it stays a byte token, as in Phi-3. A vocabulary entry is a
    stretch of these lines: what they do not spell, no entry spells.
    """
    names = sorted((*SENTENCE_TOKENS, *BYTE_TOKENS, *CONTROL_TOKENS))
    control = re.compile("|".join(map(re.escape, names)))
    texts = topics.topics
    return [control.sub(" ", line) for name in sorted(texts) for line in texts[name].split("\n")]


def make_tokenizer() -> Tokenizer:
    """Return the tokenizer: BPE with byte fallback in Llama's layout, then the control tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    vocabulary, merges = _learn_merges()
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = _normalizer()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    for text in (*SENTENCE_TOKENS, *CONTROL_TOKENS):
        special = text != "</s>"
        rstrip = text not in (UNKNOWN, "<s>", "<|endoftext|>")
        added = AddedToken(text, special=special, rstrip=rstrip, normalized=False)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([added])
    return tokenizer


def _learn_merges() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train on words, and return the vocabulary and the merges alone.

    The trainer makes every byte token an added token, which text would then match: hence only its
    tables are used. Phi-3 encodes without a pre-tokenizer; these merges never cross a space, so
    leaving it out afterwards gives the same ids.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="never")
    trainer = trainers.BpeTrainer(
        vocab_size=BASE_VOCABULARY,
        special_tokens=[*SENTENCE_TOKENS, *BYTE_TOKENS],
        initial_alphabet=["▁", *map(chr, range(ord("!"), ord("~") + 1))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_lines(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def _normalizer() -> Any:
    from tokenizers import normalizers

    return normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


def _tokenizer_settings() -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": UNKNOWN,
        "bos_token": "<s>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "padding_side": "left",
        "model_max_length": CONTEXT_TOKENS,
        "chat_template": CHAT_TEMPLATE,
    }


def _generation_settings(ids: dict[str, int]) -> dict[str, object]:
    return {
        "_from_model_config": True,
        "bos_token_id": ids["<s>"],
        "eos_token_id": [ids[token] for token in ("<|endoftext|>", "<|assistant|>", "<|end|>")],
        "pad_token_id": ids["<|endoftext|>"],
    }


def _config(ids: dict[str, int]) -> Phi3Config:
    from transformers import Phi3Config

    frequencies = range(HEAD_SIZE // 2)
    return Phi3Config(
        architectures=["Phi3ForCausalLM"],
        dtype="bfloat16",
        # padded as Phi-3's 32,011 tokens are to 32,064
        vocab_size=-(-len(ids) // 64) * 64,
        hidden_size=HEAD_SIZE,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT_TOKENS,
        original_max_position_embeddings=SHORT_CONTEXT_TOKENS,
        sliding_window=2 * CONTEXT_TOKENS,
        tie_word_embeddings=False,
        bos_token_id=ids["<s>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10_000.0,
            "factor": CONTEXT_TOKENS / SHORT_CONTEXT_TOKENS,
            "original_max_position_embeddings": SHORT_CONTEXT_TOKENS,
            "short_factor": [1 + 2 * i / HEAD_SIZE for i in frequencies],
            "long_factor": [1 + 64 * i / HEAD_SIZE for i in frequencies],
        },
    )


def _save_weights(config: Phi3Config, tokens: int, path: Path) -> None:
    import torch
    from safetensors.torch import save
    from transformers import Phi3ForCausalLM

    # On `meta` transformers only names the tensors: its own initialisation would draw from the
    # caller's random numbers.
    with torch.device("meta"):
        shapes = Phi3ForCausalLM(config).state_dict()
    generator = torch.Generator().manual_seed(0)
    weights = {name: _values(name, shapes[name], generator) for name in sorted(shapes)}
    # no token has these ids: at zero they are never the likeliest
    weights["lm_head.weight"][tokens:] = 0
    # `save_file` would leave a file that only its maker can read
    path.write_bytes(save(weights, metadata={"format": "pt"}))


def _values(name: str, shape: Tensor, generator: Any) -> Tensor:
    import torch

    if name.endswith("norm.weight"):
        return torch.ones(shape.shape, dtype=torch.bfloat16)
    values = torch.randn(shape.shape, generator=generator, device="cpu")
    return (values * WEIGHT_DEVIATION).to(torch.bfloat16)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
