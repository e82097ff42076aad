"""Limits of the number of tokens of an answer: of a summary, a form, or a part written anew.

There are three lengths. `least_tokens` is the length of the smallest answer to a form, with null in
every field. `planned_tokens` is what every prompt keeps free for the answer; it decides in which
pool a document is read. `wanted` is the limit for an answer about a given text, whose script may
need many tokens a word; the caller lowers it to what the engine's context leaves. Knows no engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.job.task_specs import EvidenceKind
from pipelines.tasks.decoding import JSON_SEPARATORS, quotes_key
from pipelines.tasks.schema import JsonSchema, is_map, is_tuple, item_schema, json_type
from pipelines.text.parts import FIRST_GROWTH, MOST_GROWTH, SLACK_TOKENS

_MIN_ANSWER_TOKENS, _MAX_PLANNED_TOKENS = 64, 1024
# Tokens reserved for one value, without the form's keys and punctuation around it.
_VALUE_TOKENS = {"string": 32, "number": 16, "integer": 16, "boolean": 4}
_QUOTE_TOKENS: Mapping[EvidenceKind, int] = {"quotes": 48, "anchors": 20}
_LIST_ITEMS = 8
# A tokenizer may spell what a grammar forces a little longer than its own best spelling.
_SPELLING_SHARE = 16
# Tokens per character of the English texts that the numbers above were chosen for.
_ENGLISH_DENSITY = 0.26
# Tokens of a summary beyond those of its words.
_SUMMARY_SLACK_TOKENS = 16
_LEAST_TOKENS_PER_WORD, _PLANNED_TOKENS_PER_WORD, _MOST_TOKENS_PER_WORD = 2, 4, 20
# Characters of a word with the blank behind it: bounds of what is measured in a text, the length
# beyond which a script puts no blanks between words, and what is then taken: ideographs, others.
_SHORTEST_WORD, _LONGEST_WORD, _UNSPACED_LENGTH = 6.0, 20.0, 24.0
_IDEOGRAPHIC_WORD, _UNSPACED_WORD = 2.5, 6.0
_WORD_MARGIN = 1.25
# Parts of a text decide its script, so that a front page is not taken for the whole text.
_MEASURED_PARTS, _PART_CHARACTERS = 4, 1_000


@dataclass(frozen=True, slots=True)
class SummaryBudget:
    """The limits, in tokens, of a summary of at most `words` words."""

    words: int

    @property
    def least_tokens(self) -> int:
        """Return the smallest limit: that for a script with the fewest tokens a word, 2."""
        return _LEAST_TOKENS_PER_WORD * self.words + _SUMMARY_SLACK_TOKENS

    @property
    def planned_tokens(self) -> int:
        """Return how many tokens every prompt keeps free for the summary: 4 a word, and 16 more.

        It is enough in most scripts.
        """
        return _PLANNED_TOKENS_PER_WORD * self.words + _SUMMARY_SLACK_TOKENS

    def wanted(self, text: str, tokens: int) -> int:
        """Return the limit, in tokens, for a summary in the script of `text`.

        `text` is the text to summarize, and `tokens` is its number of tokens.
        """
        return int(self.words * tokens_per_word(text, tokens)) + _SUMMARY_SLACK_TOKENS

    def after_a_cut(self, limit: int, tokens: int) -> int:
        """Return `limit`, the tokens at which a summary was cut off: there is no larger second try.

        A summary that reaches its limit is longer than the task's words, and so stays cut off.
        `tokens`, the number of tokens of its text, is not used.
        """
        del tokens
        return limit


@dataclass(frozen=True, slots=True)
class FormBudget:
    """The limits, in tokens, of an answer to a form, the JSON that an extraction generates.

    Attributes:
        least_tokens: the length of the smallest answer: all values null or empty, without quotes.
        planned_tokens: how many tokens every prompt keeps free for the answer.
        fixed_tokens: estimated tokens of a usual answer without its texts: of keys, punctuation,
            numbers and booleans.
        text_tokens: estimated tokens of the texts and quotes of a usual answer in English.
        growth: how many more tokens a second try may have for each token of the text asked about;
            0 if the form has no list and no map.
    """

    least_tokens: int
    planned_tokens: int
    fixed_tokens: int
    text_tokens: int
    growth: float

    def wanted(self, text: str, tokens: int) -> int:
        """Return the limit, in tokens, for a usual answer about `text`.

        `tokens` is the number of tokens of `text`. The limit is larger than for English if its
        script has more tokens a character, and at least `planned_tokens`.
        """
        density = tokens / max(1, len(text))
        scaled = self.text_tokens * max(1.0, density / _ENGLISH_DENSITY)
        return max(self.planned_tokens, self.fixed_tokens + int(scaled))

    def after_a_cut(self, limit: int, tokens: int) -> int:
        """Return the limit, in tokens, for a second try after an answer was cut off at `limit`.

        `tokens` is the number of tokens of the text that the question is about.
        """
        return 2 * limit + int(self.growth * tokens)


@dataclass(frozen=True, slots=True)
class PartBudget:
    """The limits, in tokens, of what is written anew from a part of a document, as a translation.

    Most languages need at most twice the tokens of another one, some need more.
    """

    @property
    def least_tokens(self) -> int:
        """Return the smallest limit: that for a part without tokens."""
        return SLACK_TOKENS

    @property
    def planned_tokens(self) -> int:
        """Return `least_tokens`: what prompts keep free follows the part (`text/parts.py`)."""
        return self.least_tokens

    def wanted(self, text: str, tokens: int) -> int:
        """Return the limit, in tokens, for an answer about a part of `tokens` tokens.

        The part itself, `text`, is not used.
        """
        del text
        return FIRST_GROWTH * tokens + SLACK_TOKENS

    def after_a_cut(self, limit: int, tokens: int) -> int:
        """Return the limit, in tokens, for a second try after an answer was cut off at `limit`.

        `tokens` is the number of tokens of the part.
        """
        return max(limit, MOST_GROWTH * tokens + SLACK_TOKENS)


Budget = SummaryBudget | FormBudget | PartBudget


def form_budget(
    schema: JsonSchema, count: Callable[[str], int], evidence: EvidenceKind = "quotes"
) -> FormBudget:
    """Return the limits of an answer to the form of a normalized schema.

    `count` returns the number of tokens of a text, without the tokenizer's special tokens.
    `evidence` is what the model writes to show its values.
    """
    names = list(schema["properties"])
    quotes = {quotes_key(schema): dict.fromkeys(names)} if evidence in _QUOTE_TOKENS else {}
    empty = {**_skeleton(schema), **quotes}
    least = _spelled(count(_json(empty)))
    values, texts = _value_tokens(schema, count)
    texts += _QUOTE_TOKENS.get(evidence, 0) * len(names)
    planned = max(least, min(_MAX_PLANNED_TOKENS, max(_MIN_ANSWER_TOKENS, least + values + texts)))
    return FormBudget(least, planned, least + values, texts, _growth(schema, count))


def tokens_per_word(text: str, tokens: int) -> float:
    """Return how many tokens to reserve for a word of a summary in the script of `text`.

    `tokens` is the number of tokens of `text`. The result is from 2 to 20, with a margin of a
    quarter, since words of a summary are longer than most. White space between words counts as a
    single blank: layouts have much of it, summaries have none.
    """
    sample = _sample(text)
    words = sample.split()
    shown = sum(map(len, words)) + len(words)
    tokens_per_character = tokens / max(1, len(text)) * len(sample) / max(1, shown)
    needed = _WORD_MARGIN * _word_characters(words) * tokens_per_character
    return min(max(needed, _LEAST_TOKENS_PER_WORD), _MOST_TOKENS_PER_WORD)


def _sample(text: str) -> str:
    if len(text) <= _MEASURED_PARTS * _PART_CHARACTERS:
        return text
    step = (len(text) - _PART_CHARACTERS) // (_MEASURED_PARTS - 1)
    starts = range(0, len(text) - _PART_CHARACTERS + 1, step)
    return " ".join(text[start : start + _PART_CHARACTERS] for start in starts)


def _word_characters(words: Sequence[str]) -> float:
    """Return how many characters a word has on average, with the blank behind it."""
    sample = "".join(words)
    letters = [character for character in sample if character.isalpha()]
    ideographs = sum("\u3040" <= c <= "\u9fff" or c >= "\U00020000" for c in letters)
    if 2 * ideographs > len(letters):
        return _IDEOGRAPHIC_WORD
    length = 1 + len(sample) / max(1, len(words))
    # a text with so few blanks does not put them between its words
    if length > _UNSPACED_LENGTH and not sample.isascii():
        return _UNSPACED_WORD
    return min(max(length, _SHORTEST_WORD), _LONGEST_WORD)


def _json(value: Any) -> str:
    """Return a value as a model writes it."""
    return json.dumps(value, ensure_ascii=False, separators=JSON_SEPARATORS)


def _spelled(tokens: int) -> int:
    return tokens + tokens // _SPELLING_SHARE + 2


def _skeleton(schema: JsonSchema) -> Any:
    """Return the smallest JSON value of a schema: all keys, lists as short as they may be, null for
    all other values. Of a union it is that of the member with the fewest fields."""
    if is_map(schema):
        return {}
    if "members" in schema:
        return min(map(_skeleton, schema["members"]), key=len)
    kind = json_type(schema)
    if kind == "object":
        return {name: _skeleton(field) for name, field in schema.get("properties", {}).items()}
    if kind == "array":
        fewest = int(schema.get("minItems", 0))
        return [_skeleton(item_schema(schema, index)) for index in range(fewest)]
    return None


def _value_tokens(schema: JsonSchema, count: Callable[[str], int]) -> tuple[int, int]:
    """Estimate the tokens of all values of a schema, without its keys: of texts in English, and,
    first, of all others."""
    if "members" in schema:
        members = [_value_tokens(member, count) for member in schema["members"]]
        return max(values for values, _ in members), max(texts for _, texts in members)
    if repeated := _repeated(schema):
        # an entry of a map is written with its name
        texts_of_name = _VALUE_TOKENS["string"] if is_map(schema) else 0
        values, texts = _value_tokens(repeated, count)
        keys = count(_json(_skeleton(repeated)))
        return _LIST_ITEMS * (values + keys), _LIST_ITEMS * (texts + texts_of_name)
    if json_type(schema) in ("object", "array"):
        estimates = [_value_tokens(part, count) for part in _parts(schema)]
        return sum(values for values, _ in estimates), sum(texts for _, texts in estimates)
    if constants := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return max(count(_json(value)) for value in constants), 0
    tokens = _VALUE_TOKENS[json_type(schema)]
    return (0, tokens) if json_type(schema) == "string" else (tokens, 0)


def _growth(schema: JsonSchema, count: Callable[[str], int]) -> float:
    """Return how many tokens an answer may have for each token of the text: 0 without a list or a
    map.

    An item repeats words of the text, at least two tokens of them, and adds the keys of its fields.
    """
    if repeated := _repeated(schema):
        keys = count(_json(_skeleton(repeated)))
        return 2.0 + keys / 2 + _growth(repeated, count)
    return max((_growth(part, count) for part in _parts(schema)), default=0.0)


def _repeated(schema: JsonSchema) -> JsonSchema | None:
    """Return the schema of a list's items or a map's values, of which there may be any number."""
    if is_map(schema):
        values: JsonSchema = schema["additionalProperties"]
        return values
    return schema.get("items") if not is_tuple(schema) else None


def _parts(schema: JsonSchema) -> list[JsonSchema]:
    """Return the schemas of the fields of an object or the items of a tuple."""
    return [*schema.get("properties", {}).values(), *schema.get("prefixItems", ())]
