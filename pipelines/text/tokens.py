"""Conversion of text to token ids, such that document text never becomes control tokens.

A model's tokenizer recognizes its control tokens (`<|end|>`, `</s>`, ...) in any text. Text of
documents and questions is therefore encoded with a copy of the tokenizer that has no added tokens.
The chat frame around it is the model's own chat template, rendered once and kept as ids.

A message is put together from parts that are encoded separately: an instruction, a document, a
question. Many tokenizers put a blank before every text; here only the part that begins a message
has one, so that the ids of all parts together are those of the message as one text.

This module does not know tasks, chunks or engines.
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
from pipelines.text.first_blank import without_first_blank
from pipelines.text.pieces import SHORT_CHARACTERS, PieceEncoder, separable

# While it encodes, a tokenizer needs some hundred bytes per token, and its time per character grows
# with the text. With a tokenizer whose texts cannot be split without an effect on the ids (see
# `pieces`), a text longer than the first length is counted in segments of the second.
_WHOLE_CHARACTERS, _SEGMENT_CHARACTERS = 2**20, 2**16
_SEGMENT_SEARCH = 2**10
# Maximum error of a token count at the border of two segments.
_BORDER_TOKENS = 4
_MARKER = "PHIFLEETMARKER"


def segments(text: str) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) character offsets of consecutive segments that cover `text`.

    A segment has at most 65,536 characters. Each but the last ends after a newline, if there is one
    in its last 1,024 characters. An empty text has none.
    """
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
    """A model's tokenizer without control tokens, and the model's chat frame.

    `load_tokenizer` creates it. It can be pickled, as a few MB of JSON.

    Attributes:
        tokenizer_json: the tokenizer, without added tokens, in the format of the tokenizers
            library.
        prefix_ids: the token ids of the chat template before the user's message.
        suffix_ids: those after the message, the generation prompt included.
        control_tokens: the strings of the added tokens and of bos, eos and unk, by token id.
        end_id: the id of the control token at which a text ends (eos), None if there is none.
    """

    tokenizer_json: str = field(repr=False)
    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    control_tokens: Mapping[int, str]
    end_id: int | None = None

    @cached_property
    def _plain(self) -> Tokenizer:
        return Tokenizer.from_str(self.tokenizer_json)

    @cached_property
    def _rest(self) -> Tokenizer:
        """The tokenizer that puts no blank before a text, and removes none from one."""
        return Tokenizer.from_str(without_first_blank(self.tokenizer_json))

    @cached_property
    def pieces(self) -> PieceEncoder | None:
        """Return an encoder that splits long texts into pieces without an effect on their ids.

        It saves time and memory. None if the tokenizer's settings do not ensure equal ids (see
        `pieces.separable`); then `encode` and `encode_all` encode texts whole.
        """
        if separable(self.tokenizer_json, self.control_ids):
            return PieceEncoder(self.tokenizer_json)
        return None

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """Return the ids of the control tokens, which no encoded text contains."""
        return frozenset(self.control_tokens)

    def __getstate__(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def encode(self, text: str) -> list[int]:
        """Return the token ids of `text` within a message: no id in `control_ids`, no bos, no eos.

        No blank is put before the text.
        """
        return self.encode_all([text])[0]

    def encode_after(self, ids: Sequence[int], text: str) -> list[int]:
        """Return the token ids of `text` behind `ids`, those of a prompt so far.

        Like `encode`, but behind a control token, or nothing, the text begins with the blank that
        the model's tokenizer puts before a text, if any.
        """
        if ids and ids[-1] not in self.control_ids:
            return self.encode(text)
        border = self.pieces.first_border(text, 1, SHORT_CHARACTERS) if self.pieces else None
        if border is None:
            return self._encode_split(self._plain, text)
        return [*self._encode_split(self._plain, text[:border]), *self.encode(text[border:])]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, as `encode` does, on several threads."""
        if self.pieces:
            return self.pieces.encode_all(texts)
        encodings = self._rest.encode_batch_fast(list(texts), add_special_tokens=False)
        return [
            encoding.ids
            if self.control_ids.isdisjoint(encoding.ids)
            else self._encode_split(self._rest, text)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def count_all(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text.

        With `pieces`, the count is exact, except for a text with 2**20 characters of which any two
        neighbours occur in one token, such as a million blanks. Otherwise it is exact up to 2**20
        characters, and a longer text is counted in segments, which bounds the memory; its count may
        be off by a token or two per 65,536 characters. The other texts are encoded in one call: the
        caller limits how many they are.
        """
        if self.pieces:
            return self.pieces.count_all(texts)
        whole = iter(self.encode_all([text for text in texts if len(text) <= _WHOLE_CHARACTERS]))
        return [
            len(next(whole))
            if len(text) <= _WHOLE_CHARACTERS
            else sum(len(self.encode(text[start:end])) for start, end in segments(text))
            for text in texts
        ]

    def is_longer(self, text: str, max_tokens: int) -> bool:
        """Return True only if `text` certainly has more than `max_tokens` tokens.

        A quick check that saves encoding: it stops reading as soon as that is known, and returns
        False at once for a text of up to 65,536 characters. So False does not mean that the text
        is short enough, except for a text over 2**20 characters. True, and False for such a text,
        agree with `count_all`.
        """
        if len(text) <= _SEGMENT_CHARACTERS:
            # callers encode such a text next anyway, which takes no longer than counting it here
            return False
        counted = 0
        if self.pieces:
            for _, ids in self.pieces.read(text):
                counted += len(ids)
                if counted > max_tokens + _BORDER_TOKENS:
                    return True
            return len(text) > _WHOLE_CHARACTERS and counted > max_tokens
        for number, (start, end) in enumerate(segments(text), 1):
            counted += len(self.encode(text[start:end]))
            if counted > max_tokens + _BORDER_TOKENS * number:
                return True
        return len(text) > _WHOLE_CHARACTERS and counted > max_tokens

    def starts(self, texts: Sequence[str]) -> list[list[int]]:
        """Return, for each text, the character offset at which each of its tokens begins.

        For counting tokens from one offset to another, as chunking does. If a text contains a
        control string or an unknown character, its offsets may be more or fewer than the ids of
        `encode`, which contain no control token.
        """
        encodings = self._rest.encode_batch(list(texts), add_special_tokens=False)
        return [[start for start, _ in encoding.offsets] for encoding in encodings]

    def _encode_split(self, tokenizer: Tokenizer, text: str) -> list[int]:
        """Return the token ids that `tokenizer` gives a text, without control ids.

        A text whose ids contain one is halved until no half contains one. This ends, because a
        control string is longer than one character. A single character without an id of its own
        (unk) is dropped.
        """
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if self.control_ids.isdisjoint(ids):
            return list(ids)
        if len(text) == 1:
            return [token for token in ids if token not in self.control_ids]
        middle = len(text) // 2
        before = self._encode_split(tokenizer, text[:middle])
        return before + self._encode_split(self._rest, text[middle:])

    def decode_output(self, ids: Iterable[int]) -> str:
        """Return the text of the token ids that a model generated, without its control tokens.

        The blank with which many models begin an answer is left out.
        """
        text: str = self._plain.decode([token for token in ids if token not in self.control_ids])
        return text

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids, with control tokens as strings such as `<|end|>`.

        The blank that the tokenizer puts after a control token is left out. For people to read: if
        there are control tokens, encoding the text gives other ids.
        """
        text = ""
        for is_control, run in groupby(ids, key=self.control_ids.__contains__):
            if is_control:
                text += "".join(self.control_tokens[token] for token in run)
            else:
                text += (self._plain if text else self._rest).decode(list(run))
        return text

    def build_prompt(self, *segments: Sequence[int]) -> list[int]:
        """Return the token ids of a prompt: the chat frame around one user message.

        The message is the concatenation of `segments`, each given as token ids.
        """
        prompt = list(self.prefix_ids)
        for segment in segments:
            prompt.extend(segment)
        prompt.extend(self.suffix_ids)
        return prompt

    @property
    def frame_tokens(self) -> int:
        """Return the number of tokens that `build_prompt` adds around the message."""
        return len(self.prefix_ids) + len(self.suffix_ids)


def load_tokenizer(path: Path) -> ChatTokenizer:
    """Load the tokenizer and the chat template from a model's directory.

    Raises ModelError if the model has no fast tokenizer or no usable chat template.
    """
    tokenizer = read_tokenizer(path)
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"model {path}: the directory has no tokenizer.json; set model.name to a model that "
            "has this file (a fast tokenizer)"
        )
    if not tokenizer.chat_template:
        raise ModelError(
            f"model {path}: the tokenizer has no chat template; set model.name to a model that was "
            "trained for chat (an instruct model)"
        )
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": _MARKER}], add_generation_prompt=True, tokenize=False
    )
    before, marker, after = str(rendered).partition(_MARKER)
    if not marker or _MARKER in after:
        raise ModelError(
            f"model {path}: the chat template does not contain the user's message exactly once; "
            "set model.name to a model with an ordinary chat template"
        )
    return ChatTokenizer(
        tokenizer_json=_without_added_tokens(tokenizer.backend_tokenizer.to_str()),
        prefix_ids=tuple(tokenizer.encode(before, add_special_tokens=False)),
        suffix_ids=tuple(tokenizer.encode(after, add_special_tokens=False)),
        control_tokens=_control_tokens(tokenizer),
        end_id=tokenizer.eos_token_id,
    )


def read_tokenizer(path: Path) -> Any:
    """Return the tokenizer of transformers for a model's directory.

    A tokenizer.json is used as it is. The class that the model names, which AutoTokenizer would
    choose, may replace its normalizer: transformers 5 then encodes a text that begins with a blank
    otherwise than the model was trained.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    exact = (path / "tokenizer.json").is_file()
    return (PreTrainedTokenizerFast if exact else AutoTokenizer).from_pretrained(str(path))


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
