"""Pages in a real Chromium, and pictures of them for the docs.

`python -m tests.support.browser.screenshots URL FILE.png --width 390 --full`
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.support.browser import programs

# Chromium uses only the last such list, so Playwright's own entries are here as well. The last
# three draw the address bar's drop-down in two processes per reader, two thirds of its cost; the
# spare renderer is a process that most readers never use.
_WITHOUT = (
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "SpareRendererForSitePerProcess",
    "ThirdPartyStoragePartitioning",
    *("WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup", "WebUIOmniboxPopup"),
)
_CHROMIUM_OPTIONS = [
    f"--disable-features={','.join(_WITHOUT)}",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# To draw the demo's pictures takes longer than the rest of a page. The places of a removed picture
# are not collected as garbage then.
WITHOUT_PICTURES = ("--blink-settings=imagesEnabled=false",)

_RIGHT_TO_LEFT = """
document.addEventListener("DOMContentLoaded", () => { document.documentElement.dir = "rtl"; });
"""


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Run a Chromium without a screen.

    While it runs, Playwright's event loop is the running one of this thread, so that asyncio needs
    another thread.
    """
    with sync_playwright() as playwright, launched(playwright, programs.CHROMIUM) as browser:
        yield browser


@contextmanager
def launched(playwright: Playwright, names: tuple[str, ...], *options: str) -> Iterator[Browser]:
    """Run the first Chromium of these `names` that is installed."""
    browser = playwright.chromium.launch(
        executable_path=programs.find(names),
        args=[*_CHROMIUM_OPTIONS, *options],
        # Chromium's sandbox refuses to run as root, which is what containers are.
        chromium_sandbox=os.geteuid() != 0,
    )
    try:
        yield browser
    finally:
        browser.close()


def open_page(
    browser: Browser, width: int, height: int, dark: bool = False, rtl: bool = False
) -> Page:
    """Open an empty page of a new reader, sized in CSS pixels.

    `rtl` shows every page from right to left.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    if rtl:
        context.add_init_script(_RIGHT_TO_LEFT)
    return context.new_page()


def _main() -> None:
    parser = argparse.ArgumentParser(description="Take a picture of a page with Chromium.")
    parser.add_argument("url")
    parser.add_argument("file", type=Path, help="the PNG to write")
    parser.add_argument("--width", type=int, default=1280, help="CSS pixels (1280)")
    parser.add_argument("--height", type=int, default=800, help="CSS pixels (800)")
    parser.add_argument("--dark", action="store_true", help="in dark mode")
    parser.add_argument("--full", action="store_true", help="the whole page, not one screen of it")
    arguments = parser.parse_args()
    with open_chromium() as browser:
        page = open_page(browser, arguments.width, arguments.height, dark=arguments.dark)
        page.goto(arguments.url, wait_until="load")
        page.screenshot(path=arguments.file, full_page=arguments.full)


if __name__ == "__main__":
    _main()
