"""A browser, and the service on the database of ``conn`` for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from step_audit.database import Connection
from step_audit.read.web import create_app
from tests.support.connect import dsn_of
from tests.support.service import serving

# Opens a page in a context of its own, made by these arguments of ``new_context``.
Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("chromium is not installed. Install it: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def address(conn: Connection) -> Iterator[str]:
    """Where the service listens, which has no keys."""
    with serving(create_app(dsn_of(conn))) as address:
        yield address


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open pages; at the end none of them has said anything in the console."""
    contexts: list[BrowserContext] = []
    said: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # That a status is one of errors is no fault of the page.
        if "the server responded with a status of" not in message.text:
            said.append(message.text)

    def opened(**arguments: Any) -> Page:
        contexts.append(browser.new_context(**arguments))
        page = contexts[-1].new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
