"""The reader's pictures for the docs: the question, the thanks, the preferences.

`python -m tests.support.browser.reader_pictures docs/images`
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from service.cli.run import FIRST_TOPICS
from service.model.notifications import Audience
from tests.support.browser.readers import Visit, bell, newspaper, panel, visitors
from tests.support.browser.screenshots import open_chromium
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from tests.support.redis_servers.server import RedisServer

# The page's own icon, and a question that opens without being asked for.
PAGE = {"script": 'data-ask="click" data-ask-on=".kicker" data-topic="world"'}
SIZES = {"390": (390, 844), "768": (768, 1024), "1280": (1280, 900)}
LOOKS: dict[str, dict[str, Any]] = {"": {}, "-dark": {"dark": True}, "-rtl": {"lang": "ar"}}


def ask(page: Page) -> None:
    """Ask the reader, who has not pressed the bell."""
    page.evaluate("document.querySelector('.kicker').click()")
    expect(panel(page)).to_be_visible()
    page.wait_for_timeout(500)  # the announcement is there too


def take(visit: Visit, folder: Path) -> None:
    """Show the newspaper on each screen and in each look, and take the pictures."""
    for size, (width, height) in SIZES.items():
        for look, options in LOOKS.items():
            page = visit(width, height, **PAGE, **options)

            def picture(name: str, page: Page = page, end: str = f"{size}{look}") -> None:
                page.screenshot(path=folder / f"{name}-{end}.png")

            ask(page)
            picture("panel")
            if panel(page).locator("button.details").count():
                panel(page).locator("button.details").click()
                panel(page).get_by_role("checkbox").first.wait_for()
                picture("topics")
            panel(page).locator("button.yes").click()
            panel(page).locator("button.more").wait_for()
            page.wait_for_timeout(500)
            picture("thanks")
            panel(page).locator("button.more").click()
            panel(page).locator("button.save").wait_for()
            picture("preferences")
            panel(page).locator("button.close").click()
            expect(bell(page)).to_be_visible()


def furnish(paper: Installation) -> None:
    """Give the newspaper topics, and an alert to have missed."""
    for topic in FIRST_TOPICS:
        paper.runtime.store.topics.add(topic)
    paper.publish(Audience(everyone=True), title="Ferry aground")


def _main() -> None:
    parser = argparse.ArgumentParser(description="Take the reader's pictures for the docs.")
    parser.add_argument("folder", type=Path, help="where to write the PNGs")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as data,
        RedisServer() as redis,
        PushService() as push,
        newspaper(redis.url, push, Path(data)) as paper,
        open_chromium() as chromium,
        visitors(chromium, f"http://localhost:{paper.port}", push) as visit,
    ):
        furnish(paper)
        take(visit, folder)


if __name__ == "__main__":
    _main()
