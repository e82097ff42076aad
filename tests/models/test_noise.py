"""Tests that the random built-in model has Phi-3's vocabulary layout, flags and encoding.

Uses transformers and tokenizers; tests/engine/ covers loading it into vLLM.
"""

from __future__ import annotations

import filecmp
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from needs import PHI3, needs_phi3

from pipelines.models import noise, phi3

BASE = noise.BASE_VOCABULARY
ROOT = Path(noise.__file__).parents[2]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    noise.build(directory)
    return directory


@pytest.fixture(scope="session")
def tokenizer(built: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(built)


def test_vocabulary_is_laid_out_as_phi3(tokenizer: Any) -> None:
    vocabulary = tokenizer.get_vocab()
    assert [vocabulary[token] for token in ("<unk>", "<s>", "</s>")] == [0, 1, 2]
    assert [vocabulary[token] for token in phi3.BYTE_TOKENS] == list(range(3, 259))
    places = {
        "<|endoftext|>": 32000,
        "<|assistant|>": 32001,
        "<|placeholder1|>": 32002,
        "<|system|>": 32006,
        "<|end|>": 32007,
        "<|placeholder5|>": 32008,
        "<|user|>": 32010,
    }
    assert {token: vocabulary[token] - BASE + 32000 for token in places} == places
    assert len(vocabulary) == BASE + len(phi3.CONTROL_TOKENS)


def test_added_tokens_carry_phi3_flags(tokenizer: Any) -> None:
    added = {
        token.content: (token.special, token.rstrip)
        for token in tokenizer.added_tokens_decoder.values()
    }
    plain = dict.fromkeys(("<unk>", "<s>", "<|endoftext|>"), (True, False))
    assert added == dict.fromkeys(phi3.CONTROL_TOKENS, (True, True)) | plain | {
        "</s>": (False, True)
    }


def test_no_ordinary_entry_contains_a_control_string(tokenizer: Any) -> None:
    controls = {*phi3.SENTENCE_TOKENS, *phi3.BYTE_TOKENS, *phi3.CONTROL_TOKENS}
    ordinary = tokenizer.get_vocab().keys() - controls
    assert len(ordinary) == BASE - 259
    assert not [token for token in ordinary if any(control in token for control in controls)]


def test_control_strings_are_removed_from_the_training_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(topics, "trap", "a<|end|>b</s>c\n<0x0A>d")
    assert {"a b c", " d"} <= set(phi3.training_lines())


def test_control_strings_in_text_become_control_ids(tokenizer: Any) -> None:
    def ids(text: str) -> list[int]:
        return [index for index in tokenizer(text).input_ids if index < 3 or index >= BASE]

    assert ids("a<|end|>\n b<|user|>") == [BASE + 7, BASE + 10]
    assert ids("a</s>  b") == [2]
    assert ids("<s><unk><|endoftext|><|assistant|>") == [1, 0, BASE, BASE + 1]
    assert tokenizer("a</s> \n b").input_ids == tokenizer("a</s>b").input_ids


def test_no_bos_is_added(tokenizer: Any) -> None:
    assert tokenizer("Hello").input_ids == tokenizer("Hello", add_special_tokens=False).input_ids
    assert 1 not in tokenizer("Hello").input_ids


def test_newline_is_a_byte_token(tokenizer: Any) -> None:
    assert tokenizer("a\nb").input_ids[1] == tokenizer.get_vocab()["<0x0A>"]


@given(st.text(st.characters(codec="utf-8", exclude_characters="▁<"), max_size=200))
def test_text_survives_encode_and_decode(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_long_real_text_survives_encode_and_decode(tokenizer: Any) -> None:
    text = max(topics.values(), key=len)
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    assert len(text) / len(ids) > 3


def test_template_frames_each_message(tokenizer: Any) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Hi\n"},
        {"role": "tool", "content": "unheard"},
    ]
    framed = "<|system|>\nBe brief.<|end|>\n<|user|>\n Hi\n<|end|>\n"
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt == framed + "<|assistant|>\n"
    closed = tokenizer.apply_chat_template(messages, tokenize=False)
    assert closed == framed + "<|endoftext|>"


def test_config_files_have_the_values_of_phi3(built: Path) -> None:
    config = json.loads((built / "config.json").read_text())
    rope = config["rope_parameters"]
    assert config["architectures"] == ["Phi3ForCausalLM"]
    assert (config["max_position_embeddings"], config["sliding_window"]) == (131_072, 262_144)
    assert config["original_max_position_embeddings"] == 4096
    assert rope["rope_type"] == "longrope"
    assert len(rope["short_factor"]) == len(rope["long_factor"]) == 48
    assert rope["short_factor"] != rope["long_factor"]
    assert (config["bos_token_id"], config["eos_token_id"]) == (1, BASE)
    generation = json.loads((built / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [BASE, BASE + 1, BASE + 7]


def test_weights_load_and_long_texts_use_the_long_factors(built: Path, tokenizer: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(built)
    assert model.dtype == torch.bfloat16
    rotary = model.model.rotary_emb
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer("Hello world").input_ids])).logits
        short = rotary.inv_freq.clone()
        rotary(logits, torch.arange(4097)[None])
    assert torch.isfinite(logits).all()
    assert logits.argmax(-1).max() < len(tokenizer)
    assert not torch.equal(rotary.inv_freq, short)


def test_build_repeats_exactly_in_another_process(built: Path, tmp_path: Path) -> None:
    command = (
        "import sys, pathlib; from pipelines.models import noise; "
        "noise.build(pathlib.Path(sys.argv[1]))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "2"}
    subprocess.run(
        [sys.executable, "-c", command, str(tmp_path)], check=True, cwd=ROOT, env=environment
    )
    names = sorted(file.name for file in built.iterdir())
    assert filecmp.cmpfiles(built, tmp_path, names, shallow=False) == (names, [], [])


def test_build_does_not_change_the_callers_random_numbers(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    noise.build(tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_files_can_be_read_by_everyone(built: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    assert {file.stat().st_mode & 0o777 for file in built.iterdir()} == {0o666 & ~umask}


def test_paired_words_are_split_into_the_same_pieces_with_and_without_a_blank(
    paired_path: Path,
) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(paired_path / "tokenizer.json"))
    words = re.findall(r"[A-Za-z]{2,}", "\n".join(topics.values()))[:3000:7]
    for word in {*words, "Kleve", "xqzzt", "42"}:
        blank = tokenizer.encode(word).tokens
        assert blank[0].startswith("▁")
        quoted = tokenizer.encode(f'"{word}"').tokens
        plain = [piece for piece in (blank[0].removeprefix("▁"), *blank[1:]) if piece]
        assert quoted == ['▁"', *plain, '"']


@needs_phi3
@pytest.mark.parametrize("kind", ["built", "paired_path"])
def test_the_tokenizer_file_has_the_settings_of_phi3(
    kind: str, request: pytest.FixtureRequest
) -> None:
    ours = json.loads((request.getfixturevalue(kind) / "tokenizer.json").read_text())
    theirs = json.loads((PHI3 / "tokenizer/july-2024/tokenizer.json").read_text())
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation"):
        assert ours[part] == theirs[part]
    for key in theirs["model"].keys() - {"vocab", "merges"}:
        assert ours["model"][key] == theirs["model"][key]
    first_control = len(ours["model"]["vocab"])
    for added in theirs["added_tokens"]:
        number = added["id"] if added["id"] < 3 else added["id"] - 32_000 + first_control
        assert {**added, "id": number} in ours["added_tokens"]
    assert len(ours["added_tokens"]) == len(theirs["added_tokens"])


@needs_phi3
@pytest.mark.parametrize("kind", ["built", "paired_path"])
def test_entries_are_of_the_kinds_that_phi3_has(kind: str, request: pytest.FixtureRequest) -> None:
    tables = [
        json.loads((directory / "tokenizer.json").read_text())["model"]["vocab"]
        for directory in (request.getfixturevalue(kind), PHI3 / "tokenizer/july-2024")
    ]
    for vocabulary in tables:
        entries = sorted(vocabulary, key=vocabulary.__getitem__)
        lengths = [len(entry) for entry in entries[259:]]
        assert lengths == sorted(lengths, key=lambda length: length == 1)
        assert not [entry for entry in entries[259:] if re.search(r"\n|[^▁]▁", entry)]
        assert not [entry for entry in entries[259:] if re.search(r"\d", entry) and len(entry) > 1]
        assert vocabulary.keys() >= {'▁{"', '":', '","', '["', "null", "▁null"}
    # the paired one has no entry with the end of a key and the beginning of its value
    assert ['":"' in vocabulary for vocabulary in tables] == [kind == "built", True]
