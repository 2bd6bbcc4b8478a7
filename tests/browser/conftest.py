"""Sites and installations for tests in browsers."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page
from pytest import TestReport

from tests.support.browser.publisher_site import Publisher
from tests.support.browser.readers import Visit, newspaper, visitors
from tests.support.browser.worker_harness import Site
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService


@pytest.fixture
def installation(
    redis_url: str, push_service: PushService, tmp_path: Path
) -> Iterator[Installation]:
    """An installation that sends to the browsers' push service."""
    with Installation(redis_url, push_service, tmp_path) as installation:
        yield installation


@pytest.fixture
def paper(redis_url: str, push_service: PushService, tmp_path: Path) -> Iterator[Installation]:
    """A newspaper without readers."""
    with newspaper(redis_url, push_service, tmp_path) as installation:
        yield installation


@pytest.fixture
def visit(
    paper: Installation, headless_chromium: Browser, push_service: PushService
) -> Iterator[Visit]:
    """Open that newspaper as a reader does."""
    with visitors(headless_chromium, f"http://localhost:{paper.port}", push_service) as visit:
        yield visit


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """A publisher's site."""
    with Publisher() as publisher:
        yield publisher


@pytest.fixture
def site() -> Iterator[Site]:
    """A site that has the service worker under test."""
    with Site() as site:
        yield site


# All that a page says, also in shadow roots.
WORDS = """() => {
  const say = (node) => [...node.querySelectorAll("*")]
    .map(({ shadowRoot }) => (shadowRoot ? say(shadowRoot) : "")).join("\\n") +
    (node.innerText ?? [...node.children].map(({ innerText }) => innerText).join("\\n"));
  return say(document.documentElement);
}"""


def _pages(item: pytest.Item) -> Iterator[Page]:
    for name in ("chromium", "headless_chromium"):
        browser = getattr(item, "funcargs", {}).get(name)
        for context in browser.contexts if browser else ():
            yield from context.pages


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, TestReport, TestReport]:
    """Of a test that fails, report what its pages in Chromium showed."""
    report = yield
    if report.when == "call" and report.failed:
        for page in _pages(item):
            with suppress(Error):
                report.sections.append((page.url, page.evaluate(WORDS)))
    return report
