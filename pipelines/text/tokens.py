"""Text to token ids: the model's chat frame, and document text that can never become control.

A model's tokenizer finds its control tokens (`<|end|>`, `</s>`, ...) in any text it is given. Text
of documents and questions therefore goes through a copy of the tokenizer that has no added tokens
at all; the chat frame around it is the model's own template, rendered once, as ids.

Knows no tasks, chunks or engines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from pipelines.errors import ModelError

# A tokenizer needs some hundred bytes a token while it works, and takes longer a character the
# longer its text is: a text over the first length is counted in segments of the second.
_WHOLE_CHARACTERS, _SEGMENT_CHARACTERS = 2**20, 2**16
_SEGMENT_SEARCH = 2**10
# What a count may be off where a text is cut in two.
_BORDER_TOKENS = 4
_MARKER = "PHIFLEETMARKER"


def segments(text: str) -> Iterator[tuple[int, int]]:
    """A text in stretches that are quickly tokenized, at a line's end where there is one."""
    start = 0
    while start < len(text):
        end = min(len(text), start + _SEGMENT_CHARACTERS)
        if end < len(text):
            line = text.rfind("\n", end - _SEGMENT_SEARCH, end)
            end = line + 1 if line >= 0 else end
        yield start, end
        start = end


@dataclass(frozen=True)
class ChatTokenizer:
    """A model's tokenizer made safe, and its chat frame. Small to pickle: a few MB of JSON.

    `before` and `after` are the ids of the chat template around the user's message, generation
    prompt included. `control` are the added tokens with bos, eos and unk, by id.
    """

    tokenizer_json: str = field(repr=False)
    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    control_tokens: Mapping[int, str]

    @cached_property
    def _plain(self) -> Tokenizer:
        return Tokenizer.from_str(self.tokenizer_json)

    @cached_property
    def control_ids(self) -> frozenset[int]:
        return frozenset(self.control_tokens)

    def __getstate__(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def encode(self, text: str) -> list[int]:
        """Token ids of text, none of them in `control_ids`. No bos, no eos."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """As `encode`, for many texts, on as many threads as the tokenizers library takes."""
        encodings = self._plain.encode_batch_fast(list(texts), add_special_tokens=False)
        return [
            encoding.ids if self.control_ids.isdisjoint(encoding.ids) else self._broken_up(text)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def count_all(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text: exact up to a million characters, beyond them a token or two off for
        each 65,536, and in bounded memory."""
        whole = iter(self.encode_all([text for text in texts if len(text) <= _WHOLE_CHARACTERS]))
        return [
            len(next(whole))
            if len(text) <= _WHOLE_CHARACTERS
            else sum(len(self.encode(text[start:end])) for start, end in segments(text))
            for text in texts
        ]

    def is_longer(self, text: str, most_tokens: int) -> bool:
        """Whether a text surely has more tokens, read no further than it takes to know: True is as
        `count_all` has it, and so is False of a text that is counted in segments."""
        if len(text) <= _SEGMENT_CHARACTERS:
            # whoever wants to know encodes it next, which tells as much and takes no longer
            return False
        counted = 0
        for number, (start, end) in enumerate(segments(text), 1):
            counted += len(self.encode(text[start:end]))
            if counted > most_tokens + _BORDER_TOKENS * number:
                return True
        return len(text) > _WHOLE_CHARACTERS and counted > most_tokens

    def starts(self, texts: Sequence[str]) -> list[list[int]]:
        """The character at which each token of each text begins, control strings not broken up."""
        encodings = self._plain.encode_batch(list(texts), add_special_tokens=False)
        return [[start for start, _ in encoding.offsets] for encoding in encodings]

    def _broken_up(self, text: str) -> list[int]:
        """Ids of a text whose plain encoding holds a control id: halved until no half does.

        A control string is longer than one character, so this ends; a single character that has
        no id of its own (unk) is left out.
        """
        ids = self._plain.encode(text, add_special_tokens=False).ids
        if self.control_ids.isdisjoint(ids):
            return list(ids)
        if len(text) == 1:
            return [token for token in ids if token not in self.control_ids]
        middle = len(text) // 2
        return self._broken_up(text[:middle]) + self._broken_up(text[middle:])

    def decode_output(self, ids: Iterable[int]) -> str:
        """The text of generated ids, control tokens left out."""
        text: str = self._plain.decode([each for each in ids if each not in self.control_ids])
        return text

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, with control tokens spelled out: for people to read."""
        runs = groupby(ids, key=self.control_ids.__contains__)
        return "".join(self._spell(list(run), control=control) for control, run in runs)

    def _spell(self, run: list[int], *, control: bool) -> str:
        if control:
            return "".join(self.control_tokens[each] for each in run)
        text: str = self._plain.decode(run)
        return text

    def build_prompt(self, *segments: Sequence[int]) -> list[int]:
        """The segments as one user message in the model's chat frame."""
        prompt = list(self.prefix_ids)
        for segment in segments:
            prompt.extend(segment)
        prompt.extend(self.suffix_ids)
        return prompt

    @property
    def frame_tokens(self) -> int:
        return len(self.prefix_ids) + len(self.suffix_ids)


def load_tokenizer(path: Path) -> ChatTokenizer:
    """Derive `ChatTokenizer` from a model's directory: its fast tokenizer and its chat template.

    Raises ModelError where the model has no fast tokenizer or no chat template.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(path))
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"model {path}: it has no tokenizer.json, which phifleet needs")
    if not tokenizer.chat_template:
        raise ModelError(f"model {path}: it has no chat template; use an instruct model")
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": _MARKER}], add_generation_prompt=True, tokenize=False
    )
    before, found, after = str(rendered).partition(_MARKER)
    if not found or _MARKER in after:
        raise ModelError(f"model {path}: its chat template does not show the message once")
    return ChatTokenizer(
        tokenizer_json=_without_added_tokens(tokenizer.backend_tokenizer.to_str()),
        prefix_ids=tuple(tokenizer.encode(before, add_special_tokens=False)),
        suffix_ids=tuple(tokenizer.encode(after, add_special_tokens=False)),
        control_tokens=_control_tokens(tokenizer),
    )


def _control_tokens(tokenizer: Any) -> dict[int, str]:
    added = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
    named = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token)
    special = {tokenizer.convert_tokens_to_ids(name): str(name) for name in named if name}
    return {**special, **added}


def _without_added_tokens(tokenizer_json: str) -> str:
    description = json.loads(tokenizer_json)
    description["added_tokens"] = []
    for part in ("post_processor", "truncation", "padding"):
        description[part] = None
    return json.dumps(description)
