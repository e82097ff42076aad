"""A filter that quickly rules out strings which a text does not contain, as a Bloom filter does.

A gram is a sequence of 6 characters. The filter stores which hashes the text's grams have, one byte
per possible hash. A string with a gram whose hash is missing cannot occur in the text. Any other
string may occur or not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_GRAM = 6
_FACTORS = (2654435761, 2246822519, 3266489917, 668265263, 374761393, 2870177450)
_BYTES_PER_CHARACTER = 4
_MIN_BITS, _MAX_BITS = 12, 27
_BLOCK_CHARACTERS = 1 << 20


class GramFilter:
    """The hashes of all grams, which are sequences of 6 characters, of one text.

    Building it takes time and memory linear in the length of `text`.
    """

    def __init__(self, text: str) -> None:
        bits = (_BYTES_PER_CHARACTER * len(text)).bit_length()
        self._shift = 32 - min(max(bits, _MIN_BITS), _MAX_BITS)
        self._seen = np.zeros(1 << (32 - self._shift), dtype=np.bool_)
        for start in range(0, len(text), _BLOCK_CHARACTERS):
            block = text[start : start + _BLOCK_CHARACTERS + _GRAM - 1]
            self._seen[self._hashes(block)] = True

    def may_contain(self, words: str) -> bool:
        """Return False if the text certainly does not contain the string `words`.

        True means that it may contain it, so the text has to be searched. Always True for a string
        of less than 6 characters.
        """
        return bool(self._seen[self._hashes(words)].all())

    def _hashes(self, text: str) -> npt.NDArray[np.uint32]:
        """Return the hash of each gram; none for a text that is shorter than one."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        count = max(0, len(codes) - _GRAM + 1)
        sums = np.zeros(count, dtype=np.uint32)
        for index, factor in enumerate(_FACTORS):
            sums += codes[index : index + count] * np.uint32(factor)
        mixed = (sums ^ (sums >> np.uint32(15))) * np.uint32(_FACTORS[0])
        return mixed >> np.uint32(self._shift)
