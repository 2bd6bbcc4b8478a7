"""Our own pages for readers on different screens, checked by axe-core in a real Chromium."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.support.browser.axe import faults
from tests.support.browser.worker_harness import Site

pytestmark = pytest.mark.browser

OVERFLOWS = "document.documentElement.scrollWidth > innerWidth"
# Each text direction, colour scheme and width at least once.
LOOKS = [
    ("/privacy?lang=ar", 390, False),
    ("/privacy?lang=ru", 1280, True),
    ("/demo/", 390, True),
    ("/demo/night-ferry", 1280, False),
    ("/demo/no-such-story", 390, False),
]


def test_a_page_fits_the_screen_and_passes_axe(
    site: Site, chromium_page: Callable[..., Page]
) -> None:
    page = chromium_page(1280, 800)
    devtools = page.context.new_cdp_session(page)
    for path, width, dark in LOOKS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.goto(site.origin + path)
        manifest = devtools.send("Page.getAppManifest")
        assert manifest["errors"] == []
        assert manifest["url"].endswith("/demo/site.webmanifest") == path.startswith("/demo/")
        assert faults(page) == [], path
        for narrower in (768, 390, 320):
            page.set_viewport_size({"width": narrower, "height": 800})
            assert not page.evaluate(OVERFLOWS), (path, narrower)
