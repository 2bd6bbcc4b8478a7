"""Templates: saving a form under a name, beginning alerts with it, renaming and deleting it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.domain.alerts.templates import MOST_TEMPLATES
from service.runtime import Runtime
from tests.support.desk.pages import (
    EMAIL,
    NASTY,
    STORY,
    FormFields,
    Page,
    hidden_fields,
    hidden_fields_of_compose,
    open_form,
    post,
    review,
    words,
)
from tests.support.desk.planned import later, opened, plan


def save(editor: FlaskClient, name: str, path: str = "/desk/new", **typed: Any) -> TestResponse:
    """Open a form, type, and save it as a template."""
    page = open_form(editor, path)
    action = re.search(r'formaction="([^"]+/template)"', page)
    assert action
    hidden = hidden_fields_of_compose(page)
    form = {**hidden, **STORY, "template_name": name, **typed}
    return editor.post(action[1], data=form)


def only(runtime: Runtime) -> str:
    """The id of the only template."""
    (one,) = runtime.templates.all()
    return one.id


@pytest.mark.redis
def test_a_saved_form_begins_new_alerts_without_its_time(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    typed = {
        **{"title": NASTY, "ttl": "3600", "urgency": "low", "lang": "lv", "locales": "lv ru"},
        **{"button1": "Live", "button1_url": "https://paper.example/live", "exclude": ["sport"]},
        **{"spread": "30", **later()},
    }
    answer = save(editor, "  Election   night ", **typed)
    assert answer.status_code == 303
    back = editor.get(answer.location)
    assert "Saved as the template “Election night”. The alert is not sent yet." in words(back.text)
    fields = FormFields(back.text).fields
    assert fields["at"] == [typed["at"]]

    listed = editor.get("/desk/templates")
    assert "Election night" in words(listed.text)
    assert NASTY not in listed.text
    begun = open_form(editor, f"/desk/new?template={only(runtime)}")
    fields = FormFields(begun).fields
    assert fields["button1_url"] == ["https://paper.example/live"]
    shown = {name: fields[name] for name in ("ttl", "urgency", "lang", "locales", "spread")}
    assert shown == {
        **{"ttl": ["3600"], "urgency": ["low"], "lang": ["lv"], "locales": ["lv ru"]},
        "spread": ["30"],
    }
    assert (fields["topic"], fields["exclude"]) == (["world"], ["sport"])
    assert (fields["when"], fields["at"]) == (["now"], [""])
    assert fields["nonce"] != hidden_fields_of_compose(back.text)["nonce"]


def test_nothing_is_kept_of_a_form_begun_from_a_template_until_it_is_changed(
    editor: FlaskClient, runtime: Runtime
) -> None:
    save(editor, "Weather")
    before = sorted(runtime.store.redis.keys("{g}:unfinished:*"))
    open_form(editor, f"/desk/new?template={only(runtime)}")
    assert sorted(runtime.store.redis.keys("{g}:unfinished:*")) == before


def test_the_form_of_a_new_alert_offers_templates_until_something_is_written(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    assert "from-template" not in open_form(editor)
    kept = save(editor, "Weather")
    assert "Template none chosen Weather Begin with it" in words(open_form(editor))
    assert "from-template" not in editor.get(kept.location).text
    id = plan(runtime)
    assert "from-template" not in open_form(editor, f"/desk/alerts/{id}/edit")
    assert "from-template" not in open_form(editor, f"/desk/new?again={id}")


def test_the_form_of_a_planned_alert_can_be_saved_too(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = plan(runtime, 3600)
    form = opened(editor, id)
    path = f"/desk/unfinished/{form['nonce']}/template"
    assert editor.post(path, data={**form, "template_name": "Match"}).status_code == 303
    fields = FormFields(open_form(editor, f"/desk/new?template={only(runtime)}")).fields
    assert (fields["title"], fields["when"]) == (["Kick-off"], ["now"])
    assert "changes" not in fields


def test_a_name_that_cannot_be_is_refused_and_the_form_stays(
    editor: FlaskClient, runtime: Runtime
) -> None:
    save(editor, "Weather")
    for name, why in (
        ("", "Write a name for the template."),
        ("x" * 61, "at most 60 characters"),
        ("\u200b\u200d", "Write a name for the template."),
        ("a\x00b", "characters that no screen shows"),
        ("Weather\u200b", "characters that no screen shows"),
        ("\u202eWeather", "characters that no screen shows"),
        ("WEATHER", "Another template has this name."),
    ):
        answer = save(editor, name, title="Storm ahead")
        assert answer.status_code == 422, name
        assert why in words(answer.text)
        assert FormFields(answer.text).fields["title"] == ["Storm ahead"]
        assert FormFields(answer.text).fields["template_name"] == [name]
        Page(answer.text)
    assert len(runtime.templates.all()) == 1


@pytest.mark.redis
def test_a_double_click_saves_one_template(editor: FlaskClient, runtime: Runtime) -> None:
    page = open_form(editor)
    hidden = hidden_fields_of_compose(page)
    form = {**hidden, **STORY, "template_name": "Weather"}
    path = f"/desk/unfinished/{hidden['nonce'][0]}/template"
    for _ in range(2):
        assert editor.post(path, data=form).status_code == 303
    assert len(runtime.templates.all()) == 1


def test_a_template_is_renamed_and_deleted(editor: FlaskClient, runtime: Runtime) -> None:
    save(editor, "Weather")
    save(editor, "Sport")
    first = runtime.templates.all()[1].id
    path = f"/desk/templates/{first}"
    refused = post(editor, f"{path}/rename", page="/desk/templates", name="sport")
    assert refused.status_code == 422
    assert "Another template has this name." in words(refused.text)
    Page(refused.text)
    answer = post(editor, f"{path}/rename", page="/desk/templates", name="Storms & floods")
    assert (answer.status_code, answer.location) == (303, "/desk/templates")
    assert [one.name for one in runtime.templates.all()] == ["Sport", "Storms & floods"]
    assert runtime.templates.get(first).fields["title"] == STORY["title"]
    for _ in range(2):
        assert post(editor, f"{path}/delete", page="/desk/templates").status_code == 303
    assert [one.name for one in runtime.templates.all()] == ["Sport"]
    assert post(editor, f"{path}/rename", page="/desk/templates", name="X").status_code == 404
    assert editor.get(f"/desk/new?template={first}", follow_redirects=True).status_code == 404


def test_there_are_no_more_than_a_hundred(editor: FlaskClient, runtime: Runtime) -> None:
    for number in range(MOST_TEMPLATES):
        runtime.templates.add(f"Number {number}", {}, "a test")
    answer = save(editor, "One more")
    assert answer.status_code == 422
    assert "There are 100 templates" in words(answer.text)
    one = runtime.templates.all()[0]
    runtime.templates.rename(one.id, "Another name")
    assert len(runtime.templates.all()) == MOST_TEMPLATES


@pytest.mark.parametrize(
    "fields",
    [{}, {"title": "Late", "stickers": ["x"], "topics": ["gone"]}, {"topics": ["world"]}],
    ids=["earlier", "later", "few"],
)
def test_a_template_of_another_release_opens(
    editor: FlaskClient, runtime: Runtime, fields: dict[str, Any]
) -> None:
    row = {"v": 7, "name": "Odd", "folded": "odd", "by": "x", "at": 1, "fields": fields, "more": 1}
    runtime.store.redis.hset("{g}:templates", "odd", json.dumps(row))
    assert "Odd" in editor.get("/desk/templates").text
    shown = FormFields(open_form(editor, "/desk/new?template=odd")).fields
    assert shown["title"] == [fields.get("title", "")]


def test_who_writes_begins_a_draft_with_a_template_and_saves_none(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    save(editor, "Weather")
    person = runtime.store.access.people([EMAIL])[0][0]._replace(role="writes")
    runtime.store.redis.hset("{g}:people", EMAIL, person.as_json())
    page = open_form(editor, f"/desk/new?template={only(runtime)}")
    assert FormFields(page).fields["when"] == ["draft"]
    assert "Save as a template" not in page
    listed = editor.get("/desk/templates").text
    assert "Weather" in listed
    assert not re.search("Rename|Delete", listed)
    Page(listed)


# Using an alert again -----------------------------------------------------------------------------


def test_an_alert_is_used_again_with_its_latest_text_settings_and_audience(
    editor: FlaskClient, runtime: Runtime, half_sent: int, readers: int
) -> None:
    page = editor.get(f"/desk/alerts/{half_sent}").text
    assert f'href="/desk/new?again={half_sent}"' in page
    runtime.corrections.correct(
        half_sent, title="Ferry afloat", body=None, url=None, replace=True, by="a test"
    )
    before = runtime.store.redis.keys("{g}:unfinished:*")
    begun = open_form(editor, f"/desk/new?again={half_sent}")
    fields = FormFields(begun).fields
    assert fields["title"] == ["Ferry afloat"]
    assert fields["body"] == ["One\nTwo"]
    assert fields["audience"] == ["everyone"]
    assert fields["when"] == ["now"]
    assert "alert" not in fields
    assert runtime.store.redis.keys("{g}:unfinished:*") == before
    Page(begun)


@pytest.mark.parametrize("state", ["draft", "scheduled", "cancelled"])
def test_an_alert_in_any_state_is_used_again(
    editor: FlaskClient, runtime: Runtime, readers: int, state: str
) -> None:
    id = plan(runtime, None if state == "draft" else 3600)
    if state == "cancelled":
        runtime.publishing.cancel(id, by="a test")
    link = f"/desk/new?again={id}"
    assert f'href="{link}"' in editor.get(f"/desk/alerts/{id}").text
    fields = FormFields(open_form(editor, link)).fields
    assert (fields["title"], fields["topic"]) == (["Kick-off"], ["world"])
    assert (fields["when"], fields["at"]) == (["now"], [""])


def test_a_story_that_is_closed_does_not_begin_again(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    sent = review(editor, new_story="Ferry")
    editor.post("/desk/alerts", data=hidden_fields(sent.text))
    (one,) = runtime.publishing.latest(1)
    link = f"/desk/new?again={one.id}"
    assert FormFields(open_form(editor, link)).fields["story"] == ["ferry"]
    runtime.stories.close("ferry")
    assert FormFields(open_form(editor, link)).fields["story"] == [""]


@pytest.mark.parametrize("query", ["again=999", "again=x", "again=-1", "again=" + "9" * 300])
def test_an_alert_that_is_not_there_is_not_used_again(
    editor: FlaskClient, runtime: Runtime, query: str
) -> None:
    page = editor.get(f"/desk/new?{query}", follow_redirects=True)
    assert page.status_code == 404
