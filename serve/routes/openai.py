"""OpenAI's requests and answers, as far as the endpoint takes and gives them, with their bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from serve.engines.chat import prompts_in
from serve.wire import StrictModel, Utf8Str, limit_keys

_MOST_MESSAGES, _MOST_PROMPTS, _MOST_STOPS, _MOST_CHOICES = 1024, 64, 16, 8
_MOST_PARTS, _MOST_METADATA = 256, 16


class TextPart(StrictModel):
    type: Literal["text"]
    text: Utf8Str


_Unused = Annotated[None, Field(default=None, exclude=True)]
_Empty = Annotated[list[Any] | None, Field(default=None, max_length=0, exclude=True)]


class Message(StrictModel):
    """What was said. The message of an answer can be sent back as OpenAI's client has it; of its
    keys those that say nothing here are let in empty, and left out."""

    role: Literal["system", "developer", "user", "assistant"]
    content: (
        Utf8Str
        | Annotated[list[TextPart], Field(min_length=1, max_length=_MOST_PARTS, fail_fast=True)]
    )
    name: Utf8Str | None = None
    refusal: _Unused
    annotations: _Empty
    audio: _Unused
    function_call: _Unused
    tool_calls: _Empty
    reasoning: _Unused
    reasoning_content: _Unused
    # what the client read out of a structured answer's content
    parsed: Annotated[Any, Field(default=None, exclude=True)]

    @field_validator("role")
    @classmethod
    def _as_templates_have_it(cls, role: str) -> str:
        return "system" if role == "developer" else role

    @property
    def characters(self) -> int:
        if isinstance(self.content, str):
            return len(self.content)
        return sum(len(part.text) for part in self.content)


class JsonSchemaFormat(StrictModel):
    name: Utf8Str
    json_schema: dict[str, Any] = Field(alias="schema")
    description: Utf8Str | None = None
    strict: bool | None = None


class ResponseFormat(StrictModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class StreamOptions(StrictModel):
    include_usage: bool | None = None


class Sampled(StrictModel):
    """What OpenAI's chat and text completions share."""

    model: str
    temperature: Annotated[float, Field(ge=0, le=2, strict=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, strict=False)] | None = None
    n: Annotated[int, Field(ge=1, le=_MOST_CHOICES)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: (
        Utf8Str | Annotated[list[Utf8Str], Field(max_length=_MOST_STOPS, fail_fast=True)] | None
    ) = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2, strict=False)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, strict=False)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Utf8Str | None = None

    @property
    def prompts(self) -> int:
        """How many prompts it has."""
        return 1


class ChatRequest(Sampled):
    """OpenAI's chat completion, without tools and pictures."""

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
        list[Message], Field(min_length=1, max_length=_MOST_MESSAGES, fail_fast=True)
    ]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    store: bool | None = None
    metadata: (
        Annotated[
            dict[Utf8Str, Utf8Str], Field(max_length=_MOST_METADATA), BeforeValidator(limit_keys)
        ]
        | None
    ) = None
    service_tier: Utf8Str | None = None

    @property
    def max_answer_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def characters(self) -> int:
        return sum(message.characters for message in self.messages)


Token = Annotated[int, Field(ge=0)]
Ids = Annotated[list[Token], Field(min_length=1, fail_fast=True)]
Prompt = Annotated[str, Field(min_length=1)]


class CompletionRequest(Sampled):
    """OpenAI's text completion. A prompt is text or token ids; text never becomes control."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "tiny", "prompt": "Once upon a time", "max_tokens": 16}]
        }
    )

    prompt: (
        Prompt
        | Ids
        | Annotated[list[Prompt], Field(min_length=1, max_length=_MOST_PROMPTS, fail_fast=True)]
        | Annotated[list[Ids], Field(min_length=1, max_length=_MOST_PROMPTS, fail_fast=True)]
    )
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @property
    def prompts(self) -> int:
        return len(prompts_in(self.prompt))

    @property
    def max_answer_tokens(self) -> int:
        # what OpenAI's endpoint and vLLM's take it to be
        return self.max_tokens or 16

    @property
    def characters(self) -> int:
        return sum(len(each) for each in prompts_in(self.prompt) if isinstance(each, str))


class Completed(BaseModel):
    """OpenAI's answer, as vLLM writes it."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: str
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any]


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "phifleet"
    max_model_len: int


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]
