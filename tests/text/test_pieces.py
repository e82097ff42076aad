"""Tests that encoding in pieces gives the ids of encoding whole, with each real kind of vocabulary.

The expected ids are those of the tokenizer's own file, read by the tokenizers library, without the
blank that it puts before a text.
"""

from __future__ import annotations

import base64
import json
import random
from functools import cache
from pydoc_data import topics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import PHI3, needs_phi3
from tokenizers import Tokenizer

from pipelines.text.chunking import ChunkSize, cut
from pipelines.text.pieces import separable
from pipelines.text.prompts import END_OF_DOCUMENT, INSTRUCTION, Prompts
from pipelines.text.token_table import TokenTable
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

REAL = "\n".join(topics.topics.values())
RANDOM = random.Random(7)  # noqa: S311  # not for security
HARD = {
    "prose": REAL[:100_000],
    "no blanks": "".join(REAL[:150_000].split()),
    "only blanks": " " * 50_000,
    "blanks": "".join(RANDOM.choices([" ", "  ", "\n ", "a", " " * 17, "▁", "\t"], k=9_000)),
    "one character": "=" * 40_000,
    "base64": base64.b64encode(RANDOM.randbytes(60_000)).decode(),
    "cjk": "本公司及其附属公司的经营情况如下所述。" * 3_000,
    "thai": "ประเทศไทยมีประชากรจำนวนมาก" * 2_000,
    "bytes": "\U0001d518é\u0301👩‍👩‍👧 <0x0A></s><|end|>" * 1_500,
    "control characters": "".join(map(chr, range(32))) * 300 + " \0\0x",
    "new words": "".join(f" {n:x}" for n in range(60_000)),
    "table": "".join(f"| {n:>8} | {n * 7:>12,} | no     |\n" for n in range(2_500)),
}  # fmt: skip
PARTS = st.sampled_from(
    [
        " ",
        "  ",
        "▁",
        "\n",
        "\r\n",
        "</s>",
        "<|end|>",
        "<0x0A>",
        "日本",
        "ๆ",
        "🙂",
        "the",
        "1.5",
        "--",
        "\0",
        "\0\0x",
    ]
)
TEXTS = st.lists(PARTS | st.text(max_size=8), max_size=400).map(lambda parts: "".join(parts) * 9)


@pytest.fixture(scope="session", params=["tiny", "paired", "phi3"])
def tokenizer(request: pytest.FixtureRequest) -> ChatTokenizer:
    """Each tokenizer: that of the built-in models, with random weights and trained, and Phi-3's."""
    if request.param != "phi3":
        built_in: ChatTokenizer = request.getfixturevalue(f"{request.param}_tokenizer")
        return built_in
    if not PHI3.is_dir():
        pytest.skip("Phi-3's tokenizer and configs are not in ../shared/phi3 beside the project")
    return load_tokenizer(PHI3 / "tokenizer/july-2024")


def _whole(tokenizer: ChatTokenizer, text: str) -> list[int]:
    return list(_plain(tokenizer.tokenizer_json).encode(text, add_special_tokens=False).ids)


@cache
def _plain(tokenizer_json: str) -> Tokenizer:
    description = json.loads(tokenizer_json)
    before, description["normalizer"] = description["normalizer"]["normalizers"]
    assert before["type"] == "Prepend"
    return Tokenizer.from_str(json.dumps(description))


def test_each_of_these_tokenizers_encodes_in_pieces(tokenizer: ChatTokenizer) -> None:
    assert tokenizer.pieces is not None


@pytest.mark.parametrize("kind", HARD)
def test_hard_texts_have_the_ids_of_encoding_them_whole(
    kind: str, tokenizer: ChatTokenizer
) -> None:
    text = HARD[kind]
    expected = _whole(tokenizer, text)
    assert tokenizer.encode(text) == expected
    assert tokenizer.count_all(["", text, "a"]) == [0, len(expected), 1]
    assert tokenizer.is_longer(text, len(expected)) is False


@settings(max_examples=100)
@given(text=TEXTS)
def test_any_text_has_the_ids_of_encoding_it_whole(text: str, tokenizer: ChatTokenizer) -> None:
    assert tokenizer.encode(text) == _whole(tokenizer, text)


@settings(max_examples=50)
@given(text=TEXTS)
def test_a_prompt_has_the_ids_of_its_whole_text(text: str, tokenizer: ChatTokenizer) -> None:
    prefix = Prompts(tokenizer).document_prefix(tokenizer.encode(text))
    whole = f"{INSTRUCTION}{text}{END_OF_DOCUMENT}"
    assert prefix.token_ids == tokenizer.encode_after(tokenizer.prefix_ids, whole)
    at = prefix.passage_start
    assert prefix.token_ids[:at] == tokenizer.encode_after(tokenizer.prefix_ids, INSTRUCTION)


@pytest.mark.parametrize("kind", HARD)
def test_tokens_begin_where_the_tokenizer_says(kind: str, tokenizer: ChatTokenizer) -> None:
    text = HARD[kind][:20_000]
    (starts,) = tokenizer.starts([text])
    table = TokenTable(text, tokenizer)
    assert [table.after(0, count) for count in range(0, len(starts), 97)] == starts[::97]


@pytest.mark.parametrize("kind", HARD)
def test_the_ids_of_chunks_are_those_of_their_text(kind: str, tokenizer: ChatTokenizer) -> None:
    text = HARD[kind]
    chunks = list(cut(text, ChunkSize(1_500, 100), tokenizer))
    assert chunks[-1].end == len(text)
    for chunk in chunks:
        assert list(chunk.token_ids) == tokenizer.encode(text[chunk.start : chunk.end])


def test_a_run_of_more_than_a_million_blanks_is_counted_and_cut(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    text = "words " * 10 + " " * (2**20 + 2**16) + " words" * 10
    (count,) = tiny_tokenizer.count_all([text])
    assert abs(count - len(_whole(tiny_tokenizer, text))) <= 4
    chunks = list(cut(text, ChunkSize(30_000, 100), tiny_tokenizer))
    assert (chunks[0].start, chunks[-1].end) == (0, len(text))
    for chunk in chunks:
        assert list(chunk.token_ids) == tiny_tokenizer.encode(text[chunk.start : chunk.end])


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("normalizer", None),
        ("normalizer", {"type": "NFKC"}),
        ("pre_tokenizer", {"type": "ByteLevel"}),
        ("model.type", "Unigram"),
        ("model.dropout", 0.1),
        ("model.byte_fallback", False),
        ("model.ignore_merges", True),
        ("model.end_of_word_suffix", "</w>"),
    ],
)
def test_a_tokenizer_with_other_settings_is_not_split(
    part: str, value: object, tiny_tokenizer: ChatTokenizer
) -> None:
    description = json.loads(tiny_tokenizer.tokenizer_json)
    assert separable(json.dumps(description), tiny_tokenizer.control_ids)
    within = description["model"] if part.startswith("model.") else description
    within[part.removeprefix("model.")] = value
    assert not separable(json.dumps(description), tiny_tokenizer.control_ids)


def test_a_tokenizer_that_is_not_split_gives_the_same_chunks(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    description = json.loads(tiny_tokenizer.tokenizer_json)
    # a pre-tokenizer that changes nothing, but is not known to change nothing
    description["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": []}
    other = ChatTokenizer(json.dumps(description), (), (), tiny_tokenizer.control_tokens)
    assert other.pieces is None
    text = REAL[:60_000]
    size = ChunkSize(500, 50)
    assert list(cut(text, size, other)) == list(cut(text, size, tiny_tokenizer))


@needs_phi3
def test_no_merge_of_phi3_has_a_blank_after_another_character() -> None:
    pieces = load_tokenizer(PHI3 / "tokenizer/july-2024").pieces
    assert pieces is not None
    texts = [f"{character} " for character in "a1.,\n\té日ก"]
    assert all(pieces.is_border(text, 1) for text in texts)
    assert not pieces.is_border("  ", 1) and not pieces.is_border(" a", 1)
