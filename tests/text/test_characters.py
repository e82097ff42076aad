"""Tests that texts of any script are cut between characters, with overlap and context."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from needs import CASES, needs_cases

from pipelines.text.characters import character_end, character_start
from pipelines.text.chunking import ChunkSize, cut
from pipelines.text.outline import opening
from pipelines.text.prompts import CHUNK_HEADER, Prompts, context_span
from pipelines.text.tokens import ChatTokenizer

FAMILY = "👩‍👩‍👧"
SCRIPTS = {
    "Chinese": "本公司及其附属公司在报告期内的经营情况如下所述，没有虚假记载。",
    "Japanese": "当社グループの業績は、次のとおりであります。",
    "Thai": "ประเทศไทยมีประชากรจำนวนมากและเศรษฐกิจเติบโตทำให้น้ำ",
    "Hangul letters": unicodedata.normalize("NFD", "한국어문서"),
    "emoji": FAMILY + "👍🏽🇩🇪🇫🇷" + "e\u0301",
    "Hindi": "यहएकवाक्यहैऔरयहलम्बाहै",
}


@pytest.mark.parametrize(
    "character", [FAMILY, "e\u0301", "👍🏽", "🇩🇪", "\r\n", "น้ำ", "เด", "❤️", "한", "क्"]
)
def test_no_border_is_within_a_character(character: str) -> None:
    text = f"{character}{character}{character}"
    start, end = len(character), 2 * len(character)
    for offset in range(start, end):
        assert character_start(text, offset) == start
    for offset in range(start + 1, end + 1):
        assert character_end(text, offset) == end


def test_letters_of_one_code_point_have_borders_around_them() -> None:
    text = "aé日ภ"
    assert [character_start(text, at) for at in range(5)] == list(range(5))
    assert [character_end(text, at) for at in range(5)] == list(range(5))


@pytest.mark.parametrize("script", SCRIPTS)
def test_chunks_and_context_of_every_script_end_between_characters(
    script: str, tiny_tokenizer: ChatTokenizer
) -> None:
    text = SCRIPTS[script] * 60
    prompts = Prompts(tiny_tokenizer)
    chunks = list(cut(text, ChunkSize(600, 120), tiny_tokenizer))
    assert len(chunks) > 2
    for chunk in chunks:
        span = context_span(text, chunk.start, chunk.end)
        for offset in (chunk.start, chunk.end, *span):
            assert character_start(text, offset) == offset
        prefix = prompts.chunk_prefix(text, chunk, opening(text))
        assert "\ufffd" not in tiny_tokenizer.decode(prefix.token_ids)
    for before, after in pairwise(chunks):
        repeated = len(tiny_tokenizer.encode(text[after.start : before.end]))
        assert 0.6 * 120 <= repeated <= 124


@pytest.mark.parametrize("indent", ["", "  ", "\u3000\u3000"])
@pytest.mark.parametrize("script", ["Chinese", "Japanese", "Thai"])
def test_240_characters_are_carried_whether_paragraphs_are_indented_or_not(
    script: str, indent: str, tiny_tokenizer: ChatTokenizer
) -> None:
    text = "".join(f"{indent}{SCRIPTS[script] * 2}{n}\n" for n in range(100))
    chunks = list(cut(text, ChunkSize(1_500, 100), tiny_tokenizer))
    for chunk in chunks[1:-1]:
        before, after = context_span(text, chunk.start, chunk.end)
        assert 216 <= chunk.start - before <= 240
        assert after == len(text) or 216 <= after - chunk.end <= 240
    for previous, following in pairwise(chunks):
        repeated = len(tiny_tokenizer.encode(text[following.start : previous.end]))
        assert 60 <= repeated <= 104


@needs_cases
def test_the_indented_chinese_report_has_overlap_and_context(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    text = (CASES / "texts/indented-zh.txt").read_text()
    chunks = list(cut(text, ChunkSize(1_500, 150), tiny_tokenizer))
    for previous, following in pairwise(chunks):
        repeated = len(tiny_tokenizer.encode(text[following.start : previous.end]))
        assert 0.6 * 150 <= repeated <= 154
        before, _ = context_span(text, following.start, following.end)
        assert 216 <= following.start - before <= 240


def test_carried_words_do_not_begin_within_a_character(tiny_tokenizer: ChatTokenizer) -> None:
    text = FAMILY * 200
    for chunk in cut(text, ChunkSize(200, 20), tiny_tokenizer):
        prefix = Prompts(tiny_tokenizer).chunk_prefix(text, chunk, opening(text))
        shown = tiny_tokenizer.decode(prefix.token_ids).split(CHUNK_HEADER)[0]
        assert "\ufffd" not in shown
