"""Encoding of long texts piece by piece, with the ids that encoding them whole would give.

A BPE tokenizer joins two neighbouring characters only by a merge of its vocabulary. Where no merge
joins them, a text can be split without any effect on its ids. The time of the tokenizer per
character, and its memory, grow with the length of what it encodes at once.

This module does not know control tokens, chat frames or chunks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding

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
# The tokenizer takes the least time for pieces of about this length. A search for a border ends
# after as many characters, where there is another way to encode it.
PIECE_CHARACTERS = 2**10
# Characters without any border that are encoded at once where memory must be bounded.
_MAX_CHARACTERS = 2**20
# Characters that are encoded in one call, on several threads.
_CALL_CHARACTERS = 2**19


class PieceEncoder:
    """Encodes texts with a BPE tokenizer, split into pieces where no merge joins two characters.

    `tokenizer_json` must be `separable`. The ids are those of the tokenizer for the whole text.
    """

    def __init__(self, tokenizer_json: str) -> None:
        description = json.loads(tokenizer_json)
        merges = list(_merges(description["model"]))
        pairs = {left[-1] + right[0] for left, right in merges}
        # a blank of a text and a literal "▁" are the same to the tokenizer
        self._joined = frozenset(
            first + second for pair in pairs for first, second in product(*map(_spellings, pair))
        )
        description["normalizer"] = None
        self._tokenizer = Tokenizer.from_str(json.dumps(description))
        self._lengths, self._continues = _character_counts(description["model"]["vocab"])

    def is_border(self, text: str, offset: int) -> bool:
        """Return whether text[:offset] and text[offset:] can be encoded apart from each other."""
        return not 0 < offset < len(text) or text[offset - 1 : offset + 1] not in self._joined

    def first_border(self, text: str, start: int, end: int) -> int | None:
        """Return the first border of `text` from `start` to `end`, both included."""
        return self._border(text, range(start, end + 1))

    def last_border(self, text: str, start: int, end: int) -> int | None:
        """Return the last border of `text` from `start` to `end`, both included."""
        return self._border(text, range(end, start - 1, -1))

    def _border(self, text: str, offsets: range) -> int | None:
        joined = self._joined  # a loop over up to a million characters
        inside = (at for at in offsets if text[at - 1 : at + 1] not in joined or at == len(text))
        return next(inside, None)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, on several threads."""
        ids: list[list[int]] = [[] for _ in texts]
        pieces = (
            (number, piece)
            for number, text in enumerate(texts)
            for piece in self._pieces(text, max(len(text), 1))
        )
        for number, _, encoding in self._encodings(texts, pieces):
            ids[number] += encoding.ids
        return ids

    def encode_rest(self, text: str) -> list[int]:
        """Return the token ids of a text that continues another one, after a border."""
        return list(self._tokenizer.encode(_normalized(text), add_special_tokens=False).ids)

    def counts(self, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Yield, piece by piece, the index of a text and the number of tokens of its next piece.

        The sum for a text is its number of tokens; it may be off by a token or two for each
        2**20 characters without any border, such as a million blanks.
        """
        pieces = (
            (number, piece)
            for number, text in enumerate(texts)
            for piece in self._pieces(text, _MAX_CHARACTERS)
        )
        for number, _, encoding in self._encodings(texts, pieces):
            yield number, len(encoding)

    def read(self, text: str) -> Iterator[tuple[int, npt.NDArray[np.int32]]]:
        """Yield the end of each piece of `text`, as an offset, and the piece's token ids.

        The end is a border, except after 2**20 characters without any.
        """
        pieces = ((0, piece) for piece in self._pieces(text, _MAX_CHARACTERS))
        for _, end, encoding in self._encodings([text], pieces):
            yield end, np.asarray(encoding.ids, np.int32)

    def starts(self, ids: npt.NDArray[np.int32], start: int) -> npt.NDArray[np.int64]:
        """Return the character offset at which each token begins in its text.

        `ids` are consecutive token ids, of which the first begins at `start`: -1 for the first
        token of a text, before which the tokenizer adds a blank. A character that is encoded as
        several byte tokens begins with each of them.
        """
        ends = start + np.cumsum(self._lengths[ids])
        starts: npt.NDArray[np.int64] = ends - self._lengths[ids] - self._continues[ids]
        return starts.clip(min=0)

    def characters(self, ids: npt.NDArray[np.int32]) -> int:
        """Return the number of characters of `ids`, the blank before a text included."""
        return int(self._lengths[ids].sum())

    def _pieces(self, text: str, max_characters: int) -> Iterator[tuple[int, int]]:
        """Yield the (start, end) of consecutive pieces of `text`, between borders if possible."""
        start = 0
        while start < len(text):
            end = min(start + PIECE_CHARACTERS, len(text))
            limit = min(start + max_characters, len(text))
            border = self.last_border(text, start + 1, end)
            if border is None:
                border = self.first_border(text, end, limit)
            end = limit if border is None else border
            yield start, end
            start = end

    def _encodings(
        self, texts: Sequence[str], pieces: Iterable[tuple[int, tuple[int, int]]]
    ) -> Iterator[tuple[int, int, Encoding]]:
        """Encode the pieces, each given as the index of its text, its start and its end.

        Yields the index, the end and the encoding of each.
        """
        for call in _calls(pieces):
            contents = [_normalized(texts[n][start:end], start == 0) for n, (start, end) in call]
            encodings = self._tokenizer.encode_batch_fast(contents, add_special_tokens=False)
            for (number, (_, end)), encoding in zip(call, encodings, strict=True):
                yield number, end, encoding


def separable(tokenizer_json: str, control_ids: Iterable[int]) -> bool:
    """Return whether a PieceEncoder gives the ids of this tokenizer, and no control ids.

    That is decided from its settings and its vocabulary. `tokenizer_json` must have no added tokens
    and no post-processor.
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
    written.update(_BYTES, (entry for entry in vocabulary if len(entry) == 1))
    return {vocabulary[entry] for entry in written}.isdisjoint(control_ids)


def _merges(model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        yield left, right


def _spellings(character: str) -> str:
    return f"{BLANK} " if character == BLANK else character


def _normalized(text: str, first: bool = False) -> str:
    return (BLANK if first else "") + text.replace(" ", BLANK)


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


def _calls(
    pieces: Iterable[tuple[int, tuple[int, int]]],
) -> Iterator[list[tuple[int, tuple[int, int]]]]:
    """Yield the pieces in lists, each list for one call of the tokenizer."""
    call: list[tuple[int, tuple[int, int]]] = []
    characters = 0
    for piece in pieces:
        call.append(piece)
        characters += piece[1][1] - piece[1][0]
        if characters >= _CALL_CHARACTERS:
            yield call
            call, characters = [], 0
    if call:
        yield call
