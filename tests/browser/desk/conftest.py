"""The desk with some readers, and a browser whose editor is signed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page

from tests.support.browser.desk import READERS, complaints_of, sign_in
from tests.support.processes.installation import Installation


@pytest.fixture
def installation(installation: Installation) -> Installation:
    """A newsroom with some readers; the push service accepts every message."""
    installation.seed(READERS)
    # The pages are those of a newsroom with real ones, without the band about pretend readers.
    installation.runtime.store.installation.unmark_synthetic()
    return installation


@pytest.fixture
def empty_page(installation: Installation, chromium_page: Callable[..., Page]) -> Iterator[Page]:
    """A page of the first editor, who has a sign-in link."""
    installation.web()
    page = chromium_page(1280, 800)
    complaints = complaints_of(page)
    yield page
    assert complaints == []


@pytest.fixture
def desk(installation: Installation, empty_page: Page) -> Page:
    """The desk's first page, after signing in."""
    sign_in(empty_page, installation)
    return empty_page
