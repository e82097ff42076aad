"""Tests that text never becomes control tokens, and that none of it is lost."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from pipelines.errors import ModelError
from pipelines.models.phi3 import CONTROL_TOKENS
from pipelines.models.resolve import Model
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

CONTROL_STRINGS = ["<unk>", "<s>", "</s>", *CONTROL_TOKENS]


@pytest.mark.parametrize("control", CONTROL_STRINGS)
@pytest.mark.parametrize("around", ["{}", " {} ", "x{}y", "{}{}", "\n{}\n", "</s>{}<|end|>"])
def test_a_control_string_in_text_stays_text(
    control: str, around: str, tiny_tokenizer: ChatTokenizer
) -> None:
    text = around.replace("{}", control)
    ids = tiny_tokenizer.encode(text)
    assert tiny_tokenizer.control_ids.isdisjoint(ids)
    assert tiny_tokenizer.decode(ids) == text


@settings(max_examples=300)
@given(parts=st.lists(st.one_of(st.text(max_size=20), st.sampled_from(CONTROL_STRINGS))))
@example(parts=["▁"])
def test_no_text_becomes_control_and_none_is_lost(
    parts: list[str], tiny_tokenizer: ChatTokenizer
) -> None:
    text = "".join(parts)
    ids = tiny_tokenizer.encode(text)
    assert tiny_tokenizer.control_ids.isdisjoint(ids)
    # the vocabulary represents a blank as "▁", so a literal "▁" is decoded as a blank
    assert tiny_tokenizer.decode(ids) == text.replace("▁", " ")


def test_control_ids_are_the_added_tokens_with_bos_eos_unk(
    tiny_tokenizer: ChatTokenizer, tiny_model: Model
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_model.path))
    known = {tokenizer.convert_tokens_to_ids(string) for string in CONTROL_STRINGS}
    assert known <= tiny_tokenizer.control_ids


def test_the_ordinary_tokenizer_would_have_made_them_control(tiny_model: Model) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_model.path))
    assert 2 in tokenizer.encode("a </s> b", add_special_tokens=False)


def test_the_frame_is_the_models_own_template(
    tiny_tokenizer: ChatTokenizer, tiny_model: Model
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_model.path))
    text = tiny_tokenizer.encode_after(tiny_tokenizer.prefix_ids, "What is a list?")
    framed = tiny_tokenizer.build_prompt(text)
    message = [{"role": "user", "content": "What is a list?"}]
    expected = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
    assert framed == expected


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("normalizer", {"type": "Prepend", "prepend": "▁"}),
        ("pre_tokenizer", {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}),
        ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}),
    ],
)
def test_parts_of_a_message_are_joined_without_a_blank_with_any_kind_of_tokenizer(
    part: str, value: dict[str, object]
) -> None:
    blank = "Ġ" if value["type"] == "ByteLevel" else "▁"
    vocabulary = {"<unk>": 0, "a": 1, "b": 2, blank: 3}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))  # noqa: S106  # a token of text
    description = {**json.loads(tokenizer.to_str()), part: value}
    chat = ChatTokenizer(json.dumps(description), (), (), {0: "<unk>"})
    assert chat.encode_after([0], "ab") == [3, 1, 2]
    assert chat.encode_after([1], "ab") == chat.encode("ab") == [1, 2]


def test_the_text_after_a_control_token_begins_with_a_blank(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    start = tiny_tokenizer.encode_after(tiny_tokenizer.prefix_ids, "words")
    assert start == tiny_tokenizer.encode(" words")
    assert tiny_tokenizer.encode_after(start, "words") == tiny_tokenizer.encode("words")
    control = [*tiny_tokenizer.prefix_ids, *start]
    assert tiny_tokenizer.decode(control) == "<|user|>words"
    assert tiny_tokenizer.decode_output(start) == "words"


def test_a_list_of_texts_is_encoded_as_each_text(tiny_tokenizer: ChatTokenizer) -> None:
    texts = ["one", "", "two <|end|> three", "vier\n\nfünf"]
    assert tiny_tokenizer.encode_all(texts) == [tiny_tokenizer.encode(text) for text in texts]


def test_a_tokenizer_survives_pickling_after_use(tiny_tokenizer: ChatTokenizer) -> None:
    before = tiny_tokenizer.encode("some text")
    copied: ChatTokenizer = pickle.loads(pickle.dumps(tiny_tokenizer))  # noqa: S301  # our own bytes
    assert copied.encode("some text") == before


def test_a_text_whose_plain_encoding_is_a_control_id_is_split(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    poisoned = tiny_tokenizer.encode("word")[0]
    control = {**tiny_tokenizer.control_tokens, poisoned: "word"}
    tokenizer = ChatTokenizer(tiny_tokenizer.tokenizer_json, (), (), control)
    assert poisoned not in tokenizer.encode("word")


def test_a_model_without_a_chat_template_is_rejected(tmp_path: Path, tiny_model: Model) -> None:
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes((tiny_model.path / name).read_bytes())
    with pytest.raises(ModelError, match="chat template"):
        load_tokenizer(tmp_path)
