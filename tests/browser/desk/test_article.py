"""Pasting an article's link into the form of an alert, in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from service.domain.sending.receipts import Report
from tests.support.browser.axe import faults
from tests.support.browser.desk import READERS, sign_in
from tests.support.network.newspaper import Newspaper, response
from tests.support.processes.installation import Installation

pytestmark = pytest.mark.browser

ARTICLE = b"""<!doctype html><html lang="en-GB"><title>Ferry aground</title>
<meta property="og:description" content="Nobody is hurt &amp;amp; all are ashore.">
<meta property="og:image" content="http://img.example/1.jpg">
<meta property="article:section" content="World">"""
OTHER = b"<title>One hour between them</title>"


@pytest.fixture
def paper() -> Iterator[Newspaper]:
    with Newspaper() as paper:
        paper.pages["/ferry"] = response(ARTICLE)
        paper.pages["/twins"] = response(OTHER)
        yield paper


@pytest.fixture
def form(installation: Installation, paper: Newspaper, empty_page: Page) -> Page:
    """The form of a new alert, beside a fetch process."""
    installation.environment["FETCH_ORIGINS"] = paper.origin
    installation.fetcher()
    sign_in(empty_page, installation)
    empty_page.goto(f"{installation.address}/desk/new")
    return empty_page


def write(page: Page, link: str) -> None:
    """Write a link and leave the field."""
    page.get_by_label("Link to the story").fill(link)
    page.keyboard.press("Tab")


def test_an_alert_is_filled_in_from_the_article_whose_link_is_pasted(
    form: Page, paper: Newspaper, tmp_path: Path
) -> None:
    paste = """link => {
      const field = document.querySelector("#url");
      field.focus();
      field.dispatchEvent(new ClipboardEvent("paste", { bubbles: true }));
      field.value = link;
    }"""
    form.evaluate(paste, f"{paper.origin}/ferry")
    status = form.locator("#article")
    expect(status).to_contain_text(f"Filled in from {paper.address}: title, text, language.")
    expect(status).to_contain_text("No picture: its address is not https. Section: World.")
    expect(form.get_by_label("Title", exact=True)).to_have_value("Ferry aground")
    expect(form.get_by_label("Text (optional)")).to_have_value("Nobody is hurt & all are ashore.")
    expect(form.locator(".windows [data-shows=title]")).to_have_text("Ferry aground")
    assert faults(form) == []
    # Another link: what was filled in gives way, also where the other page says nothing.
    write(form, f"{paper.origin}/twins")
    expect(form.get_by_label("Title", exact=True)).to_have_value("One hour between them")
    expect(form.get_by_label("Text (optional)")).to_have_value("")
    assert len(paper.requests) == 2
    # It is kept like what was typed.
    expect(form.locator("#saved")).to_have_text("Saved")
    form.reload()
    expect(form.get_by_label("Title", exact=True)).to_have_value("One hour between them")
    assert len(paper.requests) == 2


def test_a_pasted_link_becomes_an_alert_with_a_report(
    installation: Installation, form: Page, paper: Newspaper
) -> None:
    installation.worker()
    installation.clock()
    write(form, f"{paper.origin}/ferry")
    expect(form.get_by_label("Title", exact=True)).to_have_value("Ferry aground")
    form.get_by_label("Everyone").check()
    form.keyboard.press("Control+Enter")
    heading = form.get_by_role("heading", level=1)
    expect(heading).to_have_text(f"Notify all {READERS} browsers now?")
    form.wait_for_load_state()  # scripts run
    form.keyboard.press("Control+Enter")
    expect(form.locator(".state")).to_contain_text("Sent in", timeout=30_000)
    expect(heading).to_have_text("Ferry aground")
    (sent,) = installation.runtime.publishing.latest(10)
    assert installation.outcomes(sent.id) == {"accepted": READERS}
    readers = [installation.reader(number) for number in range(20)]
    installation.runtime.receipts.count([Report(sent.id, one, "clicked") for one in readers])
    form.reload()
    expect(form.get_by_role("row", name="Clicked 20")).to_contain_text("5 %")
    form.get_by_role("link", name="Alerts", exact=True).click()
    expect(form.get_by_role("row", name="Ferry aground")).to_contain_text("20")


def test_what_the_editor_wrote_stays(form: Page, paper: Newspaper) -> None:
    form.get_by_label("Title", exact=True).fill("Ferry aground, all are safe")
    write(form, f"{paper.origin}/ferry")
    status = form.locator("#article")
    expect(status).to_contain_text("Filled in from")
    expect(form.get_by_label("Title", exact=True)).to_have_value("Ferry aground, all are safe")
    form.get_by_label("Text (optional)").fill("My own words.")
    write(form, f"{paper.origin}/twins")
    expect(status).to_contain_text("your own words stay")
    expect(status).to_contain_text("another title: “One hour between them”")
    expect(form.get_by_label("Text (optional)")).to_have_value("My own words.")


def test_what_is_wrong_with_a_link_is_said_at_once(form: Page, paper: Newspaper) -> None:
    status = form.locator("#article")
    write(form, f"{paper.origin}/gone?preview=true")
    expect(status).to_contain_text("The page does not exist")
    expect(status).to_contain_text("preview")
    write(form, "ferry")
    expect(status).to_have_text("This is no link to a page.")
    write(form, "")
    expect(status).to_have_text("")
    write(form, "127.0.0.1:1/ferry")
    expect(form.get_by_label("Link to the story")).to_have_value("https://127.0.0.1:1/ferry")
    expect(status).to_contain_text("127.0.0.1 is at a private address, which readers cannot reach.")


@pytest.mark.soak
def test_a_dead_fetch_process_costs_nothing_but_the_filling_in(
    form: Page, paper: Newspaper, installation: Installation
) -> None:
    for process in installation.processes:
        if "workers.fetcher" in process.args:
            installation.end(process)
            break
    write(form, f"{paper.origin}/ferry")
    expect(form.locator("#article")).to_contain_text("no fetch process runs")
    form.get_by_label("Title", exact=True).fill("Ferry aground")
    form.locator(".fold:has(#at) summary").click()
    form.get_by_label("At", exact=True).check()
    form.get_by_label("save it as a draft").check()
    form.get_by_label("Everyone").check()
    form.get_by_role("button", name="Save the draft").click()
    expect(form.get_by_role("heading", level=1)).to_contain_text("Ferry aground")


@pytest.mark.soak
def test_the_confirmation_says_what_is_wrong_with_the_link(
    form: Page, paper: Newspaper, installation: Installation
) -> None:
    write(form, f"{paper.origin}/missing")
    form.get_by_label("Title", exact=True).fill("Ferry aground")
    form.get_by_label("Everyone").check()
    form.get_by_role("button", name="Review").click()
    expect(form.get_by_role("heading", level=1)).to_contain_text("Notify")
    expect(form.locator(".link-check li")).to_contain_text("404")
    assert faults(form) == []
    expect(form.get_by_role("button", name="Notify")).to_be_enabled()
