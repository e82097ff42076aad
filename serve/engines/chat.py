"""OpenAI's prompts as token ids: chats in the model's own chat template, and bare texts.

The template is rendered around a marker for each message, and what a message says is tokenized as
text: no message can hold a control token. Knows no HTTP and no engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import RequestRejected
from pipelines.text.tokens import ChatTokenizer

CHAT, TEXT = "chat", "text"
_MARK = "PHIFLEETMESSAGE{}END"
_MARKED = re.compile(r"PHIFLEETMESSAGE(\d+)END")


class ChatTemplate:
    """A model's chat template, from its directory."""

    def __init__(self, path: Path, tokens: ChatTokenizer) -> None:
        from transformers import AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(str(path))
        self.tokenizer = tokens

    def ids(self, messages: Sequence[Mapping[str, Any]], most_tokens: int) -> list[int]:
        """The ids of a conversation, to be answered next. Raises RequestRejected, also where they
        are far more than `most_tokens`, and then reads no further than it takes to know."""
        said = [text_of(message) for message in messages]
        marked = [
            {"role": message["role"], "content": _MARK.format(at)}
            for at, message in enumerate(messages)
        ]
        try:
            rendered = self._tokenizer.apply_chat_template(
                marked, add_generation_prompt=True, tokenize=False
            )
        except Exception as error:
            # whatever the template's own code refuses
            raise RequestRejected(f"messages: the model's chat template: {error}") from error
        pieces = _MARKED.split(str(rendered))
        shown = [int(number) for number in pieces[1::2]]
        if sorted(shown) != list(range(len(messages))):
            raise RequestRejected("messages: the model's chat template does not show each once")
        ids = self._frame(pieces[0])
        for number, frame in zip(shown, pieces[2::2], strict=True):
            ids += [*self.text_ids(said[number], most_tokens - len(ids)), *self._frame(frame)]
        return ids

    def text_ids(self, text: str, most_tokens: int) -> list[int]:
        """The ids of a text. Raises RequestRejected where they are far more than `most_tokens`."""
        if most_tokens < 0 or self.tokenizer.is_longer(text, most_tokens):
            raise RequestRejected("The prompt is longer than this model's maximum context length.")
        return self.tokenizer.encode(text)

    def _frame(self, piece: str) -> list[int]:
        return list(self._tokenizer.encode(piece, add_special_tokens=False)) if piece else []


def text_of(message: Mapping[str, Any]) -> str:
    """What a message says: its content, or the texts of its parts. Raises RequestRejected."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    if not parts or any(part.get("type") != "text" for part in parts):
        raise RequestRejected("messages: content must be text, or a list of parts of type text")
    return "".join(str(part.get("text", "")) for part in parts)


def prompt_ids_of(
    kind: str, body: Mapping[str, Any], frame: ChatTemplate, most_tokens: int
) -> list[list[int]]:
    """The prompts of a request: a chat is one, a completion may be of several. Raises
    RequestRejected, also where one is far longer than `most_tokens`."""
    if kind == CHAT:
        return [frame.ids(body["messages"], most_tokens)]
    return [
        frame.text_ids(each, most_tokens) if isinstance(each, str) else each
        for each in prompts_in(body["prompt"])
    ]


def prompts_in(prompt: Any) -> Sequence[Any]:
    """The texts, or ids, of a completion's `prompt`, which may be one of them or a list."""
    several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return prompt if several else [prompt]
