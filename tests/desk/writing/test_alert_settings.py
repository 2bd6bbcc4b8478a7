"""Everything that goes out with an alert can be set at the desk, and is seen before it leaves."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.model.notifications import Action, Audience, Content
from service.runtime import Runtime
from tests.support.desk.pages import hidden_fields, only, open_form, post, review, words
from tests.support.desk.planned import edit, opened

PICTURES = "https://paper.example"
SET = {
    "image": f"{PICTURES}/ferry.jpg",
    "icon": "paper.example/icon.png",
    "badge": f"{PICTURES}/badge.png",
    "button1": "Listen live",
    "button1_url": f"{PICTURES}/radio",
    "button2": "Map",
    "button2_url": "paper.example/map",
    "lang": "lv",
    "urgency": "normal",
    "ttl": "900",
    "exclude": ["sport"],
    "locales": "en, LV",
}
SEEN = (
    f"Picture {PICTURES}/ferry.jpg",
    f"Icon {PICTURES}/icon.png",
    f"Badge {PICTURES}/badge.png",
    f"Button Listen live: {PICTURES}/radio",
    f"Button Map: {PICTURES}/map",
    "Language Latvian",
    "Urgency normal",
    "Good for 15 minutes",
)


def test_all_that_is_set_goes_out_and_is_seen_on_each_page(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    draft = review(editor, **SET, when="draft").location
    one = only(runtime)
    content = one.content
    assert (content.image, content.icon, content.badge) == (
        f"{PICTURES}/ferry.jpg",
        f"{PICTURES}/icon.png",
        f"{PICTURES}/badge.png",
    )
    assert content.actions == (
        Action("Listen live", f"{PICTURES}/radio"),
        Action("Map", f"{PICTURES}/map"),
    )
    assert (content.lang, content.urgency, content.ttl) == ("lv", "normal", 900)
    every = dataclasses.fields(Content)
    usual = [one.name for one in every if getattr(content, one.name) == one.default]
    assert usual == ["kind"], "a new field of an alert is set in `SET`, and named in `SEEN`"
    assert one.audience == Audience(topics=("world",), exclude=("sport",), locales=("en", "lv"))
    confirmation = editor.get(f"{draft}/send", follow_redirects=True)
    for page in (editor.get(draft), confirmation):
        text = words(page.text)
        assert [seen for seen in SEEN if seen not in text] == []
    runtime.publishing.send(one.id, by="a test")
    text = words(editor.get(draft).text)
    assert [seen for seen in SEEN if seen not in text] == []


def test_an_edit_shows_and_changes_what_is_set(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    review(editor, **SET, when="draft")
    before = only(runtime)
    id = before.id
    assert edit(editor, id).status_code == 303
    assert runtime.publishing.get(id).content == before.content, "`saved_forms` loses a field"
    fields = opened(editor, id)
    assert (fields["button2"], fields["ttl"], fields["exclude"]) == ("Map", "900", ["sport"])
    assert fields["locales"] == "en lv"
    cleared = {"image": "", "button2": "", "button2_url": "", "ttl": "", "exclude": []}
    assert edit(editor, id, **cleared).status_code == 303
    one = runtime.publishing.get(id)
    assert (one.content.image, one.content.ttl) == (None, 4 * 3600)
    assert one.content.actions == (Action("Listen live", f"{PICTURES}/radio"),)
    assert one.audience.exclude == ()


def test_what_is_wrong_is_said_at_its_field_and_above_with_a_link(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    cases: tuple[tuple[dict[str, Any], str, str], ...] = (
        ({"image": "http://paper.example/a.jpg"}, "image", "https://"),
        ({"icon": "javascript:alert(1)"}, "icon", "https://"),
        ({"badge": "x"}, "badge", "https://"),
        ({"button1": "Listen"}, "actions", ""),
        ({"button2_url": "https://paper.example/"}, "actions", ""),
        ({"button1": "x" * 61, "button1_url": "https://paper.example/"}, "actions", "60"),
        ({"ttl": "12"}, "ttl", "60"),
        ({"ttl": "soon"}, "ttl", ""),
        ({"urgency": "extreme"}, "urgency", ""),
        ({"lang": "english, please"}, "lang", ""),
        ({"locales": "$$"}, "locales", ""),
        ({"exclude": ["unknown"]}, "audience", ""),
    )
    for changes, field, complaint in cases:
        page = review(editor, **changes)
        assert page.status_code == 422, changes
        assert re.search(rf'id="{field}-error">[^<]*{re.escape(complaint)}', page.text), changes
        assert f'<a href="#{field}">' in page.text, changes
        assert f'id="{field}"' in page.text, "the link leads somewhere"
        folds = re.findall(r'<details class="fold"( open)?>.*?</details>', page.text, re.DOTALL)
        assert folds.count(" open") == 1, "what is wrong is not folded away"
    assert runtime.publishing.latest(1) == []


def test_the_folded_parts_say_what_they_are_set_to(editor: FlaskClient, readers: int) -> None:
    page = open_form(editor)
    key = re.search(r'name="nonce" value="([^"]+)"', page)
    assert key
    fields = {**hidden_fields(page), **SET, "new_story": "ferry", "spread": "30"}
    answer = editor.post(f"/desk/unfinished/{key[1]}/save", data=fields).json
    assert answer["folds"] == {
        "story": "starts “ferry”",
        "second-text": "one text",
        "exceptions": "not followers of Sport, only readers of en, LV",
        "extras": "picture, icon, badge, “Listen live”, and “Map”",
        "settings": "good for 15 minutes, urgency normal, language lv",
        "when": "now, spread over 30 minutes",
    }
    assert answer["size"] == ""
    reloaded = words(editor.get(f"/desk/unfinished/{key[1]}").text)
    assert "Story starts “ferry”" in reloaded


@pytest.mark.parametrize(
    ("length", "says"),
    [
        (600, "bytes. Above 2,703, Firefox"),
        (900, "Firefox on Android gets it without"),
        (1900, "too long to be pushed, by "),
    ],
)
def test_the_size_of_a_long_message_is_explained(
    editor: FlaskClient, readers: int, length: int, says: str
) -> None:
    page = open_form(editor)
    fields = {**hidden_fields(page), "title": "Long", "body": "\u65b0" * length}
    answer = editor.post(f"/desk/unfinished/{fields['nonce'][0]}/save", data=fields).json
    assert says in answer["size"]


def test_an_icon_that_browsers_do_not_show_is_warned_of(editor: FlaskClient, readers: int) -> None:
    text = words(review(editor, icon="https://paper.example/icon.SVG?v=1").text)
    assert "Browsers show no SVG: use a PNG." in text
    assert "no SVG" not in words(review(editor, icon="https://paper.example/icon.png").text)


def test_the_reach_follows_exceptions_and_languages(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    some = runtime.publishing.reach(Audience(everyone=True, exclude=("sport",)))
    assert 0 < some < 100
    assert f">{some}<" in editor.get("/desk/reach?audience=everyone&exclude=sport").text
    nobody = editor.get("/desk/reach?audience=everyone&locales=xx").text
    assert "No browser is in this audience" in nobody
    assert ">100<" in editor.get("/desk/reach?audience=everyone&locales=%00&exclude=x").text


def test_strange_settings_of_what_is_typed_break_nothing(
    editor: FlaskClient, runtime: Runtime
) -> None:
    page = open_form(editor)
    fields = {**hidden_fields(page), "ttl": "9" * 5000, "spread": "<b>", "lang": "\x00" * 9}
    key = fields["nonce"][0]
    assert editor.post(f"/desk/unfinished/{key}/save", data=fields).status_code == 200
    assert editor.get(f"/desk/unfinished/{key}").status_code == 200
    post(editor, f"/desk/unfinished/{key}/discard", page="/desk/")
    assert runtime.unfinished.of("nora@paper.example") == []
