"""Tests of the web page in a real browser, which sends its requests to an endpoint over HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import pytest
import uvicorn
from browser import WAIT_SECONDS, open_browser
from endpoints import KEY, OTHER_KEY, ScriptedPool, endpoint_of, prepared_endpoint
from needs import needs_browser
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, ViewportSize, expect

from pipelines.models.resolve import Model
from pipelines.storage import Storage
from serve.engines.offer import PreparedEndpoint
from serve.engines.replica import EventBatch, ReplicaRequest
from serve.errors import Overloaded, ReplicasDied
from serve.events import event
from serve.routes.endpoint import make_app
from serve.routes.feedback import FeedbackWriter

pytestmark = needs_browser

TASKS = [
    {"name": "summary", "kind": "summarize", "max_words": 60},
    {
        "name": "opinion",
        "kind": "classify",
        "labels": {"unqualified": None, "qualified": "with a reservation", "adverse": None},
    },
    {"name": "auditor", "kind": "ask", "question": "Who audited the statements?"},
    {
        "name": "figures",
        "kind": "extract",
        "fields": {"revenue": "string", "segments": ["string"], "seat": {"city": "string"}},
    },
    {"name": "topics", "kind": "classify", "labels": ["Timber", "Paper"], "multiple": True},
    {"name": "warnings", "kind": "classify", "labels": ["fire", "flood"], "multiple": True},
    {"name": "german", "kind": "write", "prompt": "Translate it into German.", "over": "parts"},
]
EVIL = "<img src=x onerror='window.ran=1'><script>window.ran=1</script>"
FILLER = "The board met four times and took note of the reports that were put before it. " * 6
# Before each quoted place there are tags, and characters that are two units in JavaScript strings.
TEXT = "\n\n".join(
    [
        "# Annual report 2023 📈🎉",
        f"Tilia & Sons <b>AG</b>, Bergstadt 🏔️ {EVIL}",
        *[f"§ {number}  {FILLER}" for number in range(1, 12)],
        "Revenue rose to 12.5 million, of which 8.1 million came from Timber and the rest "
        "from Paper 📄.",
        *[f"§ {number}  {FILLER}" for number in range(12, 24)],
        "Auditor: Smith & Sons, Bergstadt. In our opinion the statements give a true and fair "
        "view 🖋️, without reservation.",
        FILLER,
    ]
)
AUDITOR, REVENUE = "Auditor: Smith & Sons", "Revenue rose to 12.5 million"
UNFOUND = "audited by Messrs. Miller"


def quote(words: str, path: str = "") -> dict[str, Any]:
    """Return a row of evidence as in an answer, with the offsets of `words` if TEXT has them."""
    start = TEXT.find(words)
    if start < 0:
        return {"path": path, "status": "absent", "text": None, "start": None, "end": None,
                "page": None, "quote": words}  # fmt: skip
    return {"path": path, "status": "shown", "text": words, "start": start,
            "end": start + len(words), "page": None, "quote": None}  # fmt: skip


def answered(**value: Any) -> dict[str, Any]:
    """Return the JSON of a task's answer with this value."""
    method = {"status": "answered", "strategy": "map_reduce", "chunks": 2, "finish_reason": "stop"}
    tokens = {"prompt_tokens": 900, "output_tokens": 30}
    return {"_evidence": [], **value, "_answer": {**method, **tokens}}


ANSWERS = {
    "summary": answered(
        text=f"Tilia & Sons had a calm year {EVIL}: revenue rose to 12.5 million, most of it from "
        "timber, and the auditor had no reservations. 🌲",
    ),
    "opinion": answered(label="unqualified", confidence=0.934),
    "auditor": answered(
        text="Smith & Sons, of Bergstadt", _evidence=[quote(AUDITOR), quote(UNFOUND)]
    ),
    "figures": answered(
        revenue="12.5 million",
        segments=["Timber", "Paper"],
        seat={"city": None},
        _evidence=[quote(REVENUE, "revenue")],
    ),
    "topics": answered(labels=["Timber", "Paper"], confidence=[0.91, 0.5]),
    "warnings": answered(labels=[], confidence=[]),
    "german": answered(text="Ein ruhiges Jahr.\n\nDer Umsatz stieg."),
    "question": answered(text="Four times.", _evidence=[quote("The board met four times")]),
}
HALF = TEXT.index("§ 12")
USAGE = {"prompt_tokens": 3600, "cached_prompt_tokens": 1800, "output_tokens": 120}


def told(*names: str) -> list[Any]:
    """Return the events for a document that is read in two chunks for these tasks."""
    read = {"read_characters": 0, "characters": len(TEXT)}
    parts = [
        {"task": name, "start": start, "end": end, "value": value}
        for start, end, value in ((0, HALF, None), (HALF, len(TEXT), {"text": "Smith & Sons"}))
        for name in names
        if name == "auditor"
    ]
    answers = {name: ANSWERS[name] for name in names}
    return [
        event("progress", read),
        event("progress", {**read, "read_characters": HALF}),
        *[event("part", part) for part in parts],
        *[event("answer", {name: answer}) for name, answer in answers.items()],
        event("done", {"id": "doc", "answers": answers, "usage": USAGE}),
    ]


class HeldPool(ScriptedPool):
    """Pauses each stream after `pause_after` events, until that is changed to None."""

    pause_after: int | None = None

    async def stream(self, work: ReplicaRequest) -> AsyncGenerator[EventBatch, None]:
        sent = 0
        async for batch in super().stream(work):
            yield batch
            sent += 1
            while sent == self.pause_after:
                await asyncio.sleep(0.01)


class Site:
    """An endpoint on a port of this machine, in a thread."""

    def __init__(self, prepared: PreparedEndpoint, feedback: FeedbackWriter | None) -> None:
        self.pool = HeldPool()
        self.pool.events = []
        endpoint = endpoint_of(prepared, self.pool, feedback, requests_per_minute=1)
        config = uvicorn.Config(make_app(endpoint), port=0, log_level="warning", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> Site:
        self._thread.start()
        wait_for(lambda: self._server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.pause_after = None
        self._server.should_exit = True
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}/"


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < until, "the condition never became true"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def prepared(tiny_model: Model) -> PreparedEndpoint:
    assert tiny_model
    return prepared_endpoint(tasks=TASKS)


@pytest.fixture
def feedback_path(tmp_path: Path) -> Path:
    return tmp_path / "feedback"


@pytest.fixture
def site(prepared: PreparedEndpoint, feedback_path: Path) -> Iterator[Site]:
    with Site(prepared, FeedbackWriter(Storage(str(feedback_path)))) as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """Yield the opened page. It must run without errors and send no request to another host."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    errors: list[str] = []

    def check_message(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    def check_request(request: Request) -> None:
        if not request.url.startswith(site.url):
            errors.append(request.url)

    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", check_message)
    page.on("request", check_request)
    page.goto(site.url)
    yield page
    context.close()
    # the browser also logs rejected requests as errors
    assert [error for error in errors if "Failed to load resource" not in error] == []


def enter_key(page: Page, key: str = KEY) -> None:
    page.locator("#key").fill(key)
    page.locator("#key").press("Tab")


def ask(page: Page, site: Site, *names: str) -> None:
    """Fill in the key and the text, choose the tasks, and click `Read`.

    The task `question` is the question that a user writes.
    """
    site.pool.events = site.pool.events or told(*names)
    enter_key(page)
    page.locator("#document").fill(TEXT)
    for name in names:
        if name == "question":
            page.locator("#question").fill("How often did the board meet?")
        else:
            page.locator(f"#task-{name}").check()
    page.locator("#read").click()


@pytest.mark.parametrize(
    ("look", "viewport", "scheme"),
    [
        ("desktop-light", {"width": 1280, "height": 860}, "light"),
        ("desktop-dark", {"width": 1280, "height": 860}, "dark"),
        ("phone-light", {"width": 390, "height": 844}, "light"),
        ("phone-dark", {"width": 390, "height": 844}, "dark"),
    ],
)
def test_the_page_fits_every_screen(
    page: Page, site: Site, tmp_path: Path, look: str, viewport: ViewportSize,
    scheme: Literal["light", "dark"],
) -> None:  # fmt: skip
    page.set_viewport_size(viewport)
    page.emulate_media(color_scheme=scheme)
    enter_key(page)
    expect(page.locator("#task-figures")).to_be_visible()
    page.screenshot(path=tmp_path / f"{look}-empty.png")
    site.pool.pause_after = 6
    ask(page, site, *ANSWERS)
    expect(page.locator("#answer-opinion .label")).to_be_visible()
    page.wait_for_timeout(500)
    page.screenshot(path=tmp_path / f"{look}-reading.png")
    site.pool.pause_after = None
    expect(page.locator("#status")).to_contain_text("Done")
    page.locator("#quote-auditor-0").click()
    expect(page.locator("mark").last).to_be_in_viewport()
    expect(page.locator("#quote-auditor-0")).to_be_in_viewport()
    page.screenshot(path=tmp_path / f"{look}-done.png")
    page.screenshot(path=tmp_path / f"{look}-whole.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_quotes_are_marked_at_their_place_in_the_text(page: Page, site: Site) -> None:
    ask(page, site, "auditor", "figures")
    expect(page.locator("#status")).to_contain_text("Done")
    assert page.locator("#text").evaluate("pane => pane.textContent") == TEXT
    marks = page.locator("mark")
    assert sorted(marks.all_text_contents()) == [AUDITOR, REVENUE]
    for mark in marks.all():
        before = mark.evaluate(
            "mark => { const range = document.createRange();"
            " range.selectNodeContents(byId('text')); range.setEndBefore(mark);"
            " return range.toString(); }"
        )
        assert before == TEXT[: TEXT.index(mark.text_content() or "")]


def test_quotes_that_overlap_are_marked_together(page: Page, site: Site) -> None:
    words = ["Auditor: Smith & Sons", "Sons, Bergstadt", "Smith & Sons, Bergstadt. In"]
    answer = answered(text="Smith", _evidence=[quote(text) for text in words])
    site.pool.events = [event("answer", {"auditor": answer}), *told("auditor")[-1:]]
    ask(page, site, "auditor")
    expect(page.locator("#status")).to_contain_text("Done")
    for number, text in enumerate(words, 1):
        marked = page.locator(f'mark[data-quotes~="{number}"]').all_text_contents()
        assert "".join(marked) == text
    assert page.locator("#text").evaluate("pane => pane.textContent") == TEXT


def test_a_quote_leads_to_its_mark_in_a_long_document(page: Page, site: Site) -> None:
    ask(page, site, "auditor")
    expect(page.locator("#status")).to_contain_text("Done")
    mark = page.locator('mark[data-quotes~="1"]')
    expect(mark).not_to_be_in_viewport()
    button = page.locator("#quote-auditor-0")
    button.press("Enter")
    expect(mark).to_be_in_viewport()
    # checked inside the page: the flash may be over before a busy machine could look
    flashes = "button => { button.click(); return document.querySelector('mark').className; }"
    assert button.evaluate(flashes) == "flash"


def test_an_unverified_quote_is_shown_as_not_found(page: Page, site: Site) -> None:
    ask(page, site, "auditor")
    unfound = page.locator("#quote-auditor-1")
    expect(unfound).to_contain_text(UNFOUND)
    expect(unfound).to_contain_text("Not found in the document")
    expect(page.locator("mark")).to_have_count(1)


def test_answers_and_progress_are_shown_as_they_arrive(page: Page, site: Site) -> None:
    site.pool.pause_after = 5
    ask(page, site, "summary", "auditor")
    expect(page.locator("#answer-summary")).to_contain_text("a calm year")
    expect(page.locator("#answer-auditor")).to_contain_text("Waiting")
    progress = page.locator("#progress")
    assert progress.evaluate("bar => [bar.value, bar.max]") == [HALF, len(TEXT)]
    expect(page.locator("#progress-text")).to_have_text(f"{HALF:,} of {len(TEXT):,} characters")
    page.locator("#answer-auditor summary").click()
    expect(page.locator("#answer-auditor ol")).to_contain_text("nothing")
    page.locator("#answer-auditor .part").last.click()
    site.pool.pause_after = None
    expect(page.locator("#answer-auditor")).to_contain_text("Smith & Sons, of Bergstadt")
    expect(page.locator("#status")).to_contain_text("3,600 tokens read, 120 written")
    expect(progress).to_be_hidden()


def test_every_kind_of_answer_is_shown(page: Page, site: Site) -> None:
    ask(page, site, *ANSWERS)
    expect(page.locator("#status")).to_contain_text("Done")
    expect(page.locator("#answer-opinion")).to_contain_text("unqualified93% sure")
    expect(page.locator("#answer-topics p.row")).to_have_text(["Timber91% sure", "Paper50% sure"])
    expect(page.locator("#answer-warnings")).to_contain_text("None of the labels fits.")
    expect(page.locator("#answer-german")).to_contain_text("Translate it into German.")
    expect(page.locator("#answer-german .said")).to_have_text(
        "Ein ruhiges Jahr.\n\nDer Umsatz stieg.", use_inner_text=True
    )
    figures = page.locator("#answer-figures")
    expect(figures.locator("tr").first).to_contain_text("Revenue12.5 million")
    expect(figures.locator("li", has_text="Paper")).to_be_visible()
    expect(figures).to_contain_text("not stated")
    expect(page.locator("#answer-question h2")).to_have_text("How often did the board meet?")
    (work,) = site.pool.works
    assert [spec.name for spec in work.specs] == list(ANSWERS)
    assert work.text == TEXT


def test_a_failed_task_shows_its_reason(page: Page, site: Site) -> None:
    outcome = {"status": "invalid_answer", "message": "no JSON", "strategy": "single"}
    failed = {"kind": "ask", "_answer": outcome}
    site.pool.events = [event("done", {"answers": {"auditor": failed}, "usage": USAGE})]
    ask(page, site, "auditor")
    expect(page.locator("#answer-auditor")).to_contain_text("no JSON")
    expect(page.locator("#right-auditor")).to_have_count(0)


def test_scripts_in_a_document_or_an_answer_do_not_run(page: Page, site: Site) -> None:
    ask(page, site, "summary", "auditor")
    expect(page.locator("#answer-summary")).to_contain_text(EVIL)
    expect(page.locator("#text")).to_contain_text(EVIL)
    expect(page.locator("img, main script, #text b")).to_have_count(0)
    assert page.evaluate("window.ran") is None


def test_a_wrong_key_is_reported_and_not_stored(page: Page) -> None:
    enter_key(page, "pf-wrong")
    expect(page.locator("#key-note")).to_contain_text("This key is not known here")
    page.locator("#document").fill(TEXT)
    page.locator("#question").fill("Who?")
    page.locator("#read").click()
    expect(page.locator("#error")).to_contain_text("This key is not known here")
    expect(page.locator("#key")).to_be_focused()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0


def test_a_key_is_stored_for_the_tab_only(page: Page) -> None:
    enter_key(page)
    expect(page.locator("#task-summary")).to_be_visible()
    assert page.evaluate("[Object.values(sessionStorage), localStorage.length]") == [[KEY], 0]
    page.reload()
    expect(page.locator("#task-summary")).to_be_visible()
    expect(page.locator("#key")).to_have_value(KEY)


def test_missing_input_is_named(page: Page) -> None:
    error = page.locator("#error")
    page.locator("#read").click()
    expect(error).to_have_text("Paste a document first, or open a file.")
    expect(page.locator("#document")).to_be_focused()
    page.keyboard.insert_text("A text.")
    page.keyboard.press("Control+Enter")
    expect(error).to_have_text("Enter your API key first.")
    enter_key(page)
    page.locator("#read").click()
    expect(error).to_have_text("Choose a task, or ask a question.")


def test_an_exhausted_quota_shows_when_to_try_again(page: Page, site: Site) -> None:
    enter_key(page, OTHER_KEY)
    expect(page.locator("#task-summary")).to_be_visible()
    page.locator("#document").fill(TEXT)
    page.locator("#question").fill("Who?")
    page.locator("#read").click()
    expect(page.locator("#error")).to_contain_text("Try again in 60 s")
    assert site.pool.works == []


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([Overloaded(7)], "Try again in 7 s"),
        ([*told("summary")[:3], ReplicasDied()], "The engines that received the request died"),
        (told("summary")[:3], "The connection ended before everything was answered."),
    ],
)
def test_an_engine_failure_is_shown(page: Page, site: Site, events: list[Any], words: str) -> None:
    site.pool.events = events
    ask(page, site, "summary", "auditor")
    expect(page.locator("#error")).to_contain_text(words)
    expect(page.locator("#answer-auditor")).to_have_count(0)
    expect(page.locator("#read")).to_be_visible()


def test_stop_ends_the_request_and_keeps_the_answers_so_far(page: Page, site: Site) -> None:
    site.pool.pause_after = 5
    ask(page, site, "summary", "auditor")
    expect(page.locator("#answer-summary")).to_contain_text("a calm year")
    expect(page.locator("#stop")).to_be_focused()
    page.locator("#stop").press("Enter")
    expect(page.locator("#status")).to_have_text("Stopped.")
    expect(page.locator("#read")).to_be_focused()
    expect(page.locator("#answer-summary")).to_be_visible()
    wait_for(site.pool.cancelled.is_set)


def test_a_verdict_is_stored(page: Page, site: Site, feedback_path: Path) -> None:
    ask(page, site, "auditor")
    page.locator("#wrong-auditor").click()
    expect(page.locator("#kept-auditor")).to_have_text("Thank you")
    expect(page.locator("#wrong-auditor")).to_have_attribute("aria-pressed", "true")
    (row,) = pq.read_table(feedback_path).to_pylist()
    (work,) = site.pool.works
    assert (row["answer"], row["task"], row["verdict"]) == (work.request_id, "auditor", "wrong")


def test_the_verdict_buttons_disappear_if_feedback_is_disabled(
    browser: Browser, prepared: PreparedEndpoint, tmp_path: Path
) -> None:
    with Site(prepared, None) as site, browser.new_context() as context:
        page = context.new_page()
        page.goto(site.url)
        ask(page, site, "auditor", "summary")
        page.locator("#right-auditor").click()
        expect(page.locator("#right-auditor")).to_be_hidden()
        expect(page.locator("#right-summary")).to_be_hidden()
        expect(page.locator("#error")).to_be_empty()


def test_a_text_file_is_opened_and_another_is_an_error(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    file.write_bytes(b"\xef\xbb\xbf# Report \xf0\x9f\x93\x88\r\nTwo")
    page.locator("#file").set_input_files(file)
    expect(page.locator("#document")).to_have_value("# Report 📈\nTwo")
    expect(page.locator("#size")).to_have_text("14 characters")
    file.write_bytes(b"\xff\xfe\x00")
    page.locator("#file").set_input_files(file)
    expect(page.locator("#error")).to_have_text("report.md is no UTF-8 text.")


def test_a_dropped_file_is_opened(page: Page) -> None:
    dropped = page.evaluate_handle(
        "() => { const moved = new DataTransfer();"
        " moved.items.add(new File(['A text.'], 'a.txt')); return moved; }"
    )
    page.locator("#paper").dispatch_event("drop", {"dataTransfer": dropped})
    expect(page.locator("#document")).to_have_value("A text.")


def test_every_control_has_a_name(page: Page) -> None:
    enter_key(page)
    for name in ("Document", "Open a file", "API key", "Your question", "Summary"):
        expect(page.get_by_label(name).first).to_be_attached()
    expect(page.get_by_role("group", name="Tasks")).to_be_visible()
    expect(page.get_by_role("button", name="Read")).to_be_visible()
