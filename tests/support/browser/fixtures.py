"""Real browsers as fixtures.

Each browser lives as long as the tests' process, because a Firefox takes three seconds to start.
Tests are kept apart by serving their pages on different ports, since consent and subscriptions
belong to an origin. Before a test begins, earlier messages, notifications and tabs are dropped.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.support.browser import programs
from tests.support.browser.desktop import Desktop
from tests.support.browser.firefox import Firefox
from tests.support.browser.readers import Visit, visitors
from tests.support.browser.screenshots import WITHOUT_PICTURES, launched, open_page
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from tests.support.wordpress import WordPress

# Playwright's five seconds are too few while other tests start their browsers.
expect.set_options(timeout=30_000)


@contextmanager
def _skipped_where_missing() -> Iterator[None]:
    """Skip tests whose program is not installed; in CI that is a failure."""
    try:
        yield
    except programs.MissingProgramError as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def wordpress() -> Iterator[WordPress]:
    """A WordPress with our plug-in, which a test `reset`s."""
    with _skipped_where_missing(), WordPress() as running:
        yield running


@pytest.fixture(scope="session")
def running_push_service() -> Iterator[PushService]:
    with PushService() as running:
        yield running


@pytest.fixture
def push_service(running_push_service: PushService) -> PushService:
    running_push_service.begin_anew()
    return running_push_service


@pytest.fixture(scope="session")
def running_desktop() -> Iterator[Desktop]:
    with _skipped_where_missing(), Desktop() as running:
        yield running


@pytest.fixture
def desktop(running_desktop: Desktop) -> Desktop:
    running_desktop.forget()
    return running_desktop


@pytest.fixture(scope="session")
def running_firefox(
    running_push_service: PushService, running_desktop: Desktop
) -> Iterator[Firefox]:
    where = {"push_url": running_push_service.websocket_url}
    with (
        _skipped_where_missing(),
        Firefox(**where, bus_address=running_desktop.address) as running,
    ):
        yield running


@pytest.fixture
def firefox(running_firefox: Firefox) -> Iterator[Firefox]:
    yield running_firefox
    running_firefox.close_tabs()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Playwright, of which a thread can run only one."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    with _skipped_where_missing(), launched(playwright, programs.CHROMIUM) as browser:
        yield browser


@pytest.fixture(scope="session")
def headless_chromium(playwright: Playwright) -> Iterator[Browser]:
    """A Chromium for tests in which no notification and no picture is shown."""
    browser = launched(playwright, programs.HEADLESS_CHROMIUM, *WITHOUT_PICTURES)
    with _skipped_where_missing(), browser as running:
        yield running


@pytest.fixture
def visit_with_pictures(
    paper: Installation, chromium: Browser, push_service: PushService
) -> Iterator[Visit]:
    """Open it as `visit` does, in a browser that loads and draws pictures."""
    with visitors(chromium, f"http://localhost:{paper.port}", push_service) as visit:
        yield visit


@pytest.fixture
def chromium_page(headless_chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages as `open_page` does, each for a new reader, until the test ends."""
    with ExitStack() as contexts:

        def open_one(width: int, height: int, dark: bool = False, rtl: bool = False) -> Page:
            page = open_page(headless_chromium, width, height, dark=dark, rtl=rtl)
            contexts.callback(page.context.close)
            return page

        yield open_one
