"""The page of a report in a real browser, from a file and without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import open_browser
from needs import needs_browser
from playwright.sync_api import Browser, Page, expect
from reported import reported_run

from pipelines.models.resolve import Model
from pipelines.reporting.page.gathering import Choice
from pipelines.reporting.page.writing import write_report
from pipelines.text.tokens import ChatTokenizer

pytestmark = needs_browser


@pytest.fixture(scope="module")
def page_file(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> Path:
    directory = tmp_path_factory.mktemp("report")
    reported_run(directory, tiny_tokenizer)()
    _, where = write_report(str(directory / "out"), Choice(documents=10))
    return Path(where)


@pytest.fixture(scope="module")
def browser(page_file: Path) -> Iterator[Browser]:
    # opened after the run, whose event loop cannot run beside Playwright's
    with open_browser() as browser:
        yield browser


@pytest.fixture
def errors() -> list[str]:
    """What the page's console and its script reported, and requests besides the page's own."""
    return []


@pytest.fixture
def page(browser: Browser, page_file: Path, errors: list[str]) -> Iterator[Page]:
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    url = page_file.as_uri()
    page.on("request", lambda request: None if request.url == url else errors.append(request.url))
    page.goto(url)
    yield page
    context.close()


def lit(page: Page) -> str:
    """Return the text that is lit in the document that is shown."""
    return "".join(page.locator(".document:not([hidden]) mark.lit").all_text_contents())


def test_the_page_opens_without_errors_and_asks_for_nothing(page: Page, errors: list[str]) -> None:
    expect(page.get_by_role("heading", name="Tokens over time")).to_be_visible()
    expect(page.locator("svg").first).to_be_visible()
    expect(page.locator(".document:visible")).to_have_count(1)
    assert errors == []
    assert page.evaluate("window.ran") is None


def test_a_click_on_a_value_lights_its_place_in_a_long_text(page: Page, errors: list[str]) -> None:
    page.get_by_role("button", name="long", exact=True).click()
    place = page.locator("#documents mark:visible", has_text="The code is qx-4417.")
    expect(place).not_to_be_in_viewport()
    page.get_by_role("button", name="qx-4417").first.click()
    expect(place).to_be_in_viewport()
    assert lit(page) == "The code is qx-4417."
    page.get_by_role("button", name="Zoe Miller").first.click()
    assert lit(page) == "The owner is Zoe Miller."
    assert errors == []


def test_the_text_of_a_document_runs_nothing(page: Page, errors: list[str]) -> None:
    page.get_by_role("button", name="evil", exact=True).click()
    page.locator(".document:visible [data-place]").first.click()
    assert "<img src=x onerror=" in lit(page)
    assert page.locator("img").count() == 0
    assert page.evaluate("window.ran") is None and errors == []


def test_a_value_that_the_text_does_not_have_says_so(page: Page) -> None:
    page.get_by_role("button", name="wrong", exact=True).click()
    expect(page.locator(".document:visible .state.missing")).to_have_text("not found in the text")


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_nothing_is_wider_than_the_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
