"""The requests and answers of OpenAI's API, as pydantic models with limits on every list.

Only the keys that the endpoint supports; any other key is an error. Knows no engine.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from serve.engines.chat import prompts_in
from serve.wire import StrictModel, Utf8Str, limit_keys

_MAX_MESSAGES, _MAX_PROMPTS, _MAX_STOPS, _MAX_CHOICES = 1024, 64, 16, 8
_MAX_PARTS, _MAX_METADATA = 256, 16


class TextPart(StrictModel):
    """A part of a message's content. Text is the only type of part that is supported."""

    type: Literal["text"]
    text: Utf8Str


_Unused = Annotated[None, Field(default=None, exclude=True)]
_Empty = Annotated[list[Any] | None, Field(default=None, max_length=0, exclude=True)]


class Message(StrictModel):
    """One message of a chat.

    The message of an answer can be sent back as OpenAI's client returns it: keys that are not
    supported are accepted if they are empty, and not passed on.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: (
        Utf8Str
        | Annotated[list[TextPart], Field(min_length=1, max_length=_MAX_PARTS, fail_fast=True)]
    )
    name: Utf8Str | None = None
    refusal: _Unused
    annotations: _Empty
    audio: _Unused
    function_call: _Unused
    tool_calls: _Empty
    reasoning: _Unused
    reasoning_content: _Unused
    # added by OpenAI's client: the content of a structured answer as an object
    parsed: Annotated[Any, Field(default=None, exclude=True)]

    @field_validator("role")
    @classmethod
    def _role_of_templates(cls, role: str) -> str:
        # chat templates know no `developer`, OpenAI's newer name for `system`
        return "system" if role == "developer" else role

    @property
    def characters(self) -> int:
        """The number of characters of the content, summed over its parts."""
        if isinstance(self.content, str):
            return len(self.content)
        return sum(len(part.text) for part in self.content)


class JsonSchemaFormat(StrictModel):
    """A JSON Schema that an answer must match. `strict` has no effect: the schema always holds."""

    name: Utf8Str
    json_schema: dict[str, Any] = Field(alias="schema")
    description: Utf8Str | None = None
    strict: bool | None = None


class ResponseFormat(StrictModel):
    """The format of an answer: text, any JSON object, or JSON that matches `json_schema`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class StreamOptions(StrictModel):
    """Options of a stream. With `include_usage`, its last event has the token counts."""

    include_usage: bool | None = None


class Sampled(StrictModel):
    """The keys that requests for chat and text completions have in common, as in OpenAI's API.

    `max_tokens` is the maximum length of an answer, `n` the number of answers to each prompt.
    """

    model: str
    temperature: Annotated[float, Field(ge=0, le=2, strict=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, strict=False)] | None = None
    n: Annotated[int, Field(ge=1, le=_MAX_CHOICES)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: (
        Utf8Str | Annotated[list[Utf8Str], Field(max_length=_MAX_STOPS, fail_fast=True)] | None
    ) = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2, strict=False)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, strict=False)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Utf8Str | None = None

    @property
    def prompts(self) -> int:
        """The number of prompts, each of which gets `n` answers."""
        return 1


class ChatRequest(Sampled):
    """A request for a chat completion. Tools and images are not supported."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "tiny",
                    "messages": [{"role": "user", "content": "What is a list?"}],
                    "max_tokens": 32,
                }
            ]
        }
    )

    messages: Annotated[
        list[Message], Field(min_length=1, max_length=_MAX_MESSAGES, fail_fast=True)
    ]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    store: bool | None = None
    metadata: (
        Annotated[
            dict[Utf8Str, Utf8Str], Field(max_length=_MAX_METADATA), BeforeValidator(limit_keys)
        ]
        | None
    ) = None
    service_tier: Utf8Str | None = None

    @property
    def max_answer_tokens(self) -> int | None:
        """The maximum length of an answer in tokens, None if the request sets none."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def characters(self) -> int:
        """The number of characters of the contents of all messages."""
        return sum(message.characters for message in self.messages)


Token = Annotated[int, Field(ge=0)]
"""The id of a token."""
Ids = Annotated[list[Token], Field(min_length=1, fail_fast=True)]
"""A prompt as token ids."""
Prompt = Annotated[str, Field(min_length=1)]
"""A prompt as text."""


class CompletionRequest(Sampled):
    """A request for a text completion of one or several prompts, each text or token ids.

    Text never becomes a control token; token ids are passed on unchanged.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "tiny", "prompt": "Once upon a time", "max_tokens": 16}]
        }
    )

    prompt: (
        Prompt
        | Ids
        | Annotated[list[Prompt], Field(min_length=1, max_length=_MAX_PROMPTS, fail_fast=True)]
        | Annotated[list[Ids], Field(min_length=1, max_length=_MAX_PROMPTS, fail_fast=True)]
    )
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @property
    def prompts(self) -> int:
        """The number of prompts, each of which gets `n` answers."""
        return len(prompts_in(self.prompt))

    @property
    def max_answer_tokens(self) -> int:
        """The maximum length of an answer in tokens: 16 if the request sets none, as at OpenAI."""
        return self.max_tokens or 16

    @property
    def characters(self) -> int:
        """The number of characters of all prompts that are text; token ids do not count."""
        return sum(len(prompt) for prompt in prompts_in(self.prompt) if isinstance(prompt, str))


class Completed(BaseModel):
    """The answer to a request for a chat or text completion. May have further keys of vLLM."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: str
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any]


class ModelCard(BaseModel):
    """The description of a model. `id` is its name in requests.

    `created` is the time of the endpoint's start in seconds since 1970; `max_model_len` the length
    in tokens of the longest prompt with its answer.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "phifleet"
    max_model_len: int


class ModelList(BaseModel):
    """The list of models: the one that the endpoint serves."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
