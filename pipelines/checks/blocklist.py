"""The rules of a blocklist: phrases that are found as whole words, and regular expressions.

Expressions run on RE2, in time linear in the text (`tasks/patterns.py`), so that none can take for
ever. Knows no answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.checks.words import words_of
from pipelines.errors import SpecError
from pipelines.tasks.escapes import PatternError
from pipelines.tasks.patterns import compile_pattern
from pipelines.text.folding import plain

Phrase = tuple[tuple[str, ...], str]
"""The words of a phrase, and the rule that states it, such as `phrases[2]`."""


@dataclass(frozen=True, slots=True)
class Blocklist:
    """Phrases by their first word, and regular expressions. Made by `blocklist`.

    Attributes:
        phrases: the phrases that begin with a word, by that word.
        expressions: the regular expressions.
    """

    phrases: Mapping[str, tuple[Phrase, ...]]
    expressions: tuple[str, ...]

    def rules(self, texts: Sequence[str]) -> list[str | None]:
        """Return for each text the first rule that it breaks, such as `phrases[2]`, or None."""
        return [self._phrase(text) or self._expression(text) for text in texts]

    def _phrase(self, text: str) -> str | None:
        if not self.phrases:
            return None
        words = tuple(words_of(text))
        for start, word in enumerate(words):
            for phrase, rule in self.phrases.get(word, ()):
                if words[start : start + len(phrase)] == phrase:
                    return rule
        return None

    def _expression(self, text: str) -> str | None:
        if not self.expressions:
            return None
        forms = {text, plain(text)}
        for index, expression in enumerate(self.expressions):
            if any(compile_pattern(expression).matches(form) for form in forms):
                return f"expressions[{index}]"
        return None


def blocklist(phrases: Sequence[str], expressions: Sequence[str], path: str) -> Blocklist:
    """Return the rules for phrases and regular expressions in ECMA-262 syntax.

    `path` is the key path of the check, for messages. Raises SpecError if a phrase has no letter,
    digit or symbol, or if RE2 does not support an expression.
    """
    by_word: dict[str, list[Phrase]] = {}
    faults = []
    for index, phrase in enumerate(phrases):
        words = tuple(words_of(phrase))
        if words:
            by_word.setdefault(words[0], []).append((words, f"phrases[{index}]"))
        else:
            faults.append(
                f"{path}.phrases.{index}: got {phrase!r}, must be a phrase with a letter, a digit "
                "or a symbol; punctuation does not count"
            )
    for index, expression in enumerate(expressions):
        try:
            compile_pattern(expression)
        except PatternError as error:
            faults.append(f"{path}.expressions.{index}: {expression!r} {error}")
    if faults:
        raise SpecError("\n".join(faults))
    return Blocklist({word: tuple(of) for word, of in by_word.items()}, tuple(expressions))
