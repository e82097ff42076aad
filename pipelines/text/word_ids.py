"""Token ids of long texts, found word by word: each different word of a text is encoded once.

A word is the text between two borders: places where no merge of the vocabulary joins the two
characters. Long texts repeat most of their words, and looking one up takes much less time than
encoding it. Does not know control tokens, chat frames or chunks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
Encode = Callable[[Sequence[str]], Iterable[Ids]]
"""Encodes several texts, each by itself, with nothing added."""
# New words are encoded together, this many in one text, which is faster than one by one.
_WORDS_TOGETHER = 128
# Token ids of words that are stored, before all are forgotten to bound the memory.
_MAX_STORED_IDS = 2**19
_SEPARATORS = tuple(map(chr, range(32)))


class JoinedPairs:
    """The pairs of neighbouring characters that a BPE tokenizer may join into one token.

    `pairs` are strings of two characters. Between any two other characters there is a border, where
    a text can be split without an effect on its token ids.
    """

    def __init__(self, pairs: Collection[str]) -> None:
        characters = sorted(set("".join(pairs)))
        self._classes = np.zeros(sys.maxunicode + 1, np.int32)  # 0 for characters in no pair
        self._classes[[ord(character) for character in characters]] = range(1, 1 + len(characters))
        self._count = 1 + len(characters)
        self._joined = np.zeros(self._count**2, np.bool_)
        for pair in pairs:
            first, second = self._classes[[ord(character) for character in pair]]
            self._joined[first * self._count + second] = True

    def borders(self, codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """Return the character offsets of all borders inside a text, in ascending order.

        `codes` are the Unicode code points of the text's characters. The text's start and end are
        not included.
        """
        classes = self._classes[codes]
        return np.flatnonzero(~self._joined[classes[:-1] * self._count + classes[1:]]) + 1


def separator(pairs: Collection[str]) -> str:
    """Return a control character (U+0000 to U+001F) that is in none of `pairs`.

    Return "" if each of them is in a pair.
    """
    joined = set("".join(pairs))
    return next((character for character in _SEPARATORS if character not in joined), "")


class WordIds:
    """Encodes texts word by word, and caches the token ids of the words that it has encoded.

    A word is the text between two neighbouring borders of `pairs`. `encode` encodes several texts
    in one call. `separator` is a character in no pair of `pairs`; `encode` gives it a single token
    id, which no other text has. Not safe for use by several threads at once.
    """

    def __init__(self, pairs: JoinedPairs, encode: Encode, separator: str) -> None:
        self._pairs = pairs
        self._encode = encode
        self._separator = separator
        (ids,) = encode([separator])
        self._separator_id = int(ids[0])
        self._forget()

    def ids(self, text: str) -> Ids:
        """Return the token ids of `text`, which is not empty and begins and ends at borders."""
        numbers = self._numbered(text)
        lengths = self._lengths[numbers]
        # for each token, the index of the first id of its word, and its place within the word
        first = np.repeat(self._starts[numbers] - (np.cumsum(lengths) - lengths), lengths)
        ids: Ids = self._ids[first + np.arange(len(first))]
        return ids

    def _forget(self) -> None:
        """Forget all words but the separator, which `_add` could not tell from a separator."""
        self._numbers = _Numbers({self._separator: 1})
        self._numbers_of_characters = np.zeros(sys.maxunicode + 1, np.int32)  # 0: not yet known
        self._ids: Ids = np.array([self._separator_id], np.int32)
        self._starts = np.array([0, 0])  # number 0 is no word
        self._lengths = np.array([0, 1])

    def _numbered(self, text: str) -> npt.NDArray[np.int32]:
        """Return the numbers of the words of `text` in order, and encode those that are new."""
        if len(self._ids) > _MAX_STORED_IDS:
            self._forget()
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        borders = self._pairs.borders(codes)
        starts, ends = np.append(0, borders), np.append(borders, len(codes))
        short = ends - starts == 1
        numbers = np.empty(len(starts), np.int32)
        numbers[short] = self._of_characters(codes[starts[short]])
        spans = zip(starts[~short].tolist(), ends[~short].tolist(), strict=True)
        words = map(self._numbers.__getitem__, [text[start:end] for start, end in spans])
        numbers[~short] = np.fromiter(words, np.int32)
        self._add(list(islice(self._numbers, len(self._lengths) - 1, None)))
        return numbers

    def _of_characters(self, codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.int32]:
        """Return the numbers of words of one character each."""
        known = self._numbers_of_characters
        for code in np.unique(codes[known[codes] == 0]).tolist():
            known[code] = self._numbers[chr(code)]
        numbers: npt.NDArray[np.int32] = known[codes]
        return numbers

    def _add(self, words: list[str]) -> None:
        if not words:
            return
        parts = range(0, len(words), _WORDS_TOGETHER)
        texts = [words[start : start + _WORDS_TOGETHER] for start in parts]
        joined = [self._separator.join([*part, ""]) for part in texts]
        ids = np.concatenate([self._ids, *self._encode(joined)])
        ends = len(self._ids) + np.flatnonzero(ids[len(self._ids) :] == self._separator_id)
        starts = np.append(len(self._ids), ends[:-1] + 1)
        self._starts = np.append(self._starts, starts)
        self._lengths = np.append(self._lengths, ends - starts)
        self._ids = ids


class _Numbers(dict[str, int]):
    """The numbers of words, from 1, in the order in which they were first looked up."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self) + 1
        return number
