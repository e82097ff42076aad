"""The routes over a scripted pool: checks of requests, what the pool receives, and responses."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from endpoints import (
    CHAT_BODY,
    CHATS,
    DOCUMENT_BODY,
    DOCUMENTS,
    KEY,
    LIMITS,
    TASKS,
    TEXT_BODY,
    TEXTS,
    ScriptedPool,
    client_of,
    endpoint_of,
    error_of,
    prepared_endpoint,
)  # fmt: skip

from pipelines.errors import SpecError
from pipelines.models.resolve import Model
from pipelines.storage import Storage
from pipelines.tasks.kinds import TaskSet
from serve.engines.chat import CHAT, TEXT
from serve.engines.offer import PreparedEndpoint
from serve.engines.replica import DOCUMENT
from serve.errors import EngineRejected, Overloaded, ReplicasDied
from serve.routes.feedback import FeedbackWriter
from serve.wire import FeedbackRequest, error_json

BODIES: dict[str, dict[str, Any]] = {
    CHATS: CHAT_BODY, TEXTS: TEXT_BODY, DOCUMENTS: DOCUMENT_BODY
}  # fmt: skip
PART = {"type": "text", "text": "a" * 3_000}
ASK = {"name": "a", "kind": "ask", "question": "a" * 5_001}


@pytest.fixture(scope="module")
def prepared(tiny_model: Model) -> PreparedEndpoint:
    assert tiny_model
    return prepared_endpoint(limits=LIMITS)


@pytest.fixture
def pool() -> ScriptedPool:
    return ScriptedPool()


@pytest.fixture
async def client(
    prepared: PreparedEndpoint, pool: ScriptedPool
) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(endpoint_of(prepared, pool)) as client:
        yield client


async def test_a_document_is_sent_to_the_pool_with_its_tasks(
    client: httpx.AsyncClient, pool: ScriptedPool
) -> None:
    own = {"name": "who", "kind": "ask", "question": "Who?"}
    body = {"id": "filing-7", "text": "A text.", "tasks": ["summary", own]}
    response = await client.post(DOCUMENTS, json=body)
    assert response.status_code == 200
    assert response.json() == pool.reply
    (work,) = pool.works
    assert (work.kind, work.request_id, work.text) == (DOCUMENT, "filing-7", "A text.")
    assert [spec.name for spec in work.specs] == ["summary", "who"]


async def test_a_document_without_an_id_gets_one(
    client: httpx.AsyncClient, pool: ScriptedPool
) -> None:
    for _ in range(2):
        await client.post(DOCUMENTS, json=DOCUMENT_BODY)
    names = {work.request_id for work in pool.works}
    assert len(names) == 2
    assert all(name.startswith("doc-") for name in names)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"text": ""}, "text"),
        ({"text": " \n"}, "text: got only white space, must have at least one other"),
        ({"text": 5}, "text"),
        ({"text": None}, "text"),
        ({"tasks": []}, "tasks"),
        ({"tasks": "summary"}, "tasks"),
        ({"tasks": ["nothing"]}, "no task is called 'nothing'"),
        ({"tasks": ["summary", "summary"]}, "twice"),
        ({"tasks": ["summary"] * 4}, "at most 3"),
        ({"tasks": [{"name": "a", "kind": "ask"}]}, "tasks.0.question: missing"),
        ({"tasks": ["summary", {"name": "a", "kind": "ask"}]}, "tasks.1.question: missing"),
        ({"tasks": [{"name": "a", "kind": "sing"}]}, "tasks.0.kind"),
        ({"tasks": [{"name": "a", "kind": "ask", "question": "q", "x": 1}]}, "no such key"),
        ({"tasks": [{"name": "a", "kind": "summarize", "max_words": 300}]}, "at most 300"),
        ({"tasks": [{"name": "a", "kind": "extract", "schema": "file.json"}]}, "a JSON Schema"),
        ({"tasks": [{"name": "a", "kind": "extract", "schema": {"type": 5}}]}, "5"),
        ({"id": ""}, "id"),
        ({"id": "x" * 300}, "id"),
        ({"stream": "yes"}, "stream"),
        ({"more": 1}, "more: no such key, remove it"),
    ],
)  # fmt: skip
async def test_an_invalid_document_request_is_rejected_with_a_message(
    client: httpx.AsyncClient, pool: ScriptedPool, changed: dict[str, Any], message: str
) -> None:
    response = await client.post(DOCUMENTS, json={**DOCUMENT_BODY, **changed})
    assert response.status_code == 422, response.text
    assert message in error_of(response)["message"]
    assert not pool.works


async def test_what_tasks_write_about_parts_is_limited_together(
    prepared: PreparedEndpoint, pool: ScriptedPool
) -> None:
    write = {"name": "german", "kind": "write", "prompt": "Translate it.", "over": "parts"}
    limited = prepared_endpoint(limits={"written_tokens": 1000})
    async with client_of(endpoint_of(limited, pool)) as client:
        body = {**DOCUMENT_BODY, "tasks": [write], "text": "text " * 400}
        assert (await client.post(DOCUMENTS, json=body)).status_code == 200
        for changed in (
            {"text": "text " * 600},
            {"tasks": [write, {**write, "name": "french"}]},
            {"tasks": [{**write, "max_tokens": 1001}]},
        ):
            response = await client.post(DOCUMENTS, json={**body, **changed})
            assert response.status_code == 422, response.text
            message = error_of(response)["message"]
            assert "tokens together, at most 1000 are allowed (limits.written_tokens)" in message
    assert len(pool.works) == 1


async def test_a_text_longer_than_the_limit_of_an_answer_is_not_written(
    client: httpx.AsyncClient, pool: ScriptedPool
) -> None:
    task = {"name": "a", "kind": "write", "prompt": "Write.", "max_tokens": 301}
    for over in ("document", "parts"):
        body = {**DOCUMENT_BODY, "tasks": [{**task, "over": over}]}
        response = await client.post(DOCUMENTS, json=body)
        assert response.status_code == 422
        assert "tasks.a: its answer can have 301 tokens" in error_of(response)["message"]
    assert not pool.works


@pytest.mark.parametrize("depth", [9, 300, 900])
@pytest.mark.parametrize("key", ["fields", "schema"])
async def test_a_form_that_is_nested_too_deep_is_rejected(
    client: httpx.AsyncClient, key: str, depth: int
) -> None:
    nested: Any = "string"
    for _ in range(depth):
        nested = {"a": nested}
    task = {"name": "deep", "kind": "extract", key: nested}
    response = await client.post(DOCUMENTS, json={"text": "A", "tasks": [task]})
    assert response.status_code == 422
    assert "nested deeper than 8" in error_of(response)["message"]


async def test_a_schema_that_expands_to_too_many_places_is_rejected(
    client: httpx.AsyncClient,
) -> None:
    twice = [
        {"type": "object", "properties": {name: {"$ref": f"#/$defs/{at + 1}"} for name in "ab"}}
        for at in range(40)
    ]
    schema = {
        "type": "object",
        "properties": {"all": {"$ref": "#/$defs/0"}},
        "$defs": {str(at): schema for at, schema in enumerate([*twice, {"type": "string"}])},
    }
    task = {"name": "wide", "kind": "extract", "schema": schema}
    response = await client.post(DOCUMENTS, json={"text": "A", "tasks": [task]})
    assert response.status_code == 422
    assert "more than 2000 subschemas" in error_of(response)["message"]


async def test_a_definition_may_have_instructions_examples_and_descriptions(
    client: httpx.AsyncClient, pool: ScriptedPool
) -> None:
    nested: Any = "string"
    answer: Any = "A"
    for _ in range(8):
        nested, answer = {"a": nested}, {"a": answer}
    form = {"name": "deep", "kind": "extract", "fields": nested, "examples": [{"answer": answer}]}
    labels = {"name": "topic", "kind": "classify", "labels": {"risk": "bad", "other": None}}
    ask = {**ASK, "question": "Who?", "instructions": "Briefly.", "examples": [{"answer": "Ann"}]}
    response = await client.post(DOCUMENTS, json={"text": "A", "tasks": [form, labels, ask]})
    assert response.status_code == 200, response.text
    (work,) = pool.works
    assert [spec.instructions for spec in work.specs] == [None, None, "Briefly."]


DEEP: Any = "A"
for _ in range(10):
    DEEP = {"a": DEEP}
FORM = {"name": "f", "kind": "extract", "fields": {"a": "string"}}


@pytest.mark.parametrize(
    ("task", "status", "message"),
    [
        ({**ASK, "question": "q", "instructions": 5}, 422, "tasks.0.instructions: got 5"),
        ({**ASK, "question": "q", "instructions": "a b " * 1100}, 422, "tasks.a: instructions of"),
        ({**ASK, "question": "q", "instructions": "a" * 5001}, 413, "tasks: got"),
        ({**ASK, "question": "q", "examples": [{"answer": "a"}] * 17}, 422, "at most 16 examples"),
        ({**ASK, "question": "q", "examples": [{"answer": "a" * 5001}]}, 413, "tasks: got"),
        (
            {**FORM, "examples": [{"answer": {"a": 5}}]},
            422,
            "tasks.f.examples.0.answer: it does not",
        ),
        ({**FORM, "examples": [{"answer": DEEP}]}, 422, "definition with examples nested deeper"),
        ({**FORM, "examples": [{"answer": {"a": [1] * 1000}}]}, 422, "of more than 1000 parts"),
        ({**FORM, "examples": [{"answer": {"a": "\ud800"}}]}, 422, "a lone surrogate"),
        ({**FORM, "fields": {"a": ["string", "integer"]}}, 422, "tasks.0.fields.a: got"),
    ],
)
async def test_definitions_with_too_many_words_or_wrong_examples_are_rejected(
    client: httpx.AsyncClient, pool: ScriptedPool, task: Any, status: int, message: str
) -> None:
    content = json.dumps({"text": "A", "tasks": [task]})
    headers = {"content-type": "application/json"}
    response = await client.post(DOCUMENTS, content=content, headers=headers)
    assert response.status_code == status, response.text
    assert message in error_of(response)["message"]
    assert not pool.works


async def test_a_request_cannot_replace_the_instructions_of_the_endpoint(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post(DOCUMENTS, json={**DOCUMENT_BODY, "instructions": "Obey."})
    assert response.status_code == 422
    assert "instructions: no such key" in error_of(response)["message"]


def test_an_endpoint_with_instructions_that_are_too_long_does_not_start(tiny_model: Model) -> None:
    assert tiny_model
    for tasks in (TASKS, []):
        with pytest.raises(SpecError, match=r"^instructions: .* must have at most 1024"):
            prepared_endpoint(instructions="a b " * 2000, tasks=tasks)


async def test_a_schema_of_too_many_parts_is_rejected(client: httpx.AsyncClient) -> None:
    schema = {"type": "object", "properties": {f"p{at}": {"type": "string"} for at in range(600)}}
    task = {"name": "wide", "kind": "extract", "schema": schema}
    labels = {"name": "labels", "kind": "classify", "labels": [f"l{at}" for at in range(1000)]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    responses = [
        await client.post(DOCUMENTS, json={"text": "A", "tasks": [task]}),
        await client.post(DOCUMENTS, json={"text": "A", "tasks": [labels]}),
        await client.post(CHATS, json={**CHAT_BODY, "response_format": form}),
    ]
    assert [response.status_code for response in responses] == [422, 422, 400]
    messages = [error_of(response)["message"] for response in responses]
    assert all("of more than 1000 parts" in message for message in messages)


FIELD: dict[str, Any] = {"type": "string"}


def format_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The `response_format` of a chat with this schema."""
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"$ref": "http://127.0.0.1:1/a.json"}, ".a.$ref: 'http://127.0.0.1:1/a.json', must be"),
        ({"$ref": "file:///etc/hostname"}, ".a.$ref: 'file:///etc/hostname', must be"),
        ({"$dynamicRef": "#a"}, ".a.$dynamicRef: got '#a', but $dynamicRef is not supported"),
        ({"$id": "http://127.0.0.1:1/", **FIELD}, ".a.$id: allowed at the root"),
        ({"$anchor": "a", **FIELD}, ".a.$anchor: allowed at the root"),
        ({**FIELD, "pattern": "(a{1,500}){1,500}"}, ".a.pattern: '(a{1,500}){1,500}': has 500500"),
        ({**FIELD, "pattern": r"(a)\1"}, ".a.pattern: "),
        ({**FIELD, "pattern": "("}, ".a.pattern: "),
    ],
)
async def test_a_schema_with_remote_references_or_slow_patterns_never_reaches_the_engine(
    client: httpx.AsyncClient, pool: ScriptedPool, field: dict[str, Any], message: str
) -> None:
    schema = {"type": "object", "properties": {"a": field}}
    task = {"name": "facts", "kind": "extract", "schema": schema}
    documents = await client.post(DOCUMENTS, json={**DOCUMENT_BODY, "tasks": [task]})
    chats = await client.post(CHATS, json={**CHAT_BODY, "response_format": format_of(schema)})
    assert (documents.status_code, chats.status_code) == (422, 400)
    assert f"tasks.facts.schema.properties{message}" in error_of(documents)["message"]
    assert f"response_format.json_schema.schema.properties{message}" in error_of(chats)["message"]
    assert not pool.works


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, ".$defs.a.$ref: "),
        ({"type": "object", "properties": {"a": {"format": []}}}, ".properties.a.format: not a"),
        ({"type": "object", "properties": {"a": {"anyOf": []}}}, ".properties.a.anyOf: not a"),
        ({"type": "object", "properties": {"a": {"enum": []}}}, ".properties.a.enum: empty"),
        ({"properties": {f"p{at}": True for at in range(900)}}, ".properties: 900 optional"),
        ({"enum": ["x" * 2000]}, ".enum.0: 'xxx"),
    ],
)
async def test_an_invalid_format_never_reaches_the_engine(
    client: httpx.AsyncClient, pool: ScriptedPool, schema: dict[str, Any], message: str
) -> None:
    response = await client.post(CHATS, json={**CHAT_BODY, "response_format": format_of(schema)})
    assert response.status_code == 400
    assert f"response_format.json_schema.schema{message}" in error_of(response)["message"]
    assert not pool.works


async def test_a_format_of_too_many_patterns_never_reaches_the_engine(
    client: httpx.AsyncClient, pool: ScriptedPool
) -> None:
    names = {f"p{at}": {**FIELD, "pattern": f"^[a-z]{{1,50}}-{at}$"} for at in range(40)}
    form = format_of({"type": "object", "properties": names})
    response = await client.post(CHATS, json={**CHAT_BODY, "response_format": form})
    assert response.status_code == 400
    assert "at most 1000 are allowed" in error_of(response)["message"]
    assert not pool.works


async def test_a_format_reaches_the_engine_without_the_names_at_its_root(
    client: httpx.AsyncClient, pool: ScriptedPool
) -> None:
    schema = {
        "type": "object",
        "properties": {"$ref": {"$ref": "#/$defs/a"}, "b": {"enum": [{"$ref": "x"}]}},
        "$defs": {"a": {**FIELD, "pattern": r"^\d{4}-\d\d-\d\d$"}},
    }
    named = {"$schema": "http://json-schema.org/draft-07/schema#", "$id": "http://127.0.0.1:1/"}
    form = format_of({**named, **schema})
    response = await client.post(CHATS, json={**CHAT_BODY, "response_format": form})
    assert response.status_code == 200, response.text
    (work,) = pool.works
    assert work.body is not None
    assert work.body["response_format"] == format_of(schema)


@pytest.mark.parametrize("path", [CHATS, TEXTS])
@pytest.mark.parametrize(
    "key", ["structured_outputs", "guided_regex", "guided_json", "guided_grammar", "extra_body"]
)
async def test_vllms_own_keys_for_a_grammar_are_rejected(
    client: httpx.AsyncClient, pool: ScriptedPool, path: str, key: str
) -> None:
    response = await client.post(path, json={**BODIES[path], key: {"regex": "(a?){999}"}})
    assert response.status_code == 422
    assert f"{key}: no such key, remove it" in error_of(response)["message"]
    assert not pool.works


@pytest.mark.parametrize(
    ("path", "changed", "code"),
    [
        (CHATS, {"messages": [{"role": "user", "content": "\ud800"}]}, 422),
        (CHATS, {"messages": [{"role": "user", "content": [
            {"type": "text", "text": "\ud800"}]}]}, 422),
        (CHATS, {"messages": [{"role": "user", "content": "a", "name": "\ud800"}]}, 422),
        (CHATS, {"stop": "\ud800"}, 422),
        (CHATS, {"stop": ["\ud800"]}, 422),
        (CHATS, {"user": "\ud800"}, 422),
        (CHATS, {"metadata": {"\ud800": "a"}}, 422),
        (CHATS, {"response_format": {"type": "json_schema", "json_schema": {
            "name": "a", "schema": {"type": "object", "properties": {"\ud800": {}}}}}}, 400),
        (TEXTS, {"prompt": ["\ud800"]}, 422),
        (DOCUMENTS, {"tasks": [{"name": "a", "kind": "ask", "question": "\ud800"}]}, 422),
        (DOCUMENTS, {"tasks": ["\ud800"]}, 422),
        (DOCUMENTS, {"tasks": [{"name": "a", "kind": "extract", "schema": {
            "type": "object", "properties": {"a": {"type": "string", "description": "\ud800"}}}}]},
         422),
    ],
)  # fmt: skip
async def test_a_lone_surrogate_is_rejected_in_every_key(
    client: httpx.AsyncClient, pool: ScriptedPool, path: str, changed: dict[str, Any], code: int
) -> None:
    headers = {"content-type": "application/json"}
    content = json.dumps({**BODIES[path], **changed})
    response = await client.post(path, content=content, headers=headers)
    assert response.status_code == code, response.text
    assert error_of(response)["message"]
    assert not pool.works


@pytest.mark.parametrize(
    ("path", "changed", "where"),
    [
        (DOCUMENTS, {"text": "a" * 5_001}, "text"),
        (DOCUMENTS, {"tasks": [ASK]}, "tasks"),
        (CHATS, {"messages": [{"role": "user", "content": "a" * 5_001}]}, "messages"),
        (CHATS, {"messages": [{"role": "user", "content": [PART, PART]}]}, "messages"),
        (TEXTS, {"prompt": "a" * 5_001}, "prompt"),
        (TEXTS, {"prompt": ["a" * 3_000] * 2}, "prompt"),
    ],
)
async def test_text_over_the_limit_is_rejected_in_every_key(
    client: httpx.AsyncClient, pool: ScriptedPool, path: str, changed: dict[str, Any], where: str
) -> None:
    response = await client.post(path, json={**BODIES[path], **changed})
    assert response.status_code == 413
    assert error_of(response)["code"] == "text_too_large"
    assert error_of(response)["message"].startswith(f"{where}: ")
    assert not pool.works


async def test_text_far_longer_than_any_prompt_is_rejected_before_it_is_tokenized(
    pool: ScriptedPool, tiny_model: Model
) -> None:
    assert tiny_model
    text = "word " * 40_000
    ask = {**ASK, "question": text}
    async with client_of(endpoint_of(prepared_endpoint(), pool)) as client:
        task = await client.post(DOCUMENTS, json={**DOCUMENT_BODY, "tasks": [ask]})
        prompt = await client.post(TEXTS, json={**TEXT_BODY, "prompt": ["a", text]})
    assert task.status_code == 422
    assert "tasks.a: longer than 4096 tokens" in error_of(task)["message"]
    assert prompt.status_code == 400
    assert error_of(prompt)["code"] == "context_length_exceeded"


class SlowEndpoint(PreparedEndpoint):
    """Takes 4 seconds to make the prompts of a completion."""

    def prompts(self, kind: str, body: Mapping[str, Any]) -> list[list[int]]:
        time.sleep(4)
        return super().prompts(kind, body)


def test_small_tasks_stay_prepared_for_the_next_request(prepared: PreparedEndpoint) -> None:
    def task_set(question: str) -> TaskSet:
        return prepared.tasks(prepared.specs([{**ASK, "question": question}]))

    assert task_set("Who?") is task_set("Who?")
    assert task_set("that " * 1_000) is task_set("that " * 1_000)
    assert task_set("that " * 2_000) is not task_set("that " * 2_000)


async def test_the_deadline_holds_while_a_request_is_prepared(
    prepared: PreparedEndpoint, pool: ScriptedPool
) -> None:
    async with client_of(endpoint_of(SlowEndpoint(prepared.spec), pool)) as client:
        began = time.monotonic()
        response = await client.post(CHATS, json=CHAT_BODY)
        seconds = time.monotonic() - began
    assert response.status_code == 504
    assert seconds < 4
    assert not pool.works


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("raised", "code", "name"),
    [
        (Overloaded(17), 429, "overloaded"),
        (ReplicasDied(), 503, "engine_died"),
        (EngineRejected(400, error_json("m", "t", 400)), 400, 400),
    ],
)  # fmt: skip
async def test_an_error_of_the_pool_becomes_the_response(
    client: httpx.AsyncClient,
    pool: ScriptedPool,
    raised: Exception,
    code: int,
    name: str | int,
    stream: bool,
) -> None:
    pool.reply, pool.events = raised, [raised]
    for path, body in ((DOCUMENTS, DOCUMENT_BODY), (CHATS, CHAT_BODY), (TEXTS, TEXT_BODY)):
        response = await client.post(path, json={**body, "stream": stream})
        assert response.status_code == code
        assert error_of(response)["code"] == name
        if isinstance(raised, Overloaded):
            assert response.headers["retry-after"] == "17"


async def test_a_request_is_cancelled_at_its_deadline(
    client: httpx.AsyncClient, pool: ScriptedPool
) -> None:
    pool.seconds = 30
    began = time.monotonic()
    response = await client.post(DOCUMENTS, json=DOCUMENT_BODY)
    assert response.status_code == 504
    assert pool.cancelled.is_set()
    assert time.monotonic() - began < 10


async def test_a_stream_is_sent_unchanged(client: httpx.AsyncClient, pool: ScriptedPool) -> None:
    response = await client.post(CHATS, json={**CHAT_BODY, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text == "".join(pool.events)


@pytest.mark.parametrize(
    ("event", "code"), [(ReplicasDied(), "engine_died"), ("late", "deadline_exceeded")]
)
async def test_a_stream_that_fails_ends_with_an_error_event(
    client: httpx.AsyncClient, pool: ScriptedPool, event: Any, code: str
) -> None:
    pool.events = ["data: a\n\n", event]
    pool.seconds = 0.0 if isinstance(event, Exception) else 30.0
    response = await client.post(DOCUMENTS, json={**DOCUMENT_BODY, "stream": True})
    last = response.text.strip().splitlines()[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == code
    assert pool.cancelled.is_set()


async def test_prompts_reach_the_pool_as_token_ids(
    client: httpx.AsyncClient, pool: ScriptedPool
) -> None:
    await client.post(CHATS, json={**CHAT_BODY, "max_tokens": 5, "temperature": 0})
    await client.post(TEXTS, json={**TEXT_BODY, "prompt": [[5, 6], [7]]})
    chat, text = pool.works
    assert (chat.kind, text.kind) == (CHAT, TEXT)
    assert text.prompt_ids == ((5, 6), (7,))
    assert len(chat.prompt_ids) == 1
    assert chat.body is not None and chat.body["max_tokens"] == 5


async def test_the_message_of_an_answer_can_be_sent_back_unchanged(
    client: httpx.AsyncClient, pool: ScriptedPool
) -> None:
    nulls = dict.fromkeys(("refusal", "audio", "function_call", "reasoning"))
    unused: dict[str, Any] = {"annotations": [], "tool_calls": [], "parsed": {"yes": True}}
    reply = {"role": "assistant", "content": "Hello.", **nulls, **unused}
    question = [{"role": "user", "content": "Hello"}]
    for answer in (reply, {"role": "assistant", "content": "Hello."}):
        body = {**CHAT_BODY, "messages": [*question, answer, *question]}
        assert (await client.post(CHATS, json=body)).status_code == 200
    whole, bare = pool.works
    assert (whole.prompt_ids, whole.body) == (bare.prompt_ids, bare.body)
    tool_call = {**reply, "tool_calls": [{"id": "a"}]}
    response = await client.post(CHATS, json={**CHAT_BODY, "messages": [tool_call]})
    assert response.status_code == 422


async def test_the_role_developer_is_read_as_system(
    client: httpx.AsyncClient, pool: ScriptedPool
) -> None:
    for role in ("system", "developer"):
        messages = [{"role": role, "content": "Be brief."}, *CHAT_BODY["messages"]]
        assert (await client.post(CHATS, json={**CHAT_BODY, "messages": messages})).is_success
    assert pool.works[0].prompt_ids == pool.works[1].prompt_ids


@pytest.mark.parametrize(("n", "tokens"), [(None, 300), (8, 37)])
async def test_an_answer_without_max_tokens_has_the_endpoints_limit(
    client: httpx.AsyncClient, pool: ScriptedPool, n: int | None, tokens: int
) -> None:
    await client.post(CHATS, json={**CHAT_BODY, "n": n})
    (work,) = pool.works
    assert work.body is not None and work.body["max_tokens"] == tokens


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (
            CHATS,
            {**CHAT_BODY, "n": 4, "max_tokens": 76},
            "76 tokens for each of 4 answers is more than the 300 that",
        ),
        (
            TEXTS,
            {**TEXT_BODY, "prompt": ["a"] * 19},
            "16 tokens for each of 19 answers is more than the 300 that",
        ),
        (TEXTS, {**TEXT_BODY, "prompt": [[5]] * 10, "n": 2}, "for each of 20 answers"),
    ],
)
async def test_all_answers_of_a_request_are_counted(
    client: httpx.AsyncClient, pool: ScriptedPool, path: str, body: dict[str, Any], message: str
) -> None:
    response = await client.post(path, json=body)
    assert response.status_code == 400
    assert message in error_of(response)["message"]
    assert not pool.works


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (json.dumps(DOCUMENT_BODY), "application/x-www-form-urlencoded"),
        ("[]", "application/json"),
        ("", "application/json"),
    ],
)
async def test_a_body_that_is_not_an_object_is_rejected_with_what_to_send(
    client: httpx.AsyncClient, content: str, kind: str
) -> None:
    response = await client.post(DOCUMENTS, content=content, headers={"content-type": kind})
    assert response.status_code == 422
    assert error_of(response)["message"] == (
        "The body is not a JSON object. Send an object, with the header content-type: "
        "application/json."
    )


async def test_a_body_of_too_many_keys_is_rejected(client: httpx.AsyncClient) -> None:
    response = await client.post(DOCUMENTS, json={str(number): 1 for number in range(1000)})
    assert response.status_code == 422
    assert "an object of 1000 keys" in error_of(response)["message"]


@pytest.mark.parametrize(
    ("path", "body", "code", "name"),
    [
        (CHATS, {**CHAT_BODY, "model": "gpt-4"}, 404, "model_not_found"),
        (TEXTS, {**TEXT_BODY, "model": "gpt-4"}, 404, "model_not_found"),
        (TEXTS, {**TEXT_BODY, "prompt": [5] * 4096}, 400, "context_length_exceeded"),
        (CHATS, {**CHAT_BODY, "max_tokens": 301}, 400, "invalid_value"),
        (CHATS, {**CHAT_BODY, "tools": []}, 422, "invalid_request"),
        (CHATS, {**CHAT_BODY, "temperature": 3}, 422, "invalid_request"),
        (CHATS, {**CHAT_BODY, "messages": []}, 422, "invalid_request"),
        (CHATS, {**CHAT_BODY, "n": 1000}, 422, "invalid_request"),
        (TEXTS, {**TEXT_BODY, "prompt": ""}, 422, "invalid_request"),
        (TEXTS, {**TEXT_BODY, "prompt": [-1]}, 422, "invalid_request"),
    ],
)  # fmt: skip
async def test_an_invalid_completion_is_rejected_with_its_code(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], code: int, name: str
) -> None:
    response = await client.post(path, json=body)
    assert response.status_code == code, response.text
    assert error_of(response)["code"] == name


async def test_models_and_tasks_are_listed(client: httpx.AsyncClient) -> None:
    (model,) = (await client.get("/v1/models")).json()["data"]
    assert model["id"] == "tiny-random"
    assert (await client.get("/v1/models/tiny-random")).json() == model
    assert (await client.get("/v1/models/other")).status_code == 404
    listed = (await client.get("/v1/tasks")).json()["tasks"]
    assert [task["name"] for task in listed] == [task["name"] for task in TASKS]


async def test_unknown_routes_and_methods_are_errors_of_the_same_shape(
    client: httpx.AsyncClient,
) -> None:
    for response in (await client.get("/v1/nothing"), await client.get(DOCUMENTS)):
        assert response.status_code in (404, 405)
        assert error_of(response)["message"]


async def test_feedback_is_stored_before_it_is_acknowledged(
    prepared: PreparedEndpoint, pool: ScriptedPool, tmp_path: Path
) -> None:
    writer = FeedbackWriter(Storage(str(tmp_path)))
    body = {"answer": "filing-7", "task": "who", "verdict": "wrong", "correction": {"a": [1]}}
    async with client_of(endpoint_of(prepared, pool, writer)) as client:
        ids = [(await client.post("/v1/feedback", json=body)).json()["id"] for _ in range(3)]
    rows = [row for file in tmp_path.glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    assert sorted(row["id"] for row in rows) == sorted(ids)
    assert rows[0]["correction"] == '{"a": [1]}'
    assert rows[0]["key"] == "test"


class StalledWriter(FeedbackWriter):
    """Never stores anything in time."""

    async def write(self, feedback: FeedbackRequest, key: str) -> str:
        await asyncio.sleep(60)
        return ""


async def test_feedback_that_is_not_stored_in_time_is_an_error(
    prepared: PreparedEndpoint, pool: ScriptedPool, tmp_path: Path
) -> None:
    async with client_of(
        endpoint_of(prepared, pool, StalledWriter(Storage(str(tmp_path))))
    ) as client:
        began = time.monotonic()
        response = await client.post("/v1/feedback", json={"answer": "a", "verdict": "right"})
    assert response.status_code == 503
    assert error_of(response)["code"] == "storage"
    assert time.monotonic() - began < 10


async def test_feedback_with_a_lone_surrogate_is_rejected(
    prepared: PreparedEndpoint, pool: ScriptedPool, tmp_path: Path
) -> None:
    body = b'{"answer": "a", "verdict": "right", "text": "\\ud800"}'
    headers = {"content-type": "application/json"}
    writer = FeedbackWriter(Storage(str(tmp_path)))
    async with client_of(endpoint_of(prepared, pool, writer)) as client:
        response = await client.post("/v1/feedback", content=body, headers=headers)
    assert response.status_code == 422
    assert error_of(response)["param"] == "text"


async def test_feedback_with_text_over_the_limit_is_rejected(
    prepared: PreparedEndpoint, pool: ScriptedPool, tmp_path: Path
) -> None:
    body = {"answer": "a", "verdict": "right", "text": "a" * 5_001}
    writer = FeedbackWriter(Storage(str(tmp_path)))
    async with client_of(endpoint_of(prepared, pool, writer)) as client:
        response = await client.post("/v1/feedback", json=body)
    assert response.status_code == 413
    assert not list(tmp_path.iterdir())


async def test_feedback_is_not_found_without_a_path_to_store_it(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/feedback", json={"answer": "a", "verdict": "right"})
    assert response.status_code == 404


async def test_an_unexpected_error_reveals_nothing_of_the_request(
    client: httpx.AsyncClient, pool: ScriptedPool, caplog: pytest.LogCaptureFixture
) -> None:
    pool.reply = ZeroDivisionError("division")
    response = await client.post(DOCUMENTS, json={**DOCUMENT_BODY, "text": "A secret text."})
    assert response.status_code == 500
    assert error_of(response)["message"] == (
        "Internal error. Send the request again; if it fails again, ask the endpoint's operator: "
        "its log has the details."
    )
    assert "secret" not in caplog.text
    assert KEY not in caplog.text


async def test_the_first_token_is_timed_if_the_first_event_has_one(
    prepared: PreparedEndpoint, pool: ScriptedPool
) -> None:
    seconds: list[float] = []
    base = endpoint_of(prepared, pool)
    async with client_of(replace(base, first_token=seconds.append)) as client:
        await client.post(DOCUMENTS, json={**DOCUMENT_BODY, "stream": True})
        assert not seconds
        await client.post(CHATS, json={**CHAT_BODY, "stream": True})
    assert len(seconds) == 1


async def test_the_openapi_document_describes_tasks_and_the_key(client: httpx.AsyncClient) -> None:
    schema: dict[str, Any] = (await client.get("/openapi.json")).json()
    text = json.dumps(schema)
    names = set(schema["components"]["schemas"])
    assert {"AskTask", "ExtractTask", "Task", "Error"} <= names
    used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used <= names
    assert schema["security"] == [{"key": []}]
    documents = schema["paths"][DOCUMENTS]["post"]
    assert {"200", "401", "413", "422", "429", "503", "504"} <= set(documents["responses"])


async def test_all_faults_of_all_schemas_of_a_request_are_reported_at_once(
    client: httpx.AsyncClient, pool: ScriptedPool
) -> None:
    schemas = [{"a": {}, "b": {"type": "array"}}, {"c": {"type": "string", "format": "phone"}}]
    tasks = [
        {"name": f"t{at}", "kind": "extract", "schema": {"type": "object", "properties": schema}}
        for at, schema in enumerate(schemas)
    ]
    response = await client.post(DOCUMENTS, json={"text": "A", "tasks": tasks})
    assert response.status_code == 422
    message = error_of(response)["message"]
    for path in ("t0.schema.properties.a.type", "t0.schema.properties.b.items",
                 "t1.schema.properties.c.format"):  # fmt: skip
        assert f"tasks.{path}: " in message
    assert not pool.works
