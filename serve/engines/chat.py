"""Tokenizing the prompts of OpenAI's API: chats with the model's chat template, and plain texts.

The template is rendered with a marker in place of each message. Only the text between the markers
may contain control tokens; the messages are tokenized as plain text, so that a client cannot send a
control token. This module knows no HTTP and no engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import RequestRejected
from pipelines.text.tokens import ChatTokenizer

CHAT, TEXT = "chat", "text"
"""The kinds of completion requests: a chat of messages, and a text with one or more prompts."""
_MARKER = "PHIFLEETMESSAGE{}END"
_MARKER_PATTERN = re.compile(r"PHIFLEETMESSAGE(\d+)END")


class ChatTemplate:
    """The chat template of a model, which turns a conversation into token ids."""

    def __init__(self, path: Path, tokenizer: ChatTokenizer) -> None:
        """Load the template from the model's directory. `tokenizer` tokenizes the messages."""
        from transformers import AutoTokenizer

        self._template_tokenizer: Any = AutoTokenizer.from_pretrained(str(path))
        self.tokenizer = tokenizer

    def prompt_ids(self, messages: Sequence[Mapping[str, Any]], max_tokens: int) -> list[int]:
        """Return the token ids of a conversation, up to where the assistant's answer begins.

        `messages` have `role` and `content`, as in OpenAI's API. Raises RequestRejected if the
        template rejects them or if a content is not text. It may also raise it if the prompt has
        more than `max_tokens` tokens; a prompt that is much longer is not tokenized completely.
        """
        texts = [message_text(message) for message in messages]
        marked = [
            {"role": message["role"], "content": _MARKER.format(index)}
            for index, message in enumerate(messages)
        ]
        try:
            rendered = self._template_tokenizer.apply_chat_template(
                marked, add_generation_prompt=True, tokenize=False
            )
        except Exception as error:
            # the template is code of the model, and raises errors of any type
            raise RequestRejected(
                f"messages: the model's chat template rejects them: {error}"
            ) from error
        pieces = _MARKER_PATTERN.split(str(rendered))
        order = [int(number) for number in pieces[1::2]]
        if sorted(order) != list(range(len(messages))):
            raise RequestRejected(
                "messages: the model's chat template leaves out or repeats a message; use only "
                "roles that it supports"
            )
        ids = self._control_ids(pieces[0])
        for number, piece in zip(order, pieces[2::2], strict=True):
            ids += self.text_ids(texts[number], max_tokens - len(ids))
            ids += self._control_ids(piece)
        return ids

    def text_ids(self, text: str, max_tokens: int) -> list[int]:
        """Return the token ids of a text without control tokens. Raises RequestRejected if there
        are far more than `max_tokens`, before all of a very long text is tokenized."""
        if max_tokens < 0 or self.tokenizer.is_longer(text, max_tokens):
            raise RequestRejected("The prompt is longer than this model's maximum context length.")
        return self.tokenizer.encode(text)

    def _control_ids(self, piece: str) -> list[int]:
        """Return the ids of a piece of the template, in which control tokens are recognised."""
        if not piece:
            return []
        return list(self._template_tokenizer.encode(piece, add_special_tokens=False))


def message_text(message: Mapping[str, Any]) -> str:
    """Return the text of a message of OpenAI's API: its content, or the joined texts of its parts.

    Raises RequestRejected if it has parts of another type, such as images.
    """
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    if not parts or any(part.get("type") != "text" for part in parts):
        raise RequestRejected("messages: content must be text, or a list of parts of type text")
    return "".join(str(part.get("text", "")) for part in parts)


def prompt_ids_of(
    kind: str, body: Mapping[str, Any], template: ChatTemplate, max_tokens: int
) -> list[list[int]]:
    """Return the token ids of each prompt of a request: one of a chat, one or more of a text.

    `kind` is CHAT or TEXT, `body` is OpenAI's request. Prompts that are token ids already are
    returned as they are. Raises RequestRejected as `ChatTemplate.prompt_ids` and `text_ids`.
    """
    if kind == CHAT:
        return [template.prompt_ids(body["messages"], max_tokens)]
    return [
        template.text_ids(prompt, max_tokens) if isinstance(prompt, str) else prompt
        for prompt in prompts_in(body["prompt"])
    ]


def prompts_in(prompt: Any) -> Sequence[Any]:
    """Return the prompts in the key `prompt` of a text completion, as a list.

    `prompt` is a text, a list of token ids, or a list of either.
    """
    is_list_of_prompts = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return prompt if is_list_of_prompts else [prompt]
