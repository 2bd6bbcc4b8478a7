"""Nothing that an editor types is lost, in a real Chromium, against a real gunicorn."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Page, Route, expect

from service.domain.alerts.unfinished import sent_by
from service.model.notifications import Audience, Content, State
from tests.support.browser.axe import faults
from tests.support.browser.desk import (
    EMAIL,
    READERS,
    TITLE,
    end_sessions,
    new_alert,
    sign_in,
    sign_in_unseen,
)
from tests.support.desk.pages import PASSWORD
from tests.support.processes.installation import Installation, wait_until

pytestmark = pytest.mark.browser

BEN = "ben@paper.example"
# Keeps texts of another editor in this browser: by name, how many days ago.
KEEP_OF_ANOTHER = """days => {
  for (const [name, ago] of Object.entries(days)) {
    const at = ago === null ? undefined : Date.now() - ago * 86_400_000;
    const kept = JSON.stringify({ by: "ben@paper.example", at, fields: [["nonce", name]] });
    localStorage.setItem(`stoppress-unsaved ${name}`, kept);
  }
}"""


def write(page: Page, title: str = TITLE) -> None:
    new_alert(page)
    page.get_by_label("Title", exact=True).fill(title)


def saved(page: Page) -> None:
    expect(page.locator("#saved")).to_have_text("Saved")


def title(page: Page) -> str:
    return page.get_by_label("Title", exact=True).input_value()


def sign_in_over_the_page(page: Page, password: str = PASSWORD) -> None:
    dialog = page.get_by_role("dialog", name="Your session has ended")
    expect(dialog).to_be_visible()
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type(password)
    page.keyboard.press("Enter")


def test_a_reload_a_menu_link_and_back_lose_nothing(desk: Page) -> None:
    write(desk)
    saved(desk)
    desk.reload()
    assert title(desk) == TITLE
    desk.get_by_label("Text (optional)").fill("All are safe.")
    desk.get_by_role("link", name="Stories").click()  # at once, before it is saved
    expect(desk.get_by_role("heading", name="Stories")).to_be_visible()
    desk.go_back()
    expect(desk.get_by_label("Text (optional)")).to_have_value("All are safe.")
    desk.get_by_role("link", name="Alerts", exact=True).click()
    desk.get_by_role("link", name=TITLE).click()
    expect(desk.get_by_label("Text (optional)")).to_have_value("All are safe.")


@pytest.mark.soak
def test_a_closed_window_loses_nothing(desk: Page) -> None:
    context = desk.context
    write(desk)
    saved(desk)
    address = desk.url.split("/desk")[0] + "/desk/"
    desk.close()
    page = context.new_page()
    page.goto(address)
    page.get_by_role("link", name=TITLE).click()
    assert title(page) == TITLE


def test_a_lost_connection_loses_nothing(desk: Page) -> None:
    write(desk)
    saved(desk)
    desk.context.set_offline(True)
    desk.get_by_label("Everyone").check()
    expect(desk.locator("#reach")).to_have_text("Not counted: the service does not respond.")
    desk.get_by_label("Text (optional)").fill("Typed in a tunnel.")
    expect(desk.locator("#saved")).to_contain_text("Not saved yet: the service does not respond")
    desk.context.set_offline(False)
    saved(desk)
    desk.reload()
    expect(desk.get_by_label("Text (optional)")).to_have_value("Typed in a tunnel.")


def test_what_was_typed_offline_comes_back_after_the_window_was_closed(desk: Page) -> None:
    context, address = desk.context, desk.url.split("/desk")[0] + "/desk/"
    new_alert(desk)
    context.set_offline(True)
    desk.get_by_label("Title", exact=True).fill(TITLE)
    expect(desk.locator("#saved")).to_contain_text("Not saved yet")
    desk.evaluate(KEEP_OF_ANOTHER, {"young": 29, "old": 31, "undated": None})
    desk.close(run_before_unload=False)
    context.set_offline(False)
    page = context.new_page()

    def fail(route: Route) -> None:
        """Answer as if Redis was away, except when the page itself is loaded."""
        is_page = route.request.resource_type == "document"
        route.continue_() if is_page else route.fulfill(status=503, body="<h1>Redis</h1>")

    page.route(re.compile("/desk/$"), fail)
    with page.expect_response(lambda response: response.status == 503):
        page.goto(address)
    page.evaluate("fetch('/desk/session').then(() => null)")  # the script has read it by then
    expect(page.locator("[data-unfinished]")).to_have_count(1)
    page.unroute(re.compile("/desk/$"))
    page.reload()
    page.get_by_role("link", name=TITLE).click()
    assert page.locator("#title").input_value() == TITLE
    kept = page.evaluate("Object.entries({...localStorage})")
    of_another = {name.split()[1]: text for name, text in kept if BEN in text}
    assert of_another.keys() == {"young", "undated"}, "each of an editor's texts ends one day"
    assert '"at":' in of_another["undated"], "also what an earlier release kept"


def test_an_ended_session_asks_to_sign_in_over_the_page_and_goes_on(
    installation: Installation, desk: Page
) -> None:
    write(desk)
    saved(desk)
    end_sessions(installation)
    desk.get_by_label("Text (optional)").fill("Typed after the session.")
    expect(desk.locator("#saved")).to_contain_text("your session has ended")
    expect(desk.get_by_role("dialog")).to_be_visible()
    desk.evaluate("document.querySelector('[name=audience][value=everyone]').click()")
    expect(desk.locator("#reach")).to_have_text("Not counted: your session has ended.")
    desk.evaluate("document.querySelector('#url').value = 'https://paper.example/ferry'")
    desk.evaluate("document.querySelector('#url').dispatchEvent(new Event('change'))")
    expect(desk.locator("#article")).to_have_text("Reading the page…")
    assert faults(desk) == []
    sign_in_over_the_page(desk, "a wrong password")
    expect(desk.locator("#again .error")).to_contain_text("The e-mail address or the password")
    sign_in_over_the_page(desk)
    expect(desk.get_by_role("dialog")).to_be_hidden()
    saved(desk)
    expect(desk.locator("#reach")).to_have_text(f"{READERS} browsers would get it now")
    expect(desk.locator("#article")).to_contain_text("no fetch process runs")
    desk.reload()
    expect(desk.get_by_label("Text (optional)")).to_have_value("Typed after the session.")


@pytest.mark.soak
def test_review_and_notify_go_on_after_signing_in_again(
    installation: Installation, desk: Page
) -> None:
    write(desk)
    desk.get_by_label("Link to the story").fill("https://paper.example/ferry")
    desk.get_by_label("Everyone").check()
    saved(desk)
    end_sessions(installation)
    desk.get_by_role("button", name="Review").click()
    sign_in_over_the_page(desk)
    expect(desk.get_by_role("heading", level=1)).to_contain_text("Notify all")
    desk.wait_for_load_state()  # scripts run
    end_sessions(installation)
    desk.get_by_role("button", name=f"Notify {READERS} browsers").click()
    sign_in_over_the_page(desk)
    expect(desk.locator(".state")).to_have_text("Sending")
    assert len(installation.runtime.publishing.latest(10)) == 1


@pytest.mark.soak
def test_what_is_typed_after_a_press_that_did_not_leave_the_page_is_saved(desk: Page) -> None:
    new_alert(desk)
    desk.locator("#title").fill(TITLE)
    desk.get_by_label("Link to the story").fill("https://paper.example/ferry")
    desk.get_by_label("Everyone").check()
    saved(desk)
    pressed: list[Route] = []

    def stop(route: Route) -> None:
        """End the way to the next page, as an editor does who presses Escape."""
        pressed.append(route)
        route.abort("aborted")

    desk.route(re.compile(r"/unfinished/[\w-]+$"), stop, times=1)
    desk.get_by_role("button", name="Review").click()
    wait_until(lambda: desk.evaluate("1") and pressed)
    too_long = "This is too long to be kept. Shorten it, please."
    desk.locator("#body").fill("x" * 70_000)  # more than the service reads
    expect(desk.locator("#saved")).to_have_text(too_long)
    desk.get_by_role("button", name="Review").click()
    expect(desk.locator("#saved")).to_have_text(too_long)
    page = "<html><h1>413 Request Entity Too Large</h1></html>"  # as a proxy says it
    desk.route("**/save", lambda route: route.fulfill(status=413, body=page), times=1)
    desk.locator("#body").fill("Too long for a proxy")
    expect(desk.locator("#saved")).to_have_text(too_long)
    desk.locator("#body").fill("Typed after the press.")
    saved(desk)
    desk.get_by_role("button", name="Review").click()
    expect(desk.get_by_role("heading", level=1)).to_contain_text("Notify all")
    expect(desk.locator("main")).to_contain_text("Typed after the press.")


def test_another_editor_who_signs_in_sees_none_of_it(
    installation: Installation, desk: Page
) -> None:
    write(desk, "Under embargo")
    saved(desk)
    form = desk.url
    desk.context.set_offline(True)
    desk.get_by_label("Text (optional)").fill("Not for Ben")
    expect(desk.locator("#saved")).to_contain_text("Not saved yet")
    end_sessions(installation)
    sign_in_unseen(desk.context, installation, BEN)
    desk.context.set_offline(False)
    desk.wait_for_url(re.compile("/desk/$"))
    assert "embargo" not in desk.content()
    desk.go_back()
    assert "embargo" not in desk.content()
    desk.goto(form)
    desk.wait_for_url(lambda address: "/unfinished/" in address and address != form)
    expect(desk.get_by_label("Title", exact=True)).to_have_value("")
    expect(desk.get_by_label("Text (optional)")).to_have_value("")
    expect(desk.locator("#saved")).to_have_text("")  # nothing was brought back, or is being saved
    assert installation.runtime.unfinished.of(BEN) == []
    end_sessions(installation)
    desk.goto(desk.url.split("/desk")[0] + "/desk/sign-in")
    desk.get_by_label("E-mail").fill(EMAIL)
    desk.get_by_label("Password").fill(PASSWORD)
    desk.get_by_role("button", name="Sign in", exact=True).click()
    desk.get_by_role("link", name="Under embargo").click()
    expect(desk.get_by_label("Text (optional)")).to_have_value("Not for Ben")


@pytest.mark.soak
def test_two_windows_of_one_editor_do_not_overwrite_each_other(desk: Page) -> None:
    write(desk, "First")
    saved(desk)
    other = desk.context.new_page()
    other.goto(desk.url)
    other.get_by_label("Title", exact=True).fill("Second")
    saved(other)
    desk.get_by_label("Title", exact=True).fill("Third")
    notice = desk.get_by_role("alert").filter(has_text="in another window meanwhile")
    expect(notice).to_be_visible()
    assert faults(desk) == []
    other.reload()
    assert title(other) == "Second"
    desk.get_by_role("button", name="Keep this one").click()
    saved(desk)
    expect(notice).to_be_hidden()
    other.reload()
    assert title(other) == "Third"


@pytest.mark.soak
def test_that_the_form_was_sent_in_another_window_is_said_until_the_page_is_left(
    installation: Installation, desk: Page
) -> None:
    new_alert(desk)
    desk.locator("#title").fill(TITLE)
    saved(desk)
    key = desk.url.rpartition("/")[2]
    content = Content(title=TITLE, url="https://paper.example/ferry")
    everyone = Audience(everyone=True)
    publishing = installation.runtime.publishing
    publishing.publish(content, everyone, by=EMAIL, idempotency=sent_by(EMAIL, key))
    said = desk.get_by_role("link", name="This form was sent or saved in another window.")
    for text in ("All are safe.", "All are safe, we hear."):
        desk.locator("#body").fill(text)
        expect(said).to_be_visible()
    desk.get_by_role("link", name="Alerts", exact=True).click()
    expect(desk.locator("[data-unfinished]").get_by_role("link", name=TITLE)).to_have_count(2)
    kept = installation.runtime.unfinished.of(EMAIL)
    assert [one.fields["body"] for one in kept] == ["All are safe, we hear.", ""]


def test_two_editors_of_one_draft_see_names_and_changes(
    installation: Installation, desk: Page
) -> None:
    everyone = Audience(everyone=True)
    draft = Content(title="Ferry aground", url="https://paper.example/ferry")
    publishing = installation.runtime.publishing
    id = publishing.publish(draft, everyone, by="cms", draft=True).id
    address = desk.url.split("/desk")[0] + f"/desk/alerts/{id}/edit"
    desk.goto(address)
    context = desk.context.browser and desk.context.browser.new_context()
    assert context
    sign_in_unseen(context, installation, BEN)
    ben = context.new_page()
    ben.goto(address)
    ben.get_by_label("Text (optional)").fill("All are safe")
    saved(ben)
    desk.get_by_label("Text (optional)").fill("Nobody is hurt")
    expect(desk.locator("#others")).to_have_text(f"Also being changed by {BEN}.")
    ben.get_by_label("Title", exact=True).fill("Ferry saved")
    ben.get_by_role("button", name="Save the draft").click()
    expect(ben.locator(".lead")).to_contain_text("Draft.")
    desk.get_by_label("Text (optional)").fill("Nobody is hurt, we hear")
    expect(desk.get_by_role("status").locator("#changes")).to_contain_text(
        "title “Ferry aground” → “Ferry saved”"
    )
    expect(desk.get_by_role("link", name="What another editor did")).to_be_in_viewport()
    assert faults(desk) == []
    desk.evaluate("document.body.id = 'before'")
    desk.get_by_role("button", name="Save the draft").click()
    expect(desk.locator("body:not(#before) #changes")).to_contain_text(BEN)
    assert publishing.get(id).content.title == "Ferry saved"
    context.close()


def test_two_editors_who_press_notify_on_one_draft_send_it_once(
    installation: Installation, desk: Page
) -> None:
    installation.worker()
    installation.clock()
    draft = Content(title="Ferry aground", url="https://paper.example/ferry")
    publishing = installation.runtime.publishing
    id = publishing.publish(draft, Audience(everyone=True), by="cms", draft=True).id
    context = desk.context.browser and desk.context.browser.new_context()
    assert context
    sign_in_unseen(context, installation, BEN)
    pages = [desk, context.new_page()]
    for page in pages:
        page.goto(desk.url.split("/desk")[0] + f"/desk/alerts/{id}/send")
        page.get_by_role("button", name=f"Notify {READERS} browsers").wait_for()
    for page in pages:  # neither waits for the other
        page.evaluate("void setTimeout(() => document.querySelector('button.urgent').click())")
    assert installation.over(id).state is State.SENT
    for page in pages:
        expect(page.get_by_role("heading", level=1)).to_have_text(
            re.compile("Ferry aground|Correct")
        )
    assert installation.outcomes(id) == {"accepted": READERS}
    assert [one.id for one in publishing.latest(10)] == [id]
    context.close()


@pytest.mark.soak
def test_what_is_typed_before_the_scripts_run_counts(desk: Page) -> None:
    def type_first(route: Route) -> None:
        desk.get_by_label("Title", exact=True).fill(TITLE)
        route.continue_()

    desk.route("**/autosave.js", type_first)
    desk.get_by_role("link", name="New alert").click()
    saved(desk)
    desk.unroute("**/autosave.js")
    desk.reload()
    assert title(desk) == TITLE


def test_typing_is_saved_within_two_seconds_however_long_it_goes_on(
    installation: Installation, desk: Page
) -> None:
    new_alert(desk)
    desk.get_by_label("Title", exact=True).focus()
    unfinished = installation.runtime.unfinished
    for _ in range(12):  # without a pause as long as the page waits for
        desk.keyboard.type("word ")
        time.sleep(0.2)
    # By now the first letters are saved, though the editor has not stopped.
    found = wait_until(lambda: unfinished.of(EMAIL))
    assert found[0].fields["title"].startswith("word")
    saved(desk)
    assert unfinished.of(EMAIL)[0].fields["title"] == ("word " * 12).strip()


@pytest.mark.soak
def test_with_blocked_storage_the_service_still_keeps_it(
    installation: Installation, empty_page: Page
) -> None:
    empty_page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('blocked') }})"
    )
    sign_in(empty_page, installation)
    write(empty_page)
    saved(empty_page)
    empty_page.reload()
    assert title(empty_page) == TITLE


@pytest.mark.soak
def test_what_is_typed_during_a_save_is_there_after_a_reload(desk: Page) -> None:
    write(desk)
    saved(desk)
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.abort()
        held.append(route)

    desk.route("**/save", hold_the_first)
    desk.get_by_label("Text (optional)").fill("One")
    wait_until(lambda: desk.evaluate("1") and held)
    desk.get_by_label("Text (optional)").fill("One, two")
    held[0].continue_()
    expect(desk.locator("#saved")).to_contain_text("Not saved yet")
    desk.reload()
    expect(desk.get_by_label("Text (optional)")).to_have_value("One, two")
    desk.unroute("**/save")
    saved(desk)


@pytest.mark.soak
def test_what_this_browser_kept_comes_back_with_every_choice(desk: Page) -> None:
    write(desk)
    saved(desk)
    desk.route("**/save", lambda route: route.abort())
    for fold in desk.locator("details").all():
        fold.evaluate("fold => { fold.open = true; }")
    desk.get_by_label("or start a new story").fill("ferry-aground")
    desk.get_by_label("Everyone").check()
    desk.get_by_label("Text (optional)").fill("Kept here")
    expect(desk.locator("#saved")).to_contain_text("Not saved yet")
    chosen = """[...new FormData(document.querySelector("form[data-save]"))]
        .filter(([name]) => name !== "csrf_token")"""
    before = desk.evaluate(chosen)
    desk.reload()
    assert desk.evaluate(chosen) == before
    expect(desk.locator("[data-shows=body]").first).to_have_text("Kept here")
