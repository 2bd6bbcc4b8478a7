"""The desk in a real browser: signing in, writing, sending, walking with the keyboard."""

from __future__ import annotations

import re

from playwright.sync_api import BrowserContext, Page

from tests.support.desk.pages import EMAIL, sign_in_link, token_in
from tests.support.processes.installation import Installation
from tests.support.push_service import Answer, PushService

READERS = 400
TITLE = "Ferry aground — عاجل <b>"
# Returns the texts whose contrast with what is behind them is too low.
FAINT = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = channels(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const faint = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest(":disabled")) continue;
    const [ink, paper] = [channels(getComputedStyle(element).color), behind(element)].map(light);
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) faint.push(`${text.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return faint;
}"""


def first_link(installation: Installation) -> str:
    link = installation.runtime.editors.first_link()
    assert link
    return link


def complaints_of(page: Page) -> list[str]:
    """Collect script errors and violations of the Content-Security-Policy."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on(
        "console",
        lambda line: found.append(line.text) if "Content Security Policy" in line.text else None,
    )
    return found


def tab_to(page: Page, selector: str, *, back: bool = False) -> None:
    """Press Tab until the element has the focus, and check that the focus is visible."""
    page.locator(selector).locator("visible=true").first.wait_for()
    page.wait_for_load_state()  # scripts listen, and have moved the focus, by now
    for _ in range(40):
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"the focus on {selector} is invisible"
            return
        page.keyboard.press("Shift+Tab" if back else "Tab")
    raise AssertionError(f"Tab never reaches {selector}")


def sign_in(page: Page, installation: Installation) -> None:
    """Sign in without drawing the pages of that; open the desk."""
    sign_in_unseen(page.context, installation, EMAIL)
    page.goto(f"{installation.address}/desk/")


def sign_in_unseen(context: BrowserContext, installation: Installation, email: str) -> None:
    """Sign an editor in by a link, in the browser and without a page."""
    link, fields = sign_in_link(installation.runtime, email)
    fields["csrf_token"] = token_in(context.request.get(link).text())
    assert context.request.post(link, form=fields).ok


def end_sessions(installation: Installation) -> None:
    """End all sessions, as a new password does."""
    redis = installation.runtime.store.redis
    for key in redis.keys("{g}:session:*"):
        redis.delete(key)


def new_alert(page: Page) -> None:
    """Open the form of a new alert by its link; its scripts run then."""
    page.get_by_role("link", name="New alert", exact=True).click()
    page.wait_for_url("**/unfinished/*")


def review_for_everyone(page: Page) -> None:
    """Write an alert to everyone, and review it."""
    new_alert(page)
    page.get_by_label("Title", exact=True).fill(TITLE)
    page.get_by_label("Link to the story").fill("https://paper.example/ferry")
    page.get_by_label("Everyone").check()
    page.get_by_role("button", name="Review").click()


def send_to_everyone(page: Page) -> None:
    review_for_everyone(page)
    page.get_by_role("button", name=f"Notify {READERS} browsers").click()
    page.wait_for_url(re.compile(r"/desk/alerts/\d+$"))


def send_slowly(installation: Installation, page: Page, push_service: PushService) -> None:
    """Start an alert to everyone that takes about 50 s: 8 at a time, one second each."""
    installation.environment["PUSH_WINDOW"] = "8"
    installation.worker()
    installation.clock()
    push_service.answer_with(lambda _: Answer(201, delay=1))
    send_to_everyone(page)
