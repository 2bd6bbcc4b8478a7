"""What the confirmation asks an editor to check in a title, and slugs made from names."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from service.model.language.slugs import slug_of
from service.model.notifications import Audience, Outcome
from service.runtime import Runtime
from tests.support.desk.pages import (
    Page,
    correct,
    hidden_fields,
    open_form,
    publish,
    review,
    send_all,
    submit,
    words,
)
from tests.support.desk.planned import edit, plan

FAMILY = "👨\u200d👩\u200d👧"  # one character for a reader, five for a program


def to_check(editor: FlaskClient, title: str) -> str:
    """What the confirmation says below “Please check”."""
    page = review(editor, title=title)
    assert page.status_code == 200
    Page(page.text)
    return checks_of(page.text)


def checks_of(page: str) -> str:
    found = re.search(r'<ul class="check">(.*?)</ul>', page, re.S)
    return words(found[1]).strip() if found else ""


def test_a_title_too_long_for_a_phone_is_to_be_checked(editor: FlaskClient, readers: int) -> None:
    assert to_check(editor, "x" * 60) == ""
    assert to_check(editor, FAMILY * 20) == ""
    long = to_check(editor, "x" * 61)
    assert "The title has 61 characters. An iPhone shows about 60, Android and a Mac 40." in long


def test_a_shouted_title_is_to_be_checked(editor: FlaskClient, readers: int) -> None:
    for title in ("FERRY AGROUND OFF RIGA", "ПАРОМ СЕЛ НА МЕЛЬ", "GOAL! LATVIA 1–0 ESTONIA"):
        assert "all capitals" in to_check(editor, title), title
    for title in ("NATO, EU", "عاجل: حريق في المدينة", "FERRY AGROUND off Riga", "2026 – 11 – 29"):
        assert "capitals" not in to_check(editor, title), title


def test_a_title_like_that_of_the_last_alerts_is_to_be_checked(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime, title="Ferry aground off Riga: all are safe")
    same = to_check(editor, "FERRY aground off Riga – all are safe!")
    assert "The same title went out" in same
    assert "Ferry aground off Riga: all are safe" in same
    assert (
        f'href="/desk/alerts/{id}"' in review(editor, title="Ferry aground off Riga: all safe").text
    )
    near = to_check(editor, "Ferry aground off Riga: all safe")
    assert "A title with nearly the same words went out" in near
    assert to_check(editor, "Ferry afloat off Riga: two hurt") == ""
    assert to_check(editor, "…") == ""
    for number in range(3):
        publish(runtime, title=f"Something else {number * 'very '}different")
    assert to_check(editor, "Ferry aground off Riga: all are safe") == ""


def test_only_alerts_that_readers_may_have_seen_count(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    publish(runtime, title="Kick-off")
    draft = plan(runtime, title="Half-time")
    assert to_check(editor, "Half-time") == ""  # it is not sent
    seen = edit(editor, draft, when="now")
    assert checks_of(seen.text) == ""
    for _ in range(3):
        id = publish(runtime, title="Full time")
        runtime.publishing.cancel(id, by="a test")
        runtime.planning.plan(runtime.publishing.get(id))
        runtime.planning.advance(id)
    assert to_check(editor, "Full time") == ""
    assert "The same title" in to_check(editor, "Kick-off")


def test_a_correction_counts_with_its_new_title(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    publish(runtime, title="Bridge closed")
    id = publish(runtime, title="Ferry aground")
    send_all(runtime, id, {(Outcome.ACCEPTED, "other"): 40})
    assert correct(editor, id, title="Ferry afloat again").status_code == 303
    assert "The same title" in to_check(editor, "Ferry afloat again")
    assert to_check(editor, "Ferry aground") == ""
    for number in range(2):  # however many there are, they count as one alert
        assert correct(editor, id, title=f"{number + 2} ferries").status_code == 303
    assert "The same title" in to_check(editor, "Bridge closed")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Ferry aground!", "ferry-aground"),
        ("  Ferry   aground ", "ferry-aground"),
        ("Fähre gesunken: Straße gesperrt", "fahre-gesunken-strasse-gesperrt"),
        ("Łódź – Ørsted’s ænd", "lodz-orsteds-aend"),
        ("Élections à l'étranger", "elections-a-letranger"),
        ("Vēlēšanas 2026 (Rīga)", "velesanas-2026-riga"),
        ("ＦＵＬＬ　ｗｉｄｔｈ ½", "full-width-1-2"),
        ("İstanbul", "istanbul"),
        ("Covid-19", "covid-19"),
        ("паром 2026", "2026"),
        ("паром", ""),
        ("حريق", ""),
        ("—!?", ""),
        ("", ""),
    ],
)
def test_a_slug_is_made_from_a_name(name: str, slug: str) -> None:
    assert slug_of(name) == slug


def test_a_story_begins_under_a_name_with_other_characters(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    page = review(editor, new_story="Fähre gesunken!")
    assert "fahre-gesunken, which starts with this alert" in words(page.text)
    editor.post("/desk/alerts", data=hidden_fields(page.text))
    (story,) = runtime.stories.running()
    assert story.slug == "fahre-gesunken"
    # The same name is the same story from then on.
    again = submit(editor, open_form(editor), **FORM, new_story="fähre  GESUNKEN")
    assert "fahre-gesunken, replaces" in words(again.text)


FORM = {
    "title": "Another",
    "url": "https://paper.example/b",
    "audience": "everyone",
    "kind": "news",
}


def test_a_name_of_which_nothing_is_left_is_refused(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    page = review(editor, new_story="паром")
    assert page.status_code == 422
    assert "Use Latin letters or digits in the name of the story" in words(page.text)
    assert 'value="паром"' in page.text
    assert runtime.publishing.reach(Audience(everyone=True)) == 100
