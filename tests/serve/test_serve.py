"""Tests of a running endpoint: Ray Serve, a real engine, HAProxy, and OpenAI's client."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from proxied import (
    SLOW_CONNECTIONS,
    handshake,
    held_open,
    is_answered,
    reply,
    status,
    still_open,
    wait_for,
)
from pydantic import BaseModel
from served import REPORT, Served, start, stop

from pipelines.text.prompts import END_OF_DOCUMENT, INSTRUCTION
from serve.access.keys import key_line, new_key
from serve.events import read_events

_MAX_CHARACTERS_PER_TOKEN = 4


class YesOrNo(BaseModel):
    yes: bool


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    endpoint = start(tmp_path_factory.mktemp("serve"))
    yield endpoint
    assert stop(endpoint) == 0


def chat(client: openai.OpenAI, content: str, **options: Any) -> Any:
    messages: Any = [{"role": "user", "content": content}]
    options = {"temperature": 0, "max_tokens": 12, **options}
    return client.chat.completions.create(model="tiny", messages=messages, **options)


def test_the_endpoint_is_ready_when_its_engine_runs(served: Served) -> None:
    assert httpx.get(f"{served.url}/readyz").json() == {"status": "ready"}


def test_a_document_is_answered_with_verified_quotes(served: Served) -> None:
    body = {"id": "r1", "text": REPORT, "tasks": ["auditor", "facts"]}
    answers = served.post("/v1/documents", body).json()["answers"]
    assert answers["auditor"]["text"] == "Smith Sons"
    (quote,) = answers["auditor"]["_evidence"]
    assert quote["status"] == "shown"
    assert REPORT[quote["start"] : quote["end"]] == "auditor: Smith Sons"
    assert answers["facts"]["revenue"] == 12.5


def test_a_streamed_document_ends_with_the_same_answers(served: Served) -> None:
    body = {"id": "r1", "text": REPORT, "tasks": ["auditor"]}
    whole = served.post("/v1/documents", body).json()
    streamed = served.post("/v1/documents", {**body, "stream": True})
    events = read_events(streamed.text)
    assert [name for name, _ in events] == ["progress", "answer", "done"]
    done = events[-1][1]
    assert done["answers"]["auditor"]["text"] == whole["answers"]["auditor"]["text"]


def test_a_document_of_300_000_characters_is_read_in_chunks(served: Served) -> None:
    text = "The harbour was calm and the ships lay still.\n" * 3250 + REPORT
    text += "\nThe harbour was calm and the ships lay still." * 3250
    body = {"text": text, "tasks": ["auditor"], "stream": True}
    events = read_events(served.post("/v1/documents", body).text)
    answer = events[-1][1]["answers"]["auditor"]
    assert answer["_answer"]["strategy"] == "map_reduce"
    assert answer["_answer"]["chunks"] > 50
    assert answer["text"].startswith("Smith Sons")
    assert sum(name == "part" for name, _ in events) == answer["_answer"]["chunks"]


def test_openais_client_chats(served: Served) -> None:
    client = served.client()
    whole = chat(client, "Hello")
    assert whole.usage.completion_tokens <= 12
    streamed = chat(client, "Hello", stream=True, stream_options={"include_usage": True})
    pieces = list(streamed)
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == whole.choices[0].message.content
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_openais_client_gets_structured_output(served: Served) -> None:
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    answer = chat(served.client(), "Yes or no?", response_format=form)
    assert set(json.loads(answer.choices[0].message.content)) == {"yes"}


def test_log_probabilities_show_control_tokens(served: Served) -> None:
    question = "Question: Sum this up in at most 9 words.\n"
    prompt = f"{INSTRUCTION}owner: Useful Tab{END_OF_DOCUMENT}{question}"
    answer = chat(served.client(), prompt, logprobs=True, top_logprobs=20, max_tokens=64)
    last = answer.choices[0].logprobs.content[-1]
    assert [last.token, *(entry.token for entry in last.top_logprobs)].count("<|end|>") == 2


def test_a_request_with_a_seed_is_answered_in_several_steps(served: Served) -> None:
    answer = chat(served.client(), "word " * 3000, seed=7, temperature=1)
    assert answer.usage.prompt_tokens > 3000 and answer.choices


# OpenAI's client warns of the message that it parsed itself
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_openais_client_continues_a_chat(served: Served) -> None:
    client = served.client()
    messages: list[Any] = [{"role": "developer", "content": "Be brief."}]
    for text in ("Hello", "And then?"):
        messages.append({"role": "user", "content": text})
        answer = client.chat.completions.create(model="tiny", messages=messages, max_tokens=4)
        messages.append(answer.choices[0].message)
    parsed = client.chat.completions.parse(
        model="tiny", messages=messages, max_tokens=16, response_format=YesOrNo
    )
    messages += [parsed.choices[0].message, {"role": "user", "content": "Sure?"}]
    assert client.chat.completions.create(model="tiny", messages=messages, max_tokens=4).choices


def test_openais_client_completes_texts_and_lists_models(served: Served) -> None:
    client = served.client()
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    whole = client.completions.create(model="tiny", prompt=["a", "b"], max_tokens=3, temperature=0)
    assert len(whole.choices) == 2
    streamed = client.completions.create(
        model="tiny", prompt="a", max_tokens=3, temperature=0, stream=True
    )
    assert "".join(piece.choices[0].text for piece in streamed) == whole.choices[0].text


def test_openais_client_gets_openais_errors(served: Served) -> None:
    with pytest.raises(openai.AuthenticationError):
        chat(served.client("pf-wrong"), "Hello")
    with pytest.raises(openai.NotFoundError):
        served.client().completions.create(model="gpt-4", prompt="a")
    with pytest.raises(openai.BadRequestError) as too_long:
        chat(served.client(), "word " * 5000)
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.UnprocessableEntityError):
        chat(served.client(), "Hello", n=100)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "sausage"},
        {"type": "string", "pattern": r"^\p{L}$"},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    ],
)
def test_a_schema_that_the_engine_cannot_decode_is_rejected(
    served: Served, schema: dict[str, Any], stream: bool
) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    with pytest.raises(openai.BadRequestError):
        chat(served.client(), "Hello", response_format=form, stream=stream)
    assert chat(served.client(), "Hello")


def test_a_key_has_a_quota_and_can_be_revoked_while_the_endpoint_runs(served: Served) -> None:
    before, key = served.keys.read_text(), new_key()
    line = key_line("guest", key).replace("}", ", requests_per_minute: 2}")
    served.keys.write_text(f"{before}{line}\n")
    time.sleep(2.5)
    guest = served.client(key)
    for _ in range(2):
        assert guest.models.list()
    with pytest.raises(openai.RateLimitError) as limited:
        guest.models.list()
    assert int(limited.value.response.headers["retry-after"]) > 0
    served.keys.write_text(before)
    time.sleep(2.5)
    with pytest.raises(openai.AuthenticationError):
        guest.models.list()
    assert served.client().models.list()


def test_requests_and_documents_are_counted_in_prometheus_metrics(served: Served) -> None:
    body = {"text": f"{REPORT}\nA report that is read twice.", "tasks": ["auditor", "facts"]}
    for _ in range(2):
        assert served.post("/v1/documents", body).status_code == 200
    assert list(chat(served.client(), "Hello", stream=True))
    pool = {"app": "tested", "pool": "short"}
    minimums: list[tuple[str, dict[str, str], float]] = [
        ("http_requests_total", {"app": "tested", "route": "/v1/documents", "code": "200"}, 2),
        ("http_requests_total", {"app": "tested", "route": "/v1/chat/completions"}, 1),
        ("http_request_seconds_count", {"app": "tested", "route": "/v1/documents"}, 2),
        ("time_to_first_token_seconds_count", {"app": "tested"}, 1),
        ("documents_total", {**pool, "status": "answered"}, 2),
        ("document_seconds_count", pool, 2),
        ("prompt_tokens_total", pool, 100),
        ("cached_prompt_tokens_total", pool, 32),
        ("output_tokens_total", pool, 10),
    ]

    def missing() -> list[str]:
        return [
            f"{name} {labels}"
            for name, labels, minimum in minimums
            if served.measured(f"ray_phifleet_{name}", **labels) < minimum
        ]

    # Ray updates them every few seconds
    until = time.monotonic() + 90
    while missing() and time.monotonic() < until:
        time.sleep(2)
    assert not missing()
    text = httpx.get(served.metrics, timeout=30).text
    assert "ray_phifleet_kv_tokens_in_flight{" in text
    assert "ray_vllm" in text
    assert "read twice" not in text


def test_a_disconnect_stops_the_engines_work(served: Served) -> None:
    # all passages differ, so that none is in the prefix cache
    text = "".join(f"{n} ships lay still in the harbour, which was calm.\n" for n in range(30_000))
    body = {"text": text, "tasks": ["auditor"], "stream": True}
    headers = {"authorization": f"Bearer {served.key}"}
    url = f"{served.url}/v1/documents"
    read_before = _settled(served)
    assert read_before > 0
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as response:
        assert next(response.iter_text())
    assert _settled(served) - read_before < len(text) / _MAX_CHARACTERS_PER_TOKEN / 2
    assert chat(served.client(), "Hello")


def _settled(served: Served) -> float:
    """Wait until the engine reads no more prompt tokens; return the number that it has read."""
    read = -1.0
    while (now := served.measured("ray_vllm_prompt_tokens_total")) != read:
        read = now
        # Ray updates them every few seconds
        time.sleep(12)
    return read


def test_a_port_in_use_is_an_error(served: Served) -> None:
    port = served.url.rpartition(":")[2]
    command = [sys.executable, "-m", "jobs.cli", "serve", "--set", f"http.port={port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert f"http: cannot listen at 127.0.0.1, port {port}: Address already in use" in done.stderr


def test_errors_of_a_front_are_in_the_announced_log(served: Served) -> None:
    before = served.keys.read_text()
    served.keys.write_text("keys: [alice]\n")
    time.sleep(2.5)
    assert served.client().models.list()
    served.keys.write_text(before)
    screen = (served.keys.parent / "log").read_text()
    log_path = re.search(r"the log is (\S+)", screen)
    assert log_path is not None, screen
    until = time.monotonic() + 30
    while "keys.yaml: cannot read the changed file of keys" not in (
        log := Path(log_path[1]).read_text()
    ):
        assert time.monotonic() < until, log
        time.sleep(1)


def test_clients_that_send_half_a_header_lock_no_client_out(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    with held_open(port, SLOW_CONNECTIONS) as slow:
        assert is_answered(port, "127.0.0.2")
        assert is_answered(port, "127.0.0.2", "/v1/models", served.key)
        # nor a client of the same source, after the header timeout
        wait_for(lambda: is_answered(port, path="/v1/models", key=served.key), "the same source")
        # connections accepted after the first were closed time out, too
        wait_for(lambda: still_open(slow) == 0, "the connections")


def test_websockets_are_rejected(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    for key in (served.key, None):
        assert status(port, handshake(key)) == "403 Forbidden"


def test_an_idle_connection_is_closed(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    sent = b"GET /healthz HTTP/1.1\r\nHost: endpoint\r\n\r\n"
    assert reply(port, sent).startswith(b"HTTP/1.1 200 ")


def test_no_request_is_lost_if_an_engine_is_killed(served: Served) -> None:
    def ask(number: int) -> str:
        text = f"{REPORT}\nnumber: {number}"
        answer = served.post("/v1/documents", {"text": text, "tasks": ["auditor"]})
        return f"{answer.status_code} {answer.json()['answers']['auditor']['text']}"

    with ThreadPoolExecutor(8) as threads:
        requests = [threads.submit(ask, number) for number in range(64)]
        time.sleep(0.5)
        killed = served.replicas("short")
        for engine in killed:
            engine.kill()
        texts = {request.result() for request in requests}
    assert len(killed) == 1
    assert texts == {"200 Smith Sons"}
