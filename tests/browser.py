"""A real browser for the tests of pages: headless, as any user, asking nobody but the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from needs import BROWSERS, first_installed
from playwright.sync_api import Browser, expect, sync_playwright

# A busy machine may take long; Playwright itself waits as long for what is clicked.
WAIT_SECONDS = 30
FLAGS = [
    # the browser's own sandbox cannot be set up by root, nor in most containers
    "--no-sandbox",
    "--disable-gpu",
    # nothing is asked of anyone but the page
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser with a profile of its own, gone at the end of the block."""
    expect.set_options(timeout=WAIT_SECONDS * 1000)
    with sync_playwright() as playwright:
        # Playwright makes an empty --user-data-dir for each
        browser = playwright.chromium.launch(executable_path=first_installed(*BROWSERS), args=FLAGS)
        yield browser
        browser.close()
