"""The parts of Phi-3 that the built-in models share: tokenizer layout, chat template and config.

As in Phi-3: LongRoPE, head size 96, a sliding window longer than the context, control tokens right
after the base vocabulary, and a `</s>` that is not special. This module writes weights, but does
not create them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor
    from transformers import Phi3Config

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
BLANK = "▁"
PAIRED_VOCABULARY = 3072
# Pieces of text that no merge crosses, as in Phi-3: a word or punctuation, with a blank before it
# unless the vocabulary is paired; blanks; a digit.
_PIECES = r"▁+(?=▁)|▁?[A-Za-z]+|▁?[^A-Za-z▁\d]+|\d|▁"
# The end of a key in JSON is a piece of its own: the entry after it begins the value, so that the
# grammar decides its type, and not a model that has to choose between `":` and `":"`.
_PAIRED_PIECES = r'▁+|[A-Za-z]+|":|[^A-Za-z▁\d]+|\d'
# Lines of JSON in the training text, so that its punctuation becomes entries such as `","`.
_JSON_LINES, _JSON_WORDS = 3000, 4
# Occurrences in the training text of a word that must become one entry.
_WORD_REPEATS = 500
# Approximate number of entries without a pair: control tokens, bytes, punctuation, blanks.
_UNPAIRED = 300
_PAIRED = re.compile(r"[A-Za-z]+|[^A-Za-z▁\d]+")

CHAT_TEMPLATE = (
    "{%- for message in messages if message['role'] in ('system', 'user', 'assistant') -%}"
    "{{- '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' -}}"
    "{%- endfor -%}"
    "{{- '<|assistant|>\\n' if add_generation_prompt else eos_token -}}"
)


def training_lines() -> list[str]:
    """Return the tokenizer's training text: Python's reference, without control strings.

    Every Python installation contains that text. The lines have no newline, so that the newline
    stays a byte token, as in Phi-3. Each vocabulary entry is a substring of these lines, so none
    contains a control string.
    """
    names = sorted((*SENTENCE_TOKENS, *BYTE_TOKENS, *CONTROL_TOKENS))
    control = re.compile("|".join(map(re.escape, names)))
    texts = topics.topics
    return [control.sub(" ", line) for name in sorted(texts) for line in texts[name].split("\n")]


def _json_lines(lines: Sequence[str]) -> Iterator[str]:
    """Yield JSON objects of words of `lines`, as an extraction's answers are written, and nulls."""
    words = re.findall(r"[a-z]{3,}", " ".join(lines))
    for start in range(0, len(words) - _JSON_WORDS, len(words) // _JSON_LINES):
        first, second, third, fourth = words[start : start + _JSON_WORDS]
        quotes = {first: f"{first}: {second}", third: None}
        values = {first: second, third: [fourth, second], "quotes": quotes, fourth: {second: 1}}
        yield json.dumps(values, separators=(",", ":"))
        yield "null"


def make_tokenizer(size: int, *, paired: bool = False, words: Sequence[str] = ()) -> Tokenizer:
    """Train and return a tokenizer: BPE with about `size` entries, then the control tokens.

    The layout is Llama's, with byte fallback: the sentence tokens, the bytes, the entries that
    merges make, in their order, and single characters. With `paired`, half of the entries are words
    and parts of words, and the other half the same with a blank before: a word is split into the
    same pieces with and without a blank before it. Each of `words` becomes one entry.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, processors

    lines = training_lines()
    lines = [*lines, *_json_lines(lines), *(" ".join(words) for _ in range(_WORD_REPEATS))]
    vocabulary, merges = _learn_merges(lines, size, paired=paired)
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
    # as in Phi-3's file: it adds nothing
    tokenizer.post_processor = processors.TemplateProcessing("$A", "$A $B:1", [])
    for text in (*SENTENCE_TOKENS, *CONTROL_TOKENS):
        special = text != "</s>"
        rstrip = text not in (UNKNOWN, "<s>", "<|endoftext|>")
        added = AddedToken(text, special=special, rstrip=rstrip, normalized=False)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([added])
    return tokenizer


def _learn_merges(
    lines: Sequence[str], size: int, *, paired: bool
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train BPE on `lines`, and return the vocabulary and the merges.

    Only these tables of the trained tokenizer are used, because the trainer makes every byte token
    an added token, which text could match. Phi-3 encodes without a pre-tokenizer: its merges never
    cross the border of two pieces.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = _normalizer()
    pieces = Regex(_PAIRED_PIECES if paired else _PIECES)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(pieces, "isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=(size + _UNPAIRED) // 2 if paired else size,
        special_tokens=[*SENTENCE_TOKENS, *BYTE_TOKENS],
        initial_alphabet=["▁", *map(chr, range(ord("!"), ord("~") + 1))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary, merges = model["vocab"], [(left, right) for left, right in model["merges"]]
    if paired:
        words = [entry for entry in vocabulary if _PAIRED.fullmatch(entry)]
        merges += [(BLANK, word) for word in words]
        vocabulary |= {BLANK + word: len(vocabulary) + index for index, word in enumerate(words)}
    return _in_order_of_phi3(vocabulary), merges


def _in_order_of_phi3(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """Return the entries with new ids: those of single characters follow those of merges."""
    fixed = {*SENTENCE_TOKENS, *BYTE_TOKENS}
    entries = sorted(vocabulary, key=vocabulary.__getitem__)
    ordinary = [entry for entry in entries if entry not in fixed]
    merged = [entry for entry in ordinary if len(entry) > 1]
    characters = [entry for entry in ordinary if len(entry) == 1]
    order = [*SENTENCE_TOKENS, *BYTE_TOKENS, *merged, *characters]
    return {entry: number for number, entry in enumerate(order)}


def _normalizer() -> Any:
    from tokenizers import normalizers

    return normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions and LongRoPE factors of a built-in model, from which `phi3_config` makes its
    config.

    `short_factors` and `long_factors` divide the rotary frequencies, `HEAD_SIZE // 2` factors each.
    """

    hidden_size: int
    layers: int
    intermediate_size: int
    short_factors: Sequence[float]
    long_factors: Sequence[float]


def paired_words(ids: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Yield a pair of ids for each word that has two entries: with a blank before it, and without.

    `ids` is the vocabulary: ids by entry. The training of `tiny` ties the embeddings of such a
    pair, so that what is learned about a word holds with and without a blank.
    """
    for entry, number in ids.items():
        word = entry.removeprefix(BLANK)
        if word != entry and word in ids and not word.startswith(BLANK):
            yield number, ids[word]


def phi3_config(ids: Mapping[str, int], shape: Shape) -> Phi3Config:
    """Return the transformers config of a Phi-3 of this shape, for the vocabulary `ids`."""
    from transformers import Phi3Config

    heads = shape.hidden_size // HEAD_SIZE
    return Phi3Config(
        architectures=["Phi3ForCausalLM"],
        dtype="bfloat16",
        # padded to a multiple of 64, as Phi-3's 32,011 tokens are to 32,064
        vocab_size=-(-len(ids) // 64) * 64,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
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
            "short_factor": list(shape.short_factors),
            "long_factor": list(shape.long_factors),
        },
    )


def write_tokenizer(tokenizer: Tokenizer, directory: Path) -> None:
    """Write the tokenizer, its settings and the generation config into `directory`."""
    tokenizer.save(str(directory / "tokenizer.json"))
    _write_json(directory / "tokenizer_config.json", _tokenizer_settings())
    ids = tokenizer.get_vocab()
    _write_json(directory / "generation_config.json", _generation_settings(ids))


def write_weights(weights: Mapping[str, Tensor], directory: Path) -> None:
    """Write the weights into `directory` as model.safetensors, in bfloat16 as Phi-3's."""
    import torch
    from safetensors.torch import save

    converted = {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}
    # `save_file` would create a file that only its owner can read
    (directory / "model.safetensors").write_bytes(save(converted, metadata={"format": "pt"}))


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


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
