"""Recognizes a negation directly before or behind a passage, as in "not |liable for damage|".

Such a passage says the opposite of its sentence. Negations that are joined to a word, as in Chinese
and Japanese, are in edges.py.
"""

from __future__ import annotations

import re

from pipelines.text.meaning_words import PORTUGUESE

_REACH = 80
_BEFORE = (
    # English, German, Dutch, Danish, Norwegian, Swedish
    "not|never|cannot|neither|nor|nicht|nie|niemals|kein|keine|keinen|keinem|keiner|keines|weder|"
    "niet|geen|nooit|ikke|aldrig|aldri|inte|ej|"
    # French, Spanish, Portuguese, Italian
    "ne|pas|jamais|ni|nunca|jamás|não|nem|non|né|"
    # Polish, Czech, Hungarian, Finnish, Vietnamese, Indonesian
    "nigdy|není|nikdy|ei|eivät|không|chưa|chẳng|đừng|tidak|bukan|jangan|belum|"
    # Russian, Ukrainian, Greek
    "не|ни|ні|никогда|δεν|δε|μην|μη|ούτε|ποτέ|"
    # Arabic, Hebrew, Hindi
    "لا|لم|لن|ليس|ليست|ولا|ولم|ولن|לא|אין|אינו|אינה|ולא|नहीं|मत|न"
)
# "whether or not it rains" says neither
_NEGATED_BEFORE = re.compile(
    rf"(?:(?<!\bor )(?<![^\W_])(?:{_BEFORE})|n['’]t)\s{{1,3}}$|(?<![^\W_])n['’]$", re.IGNORECASE
)
# In a table, "No" is a cell of its own. "no" is "in the" in Portuguese.
_NO_BEFORE = re.compile(r"(?<=[^\W\d_][\s,])no\s$")
_NEGATED_BEHIND = re.compile(r"\s{1,3}(?:nicht|niet|ikke|inte|değil\w*)(?![^\W_])", re.IGNORECASE)


def is_negated(text: str, start: int, end: int) -> bool:
    """Return whether a negation stands directly before or behind text[start:end]."""
    before = text[max(0, start - _REACH) : start]
    if _NEGATED_BEFORE.search(before) or _NEGATED_BEHIND.match(text, end):
        return True
    if not _NO_BEFORE.search(before):
        return False
    around = re.findall(r"\w+", f"{before}{text[start : start + _REACH]}".casefold())
    return PORTUGUESE.isdisjoint(around)
