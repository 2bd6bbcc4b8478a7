"""One site with our service worker, and one page of it in Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser.worker_harness import CALL, Site


@pytest.fixture(scope="package")
def site_and_page(chromium: Browser) -> Iterator[tuple[Site, Page]]:
    """One site and one page for all tests here, because a new reader costs as much as a test."""
    with Site() as site:
        context = chromium.new_context()
        context.grant_permissions(["notifications"], origin=site.origin)
        yield site, context.new_page()
        context.close()


@pytest.fixture
def site(site_and_page: tuple[Site, Page]) -> Site:
    site, _ = site_and_page
    site.begin_anew()
    return site


@pytest.fixture
def page(site: Site, site_and_page: tuple[Site, Page]) -> Iterator[Page]:
    """The page; afterwards the browser forgets the worker, what it keeps and what it shows."""
    _, page = site_and_page
    page.goto(site.origin)
    yield page
    page.goto("about:blank")
    everything = {"origin": site.origin, "storageTypes": "all"}
    page.context.new_cdp_session(page).send("Storage.clearDataForOrigin", everything)


@pytest.fixture
def worker(page: Page) -> Callable[..., Any]:
    return lambda *call: page.evaluate(CALL, list(call))
