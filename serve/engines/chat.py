"""Tokenizing the prompts of OpenAI's API: chats with the model's chat template, and plain texts.

The template is rendered with a marker in place of each message. Only the text between the markers
may contain control tokens; the messages are tokenized as plain text, so that a client cannot send a
control token. This module knows no HTTP and no engine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import RequestRejected
from pipelines.text.tokens import ChatTokenizer, read_tokenizer

CHAT, TEXT = "chat", "text"
"""The kinds of completion requests: a chat of messages, and a text with one or more prompts."""
_MARKER = "PHIFLEETMESSAGE{}END"
_MARKER_PATTERN = re.compile(r"PHIFLEETMESSAGE(\d+)END")


class ChatTemplate:
    """The chat template of a model, which turns a conversation into token ids."""

    def __init__(self, path: Path, tokenizer: ChatTokenizer) -> None:
        """Load the template from the model's directory `path`; `tokenizer` is the same model's."""
        self._template_tokenizer: Any = read_tokenizer(path)
        self.tokenizer = tokenizer

    def prompt_ids(self, messages: Sequence[Mapping[str, Any]], max_tokens: int) -> list[int]:
        """Return the token ids of a conversation, up to where the assistant's answer begins.

        `messages` have `role` and `content`, as in OpenAI's API. Raises RequestRejected if the
        template rejects the messages, if a content is not text, or if a message is far longer than
        `max_tokens` tokens allow, before it is tokenized. A prompt that is only a little longer is
        returned: the caller checks its length.
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
                f"messages: the model's chat template rejects them: {error}. Send roles that it "
                "supports, in an order that it accepts, such as user and assistant in turn"
            ) from error
        pieces = _MARKER_PATTERN.split(str(rendered))
        order = [int(number) for number in pieces[1::2]]
        if sorted(order) != list(range(len(messages))):
            counts = Counter(order)
            wrong = [index for index in range(len(messages)) if counts[index] != 1]
            where = f"messages.{wrong[0]}" if wrong else "messages"
            raise RequestRejected(
                f"{where}: the model's chat template leaves out or repeats a message; send only "
                "roles that it supports, such as user and assistant"
            )
        ids = self._control_ids(pieces[0])
        for number, piece in zip(order, pieces[2::2], strict=True):
            ids += self.text_ids(texts[number], max_tokens, before=ids)
            ids += self._control_ids(piece)
        return ids

    def text_ids(self, text: str, max_tokens: int, *, before: Sequence[int] = ()) -> list[int]:
        """Return the token ids of a text; control tokens in it are encoded as plain text.

        `before` are the token ids of the prompt before the text, which are not returned. Raises
        RequestRejected if these and the text's are certainly more than `max_tokens`, before all of
        a very long text is tokenized. A text that is only a little longer may be returned.
        """
        used = len(before)
        if used > max_tokens or self.tokenizer.is_longer(text, max_tokens - used):
            raise RequestRejected(
                f"This model's maximum context length is {max_tokens} tokens, and the prompt alone "
                "is longer. Please shorten the prompt, so that the answer fits too."
            )
        return self.tokenizer.encode_after(before, text)

    def _control_ids(self, piece: str) -> list[int]:
        """Return the ids of a piece of the template, in which control tokens are recognised."""
        if not piece:
            return []
        return list(self._template_tokenizer.encode(piece, add_special_tokens=False))


def message_text(message: Mapping[str, Any]) -> str:
    """Return the text of a message of OpenAI's API: its content, or the joined texts of its parts.

    Raises RequestRejected if it has no content, or parts of another type, such as images.
    """
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    if not parts or any(part.get("type") != "text" for part in parts):
        raise RequestRejected(
            "messages: a content is neither text nor a list of parts of type text; send text only"
        )
    return "".join(str(part.get("text", "")) for part in parts)


def prompt_ids_of(
    kind: str, body: Mapping[str, Any], template: ChatTemplate, max_tokens: int
) -> list[list[int]]:
    """Return the token ids of each prompt of a request: one for a chat, one or more for a text.

    `kind` is CHAT or TEXT, `body` is OpenAI's request. A prompt that is a list of token ids is
    returned unchanged, whatever its length. Raises RequestRejected as `ChatTemplate.prompt_ids` and
    `text_ids`, for which `max_tokens` is the limit of one prompt.
    """
    if kind == CHAT:
        return [template.prompt_ids(body["messages"], max_tokens)]
    return [
        template.text_ids(prompt, max_tokens) if isinstance(prompt, str) else prompt
        for prompt in prompts_in(body["prompt"])
    ]


def prompts_in(prompt: Any) -> Sequence[Any]:
    """Return the prompts of a text completion, of which `prompt` is the key's value, as a list.

    `prompt` is one prompt or a list of prompts. Each prompt is a text or a list of token ids.
    """
    is_list_of_prompts = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return prompt if is_list_of_prompts else [prompt]
