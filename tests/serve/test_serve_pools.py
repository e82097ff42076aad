"""Tests of pools that scale to zero engines, of finishing accepted requests, and of the deadline.
They take minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import REPORT, Served, start, stop

from pipelines.run.ports import free_port

pytestmark = pytest.mark.slow
_HARBOUR = "The harbour was calm and the ships lay still.\n"
_ENDS_WITHIN = 240


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    idle = {"min": 0, "max": 1, "down_after_seconds": 5}
    endpoint = start(
        tmp_path_factory.mktemp("serve"),
        pools={"short": idle, "long": idle},
        # a document that has more than 4,096 tokens with its answer belongs to the long pool
        long_documents={"single_pass_tokens": 8000},
        limits={"request_seconds": 240, "long_model_len": 12_288},
    )
    yield endpoint
    if endpoint.process.poll() is None:
        stop(endpoint)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Return whether `condition` becomes true within `seconds`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(1)
    return False


def ask(served: Served, text: str, name: str = "auditor") -> dict[str, Any]:
    response = served.post("/v1/documents", {"text": text, "tasks": [name]})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()["answers"][name]
    return answer


def test_an_endpoint_without_engines_is_ready(served: Served) -> None:
    assert httpx.get(f"{served.url}/readyz").status_code == 200
    assert not served.replicas("short") + served.replicas("long")


def test_the_first_request_starts_its_pools_engine_and_no_other(served: Served) -> None:
    assert ask(served, REPORT)["text"] == "Smith Sons"
    assert len(served.replicas("short")) == 1
    assert not served.replicas("long")


def test_a_long_document_is_read_in_one_pass_by_the_long_pool(served: Served) -> None:
    answer = ask(served, f"{REPORT}\n" + _HARBOUR * 300)
    assert answer["_answer"]["status"] == "answered"
    assert (answer["_answer"]["strategy"], answer["_answer"]["chunks"]) == ("single", 1)
    assert 4096 < answer["_answer"]["prompt_tokens"] <= 8100
    assert len(served.replicas("long")) == 1


def test_a_long_chat_is_answered_by_the_long_pool(served: Served) -> None:
    answer = (
        served.client()
        .with_options(timeout=240)
        .chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": _HARBOUR * 300}],
            max_tokens=4,
        )
    )
    assert answer.usage is not None and answer.usage.prompt_tokens > 4096


def test_idle_engines_end_and_are_started_again(served: Served) -> None:
    assert within(_ENDS_WITHIN, lambda: not served.replicas("short") + served.replicas("long"))
    assert ask(served, REPORT)["text"] == "Smith Sons"


def test_stopping_waits_for_accepted_requests(served: Served) -> None:
    assert ask(served, REPORT)["text"] == "Smith Sons"
    # all passages differ, so that none is in the prefix cache
    text = "".join(f"{number}: {_HARBOUR}" for number in range(10_000))
    with ThreadPoolExecutor(1) as threads:
        request = threads.submit(ask, served, text + REPORT, "summary")
        time.sleep(2)
        assert not request.done()
        code = stop(served, 200)
        answer = request.result()
    assert code == 0
    assert answer["_answer"]["status"] == "answered"
    assert answer["_answer"]["chunks"] > 50


def test_stopping_waits_for_accepted_requests_that_no_engine_has_yet(tmp_path: Path) -> None:
    served = start(tmp_path, pools={"short": {"min": 0, "max": 1}}, limits={"request_seconds": 120})
    body = json.dumps({"text": REPORT, "tasks": ["auditor"]}).encode()
    headers = {"authorization": f"Bearer {served.key}", "content-type": "application/json"}

    def slowly() -> Iterator[bytes]:
        yield body[:10]
        time.sleep(8)
        yield body[10:]

    def send(content: bytes | Iterator[bytes]) -> str:
        url = f"{served.url}/v1/documents"
        response = httpx.post(url, content=content, headers=headers, timeout=180)
        assert response.status_code == 200, response.text
        text: str = response.json()["answers"]["auditor"]["text"]
        return text

    with ThreadPoolExecutor(2) as threads:
        requests = [threads.submit(send, content) for content in (body, slowly())]
        time.sleep(2)
        assert not any(request.done() for request in requests)
        code = stop(served, 200)
        answers = [request.result() for request in requests]
    assert code == 0
    assert answers == ["Smith Sons"] * 2


# with HAProxy, and without: it cannot be used with the second address
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_a_request_past_its_deadline_is_stopped_in_the_engine(host: str, tmp_path: Path) -> None:
    http = {"host": host, "port": free_port()}
    served = start(tmp_path, http=http, limits={"request_seconds": 2})
    pool = {"app": "tested", "pool": "short"}
    # no passage is in the prefix cache, and the text exceeds gRPC's default message size
    text = "".join(f"{number} – the harbour – the ships lay still.\n" for number in range(91_000))
    assert len(text.encode()) > 4 * 2**20
    try:
        late = served.post("/v1/documents", {"text": text, "tasks": ["auditor"]})
        still = served.post("/v1/documents", {"text": REPORT, "tasks": ["auditor"]})
        counted = within(90, lambda: served.measured("ray_phifleet_documents_total", **pool) >= 1)
        outstanding = served.measured("ray_phifleet_kv_tokens_in_flight", **pool)
        read = served.measured("ray_vllm_prompt_tokens_total")
    finally:
        stop(served)
    assert late.status_code == 504
    assert late.json()["error"]["code"] == "deadline_exceeded"
    assert still.status_code == 200
    assert counted
    assert outstanding == 0
    # a token has at most four characters, so the engine has read less than half of the text
    assert 0 < read < len(text) / 4 / 2
