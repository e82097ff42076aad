"""A real browser for tests of pages, without a window, that sends no requests of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from needs import BROWSERS, first_installed
from playwright.sync_api import Browser, expect, sync_playwright

# Enough for a busy machine, and Playwright's own timeout of a click.
WAIT_SECONDS = 30
FLAGS = [
    # the browser's own sandbox cannot be set up by root, nor in most containers
    "--no-sandbox",
    "--disable-gpu",
    # no requests except those of the page
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Run a browser with an empty profile during the block, and yield it."""
    expect.set_options(timeout=WAIT_SECONDS * 1000)
    with sync_playwright() as playwright:
        # Playwright gives each browser an empty --user-data-dir
        browser = playwright.chromium.launch(executable_path=first_installed(*BROWSERS), args=FLAGS)
        yield browser
        browser.close()
