"""Encoding of long texts piece by piece, with the ids that encoding them whole would give.

A BPE tokenizer joins two neighbouring characters only by a merge of its vocabulary. Between two
characters that no merge joins there is a border, where a text can be split without any effect on
its ids. A piece is a part of a text that is encoded by itself, from one border to another. The
time of the tokenizer per character, and its memory, grow with the length of what it encodes at
once.

This module does not know control tokens, chat frames or chunks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from pipelines.text.word_ids import Ids, JoinedPairs, WordIds, separator

BLANK = "▁"
# The normalizer of Llama's and Phi-3's tokenizers, for which the ids of a piece are known to be
# independent of the other pieces. Here it is replaced by `str.replace`, which is faster.
_NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": BLANK},
        {"type": "Replace", "pattern": {"String": " "}, "content": BLANK},
    ],
}
# Settings of a BPE model by which a border would matter although no merge crosses it.
_FORBIDDEN = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
# A text up to this length is encoded at once, which takes less time than finding its words. A
# search for a border in a chunk ends after as many characters: it can be encoded another way.
SHORT_CHARACTERS = 2**10
# Characters of a text whose words are found at once, and those without any border that are encoded
# at once where memory must be bounded.
_PART_CHARACTERS, _MAX_CHARACTERS = 2**17, 2**20


class PieceEncoder:
    """Encodes texts with a BPE tokenizer, split at borders, where no merge joins two characters.

    `tokenizer_json` is the tokenizer in the format of the tokenizers library, for which `separable`
    is True. The ids are those that it gives the whole text, without the blank that it puts before a
    text. Several threads can use the object.
    """

    def __init__(self, tokenizer_json: str) -> None:
        description = json.loads(tokenizer_json)
        pairs = _pairs(description["model"])
        self._pairs = JoinedPairs(pairs)
        self._separator = separator(pairs)
        # a blank of a text and a literal "▁" are the same to the tokenizer
        self._joined = frozenset(
            first + second for pair in pairs for first, second in product(*map(_spellings, pair))
        )
        description["normalizer"] = None
        self._tokenizer = Tokenizer.from_str(json.dumps(description))
        self._lengths, self._continues = _character_counts(description["model"]["vocab"])

    def is_border(self, text: str, offset: int) -> bool:
        """Return whether text[:offset] and text[offset:] can be encoded separately with equal ids.

        True at the start and the end of the text.
        """
        return not 0 < offset < len(text) or text[offset - 1 : offset + 1] not in self._joined

    def first_border(self, text: str, start: int, end: int) -> int | None:
        """Return the first border of `text` from `start` to `end`, both included, or None.

        `start` is at least 1.
        """
        return self._border(text, range(start, end + 1))

    def last_border(self, text: str, start: int, end: int) -> int | None:
        """Return the last border of `text` from `start` to `end`, both included, or None.

        `start` is at least 1.
        """
        return self._border(text, range(end, start - 1, -1))

    def _border(self, text: str, offsets: range) -> int | None:
        joined = self._joined  # a loop over up to a million characters
        inside = (at for at in offsets if text[at - 1 : at + 1] not in joined or at == len(text))
        return next(inside, None)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text; short ones are encoded on several threads.

        No blank is put before a text, as if it were the rest of a longer one.
        """
        ids: list[list[int]] = [[] for _ in texts]
        for number, part in self._in_parts(texts, sys.maxsize):
            ids[number] += part.tolist()
        return ids

    def count_all(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text.

        It may be off by a token or two for each 2**20 characters without any border, such as a
        million blanks.
        """
        counts = [0] * len(texts)
        for number, part in self._in_parts(texts, _MAX_CHARACTERS):
            counts[number] += len(part)
        return counts

    def read(self, text: str) -> Iterator[tuple[int, Ids]]:
        """Yield the end of each consecutive part of `text`, as an offset, and the part's token ids.

        A part ends at the last border within 2**17 characters, else at the first one after them; it
        ends after 2**20 characters without any border.
        """
        words = self._words()
        for start, end in self._parts(text, _MAX_CHARACTERS):
            yield end, words.ids(_normalized(text[start:end]))

    def starts(self, ids: npt.NDArray[np.int32], start: int) -> npt.NDArray[np.int64]:
        """Return the character offset at which each token begins in its text.

        `ids` are consecutive token ids, of which the first begins at `start`. A character that is
        encoded as several byte tokens begins with each of them.
        """
        ends = start + np.cumsum(self._lengths[ids])
        starts: npt.NDArray[np.int64] = ends - self._lengths[ids] - self._continues[ids]
        return starts

    def characters(self, ids: npt.NDArray[np.int32]) -> int:
        """Return the number of characters of the text of `ids`."""
        return int(self._lengths[ids].sum())

    def _in_parts(self, texts: Sequence[str], max_characters: int) -> Iterator[tuple[int, Ids]]:
        """Yield the index of each text with the token ids of its next part."""
        short = [n for n, text in enumerate(texts) if len(text) <= SHORT_CHARACTERS]
        yield from zip(short, self._encode([_normalized(texts[n]) for n in short]), strict=True)
        if len(short) == len(texts):
            return
        words = self._words()
        for number, text in enumerate(texts):
            if len(text) > SHORT_CHARACTERS:
                for start, end in self._parts(text, max_characters):
                    yield number, words.ids(_normalized(text[start:end]))

    def _parts(self, text: str, max_characters: int) -> Iterator[tuple[int, int]]:
        """Yield the (start, end) of consecutive parts of `text`, between borders if possible."""
        start = 0
        while start < len(text):
            end = min(start + _PART_CHARACTERS, len(text))
            limit = min(start + max_characters, len(text))
            border = self.last_border(text, start + 1, end)
            if border is None:
                border = self.first_border(text, end, limit)
            end = limit if border is None else border
            yield start, end
            start = end

    def _words(self) -> WordIds:
        # not stored, so that several threads can use this object, and for the memory
        return WordIds(self._pairs, self._encode, self._separator)

    def _encode(self, contents: Sequence[str]) -> Iterator[Ids]:
        """Yield the token ids of normalized texts, encoded on several threads."""
        encodings = self._tokenizer.encode_batch_fast(list(contents), add_special_tokens=False)
        return (np.asarray(encoding.ids, np.int32) for encoding in encodings)


def separable(tokenizer_json: str, control_ids: Iterable[int]) -> bool:
    """Return whether a PieceEncoder can encode for a tokenizer: with equal ids, and no control ids.

    Call it before creating a PieceEncoder. It decides by the tokenizer's settings and vocabulary.
    `tokenizer_json` must have no added tokens and no post-processor. `control_ids` are the ids of
    the control tokens.
    """
    description = json.loads(tokenizer_json)
    model = description["model"]
    if model["type"] != "BPE" or any(model.get(name) for name in _FORBIDDEN):
        return False
    vocabulary: dict[str, int] = model["vocab"]
    if not model.get("byte_fallback") or not all(byte in vocabulary for byte in _BYTES):
        return False  # characters without an id would be joined
    if description["pre_tokenizer"] is not None or description["normalizer"] != _NORMALIZER:
        return False
    written = {left + right for left, right in _merges(model)}
    if not written.isdisjoint(_BYTES) or not separator(_pairs(model)):
        return False
    written.update(_BYTES, (entry for entry in vocabulary if len(entry) == 1))
    return {vocabulary[entry] for entry in written}.isdisjoint(control_ids)


def _merges(model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        yield left, right


def _pairs(model: dict[str, Any]) -> frozenset[str]:
    """Return the pairs of characters that a merge joins."""
    return frozenset(left[-1] + right[0] for left, right in _merges(model))


def _spellings(character: str) -> str:
    return f"{BLANK} " if character == BLANK else character


def _normalized(text: str) -> str:
    return text.replace(" ", BLANK)


def _character_counts(
    vocabulary: dict[str, int],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return, by token id, the number of characters that the token begins, and whether it is a byte
    token that continues a character."""
    lengths = np.zeros(max(vocabulary.values()) + 1, np.int64)
    continues = np.zeros_like(lengths)
    for entry, number in vocabulary.items():
        lengths[number] = len(entry)
    for byte, entry in enumerate(_BYTES):
        continues[vocabulary[entry]] = 0x80 <= byte < 0xC0
        lengths[vocabulary[entry]] = not 0x80 <= byte < 0xC0
    return lengths, continues
