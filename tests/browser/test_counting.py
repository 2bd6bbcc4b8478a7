"""How often the question was shown and how far it went, counted by a real Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from service.domain.daily_totals import today
from tests.support.browser.readers import Visit, choose_topics, panel
from tests.support.installation import Installation, wait_until

pytestmark = pytest.mark.browser

FOLLOW = 'data-ask="click" data-ask-on=".kicker"'


def counted(paper: Installation) -> dict[str, int]:
    found = paper.runtime.questions.between(today(), 2)
    return dict(found.get("/demo", {}))


def test_each_step_of_the_question_is_counted_once_and_nothing_of_who_is_not_to_be_tracked(
    paper: Installation, visit: Visit
) -> None:
    before = counted(paper)
    page = visit(script=FOLLOW)
    page.add_init_script("Object.defineProperties(navigator, { doNotTrack: { value: '1' } })")
    page.reload()
    page.locator(".kicker").first.click()
    panel(page).get_by_role("button", name="Not now").click()
    expect(panel(page)).to_have_count(0)

    page = visit(script=FOLLOW)
    page.locator(".kicker").first.click()
    wait_until(lambda: counted(paper).get("shown", 0) > before.get("shown", 0))
    assert counted(paper) == before | {"shown": before.get("shown", 0) + 1}
    choose_topics(page, "world")
    panel(page).get_by_role("button", name="Yes").click()
    expected = {step: before.get(step, 0) + 1 for step in ("shown", "yes", "subscribed")}
    wait_until(lambda: counted(paper) == expected)
    page.evaluate("StopPress.leave()")
