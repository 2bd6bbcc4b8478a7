"""Narrowed and saved audiences at the desk: choosing, seeing, saving, using and outdated ones."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.model.notifications import Audience, Outcome, State, Topic
from service.model.preferences import Quiet
from service.runtime import Runtime
from service.store.layout.joined import today
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
    publish,
    review,
    send_all,
    words,
)
from tests.support.desk.planned import edit, later, opened, plan
from tests.support.requested import requested

pytestmark = pytest.mark.redis

NARROW = {"all_topic": ["sport"], "exclude": ["culture"], "locales": "en", "new_within_days": "7"}


@pytest.fixture
def over(runtime: Runtime, readers: int) -> int:
    """An alert that 40 of 100 browsers got before it was cancelled."""
    id = publish(runtime, title="Ferry aground")
    send_all(runtime, id, {(Outcome.ACCEPTED, "other"): 40})
    runtime.publishing.cancel(id, by="a test")
    for partition in runtime.store.partitions:
        runtime.store.redis.delete(f"{{{partition}}}:n:{id}:leases")
    runtime.planning.advance(id)
    return id


def reach(editor: FlaskClient, **chosen: Any) -> str:
    return words(editor.get("/desk/reach", query_string=chosen).text).strip()


def narrowed(runtime: Runtime) -> Audience:
    """The audience of the latest alert."""
    (one,) = runtime.publishing.latest(1)
    return one.audience


# Choosing -----------------------------------------------------------------------------------------


def test_the_question_says_who_gets_it_and_they_are_sent_to(
    editor: FlaskClient, runtime: Runtime, over: int
) -> None:
    page = review(editor, audience="everyone", new_within_days="7", not_reached_by_too=str(over))
    question = words(re.findall("<h1.*?</h1>", page.text, re.DOTALL)[0]).strip()
    assert question == (
        "Notify 60 browsers (everyone, only readers who subscribed in the last 7 days, without"
        " readers who got “Ferry aground”) now?"
    )
    Page(page.text)
    answer = editor.post("/desk/alerts", data=hidden_fields(page.text))
    assert answer.status_code == 303
    expected = Audience(everyone=True, new_within_days=7, not_reached_by=(over,))
    assert narrowed(runtime) == expected
    (one,) = runtime.publishing.latest(1)
    runtime.planning.plan(one)
    assert runtime.publishing.progress(one.id).recipients == 60
    shown = words(editor.get(answer.location).text)
    assert "without readers who got “Ferry aground”" in shown
    again = FormFields(open_form(editor, f"/desk/new?again={one.id}")).fields
    assert (again["not_reached_by"], again["new_within_days"]) == ([str(over)], ["7"])


def test_an_unchanged_form_keeps_each_choice_of_a_planned_alert(
    editor: FlaskClient, runtime: Runtime, over: int
) -> None:
    runtime.publishing.publish(
        runtime.publishing.get(over).content, Audience(everyone=True, story="quake"), by="a test"
    )
    audience = Audience(
        topics=("world",),
        exclude=("sport",),
        locales=("en",),
        story="quake",
        all_topics=("world", "sport"),
        followers_of="quake",
        new_within_days=3,
        not_reached_by=(over,),
    )
    id = plan(runtime)
    before = runtime.publishing.get(id)
    runtime.publishing.change(before, before.content, audience, by="a test", draft=True)
    digest = runtime.publishing.get(id).digest
    assert edit(editor, id).status_code == 303
    assert runtime.publishing.get(id).audience == audience
    form = opened(editor, id)
    assert edit(editor, id, **{**form, "not_reached_by": []}).status_code == 303
    after = runtime.publishing.get(id)
    assert after.audience.not_reached_by == ()
    assert after.digest != digest, "an approval does not hold for another audience"
    assert runtime.alert_log.of(id)[-1].others == ("audience",)


def test_the_reach_says_who_is_asleep(editor: FlaskClient, runtime: Runtime, readers: int) -> None:
    assert reach(editor, topic="world") == f"{readers} browsers would get it now"
    hour = time.gmtime().tm_hour
    asleep = Quiet((hour * 4 - 8) % 96, (hour * 4 + 12) % 96)
    for number in range(3):
        wanted = requested(number, topics={"world"}, zone="UTC", chosen={"quiet": asleep})
        runtime.store.subscriptions.subscribe(wanted)
    said = reach(editor, topic="world")
    assert (
        said
        == f"{readers + 3} browsers in this audience: {readers} right away, 3 when quiet hours end"
    )
    assert reach(editor, topic="world", kind="breaking").endswith("3 when quiet hours end")
    draft = review(editor, topic=["world"], when="draft").location
    assert said in words(editor.get(draft).text), "also on the page of a planned alert"
    assert said in words(editor.get(f"{draft}/progress").text)


def test_an_audience_that_cannot_be_is_said_while_choosing_and_when_reviewing(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    runtime.store.redis.set("{g}:days", today() - 5)
    for name, value, says in (
        ("new_within_days", "x", "Write the number of days in digits: 1 to 366"),
        ("new_within_days", "367", "Write the number of days in digits: 1 to 366"),
        ("new_within_days", "6", "Choose 5 days at most."),
        ("locales", "!", "language"),
        ("followers_of", "quake", "There is no running story “quake”."),
        ("not_reached_by", "4711", "There is no alert 4711."),
        ("clicked", "1", "Who clicked an alert is not kept here."),
        ("all_topic", "gone", "Names a topic that this site does not have"),
    ):
        chosen = {name: value}
        if name not in ("all_topic", "locales"):
            assert says in reach(editor, topic="world", **chosen)
        page = review(editor, audience="everyone", **chosen)
        assert page.status_code == 422
        field = name if name in ("locales", "new_within_days") else "audience"
        assert re.search(rf'id="{field}-error">[^<]*{re.escape(says)}', page.text)
        assert re.search(rf'id="{field}"[^>]* aria-invalid="true"', page.text)
        assert page.text.count("aria-invalid") == 1
        assert f'<a href="#{field}">' in page.text
        folds = re.findall(r'<details class="fold"( open)?>.*?</details>', page.text, re.DOTALL)
        assert folds.count(" open") == 1
        assert FormFields(page.text).fields[name] == [value], "what was chosen is not lost"
        Page(page.text)


def test_topics_that_all_are_followed_or_a_story_are_enough(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    publish(runtime)
    assert "Choose a topic" in reach(editor, new_within_days="7")
    assert review(editor, topic=[], new_within_days="7").status_code == 422
    assert review(editor, topic=[], all_topic=["world"], when="draft").status_code == 303
    assert narrowed(runtime) == Audience(everyone=True, all_topics=("world",))
    assert reach(editor, all_topic="world") == f"{readers} browsers would get it now"
    nobody = "No browser is in this audience."
    gone = "There is no topic “unknown” any more."
    assert gone in reach(editor, all_topic=["world", "unknown"])
    for narrow in ({"locales": "ja"}, {"exclude": "world"}):
        assert reach(editor, topic="world", **narrow) == nobody
        answer = review(editor, topic=["world"], **narrow)
        assert "No browser would get it: none is in this audience." in answer.text
        draft = review(editor, topic=["world"], when="draft", **narrow).location
        assert nobody in words(editor.get(draft).text)


def test_only_alerts_of_which_it_is_known_are_offered(
    editor: FlaskClient, runtime: Runtime, over: int
) -> None:
    publish(runtime, title="Still being sent")
    offered = re.search(
        r'<select id="not_reached_by_too".*?</select>', open_form(editor), re.DOTALL
    )
    assert offered
    assert "Ferry aground" in offered[0]
    assert "Still being sent" not in offered[0]
    assert 'name="clicked_too"' not in open_form(editor)


class TestWithClicks:
    """Where the newsroom keeps who clicked an alert."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {"UNDO_SECONDS": "0", "CLICK_AUDIENCES": "on"}

    def test_clicks_can_be_chosen(self, editor: FlaskClient, runtime: Runtime, over: int) -> None:
        reader = runtime.store.audiences.draw(Audience(everyone=True), 1)[1][0]
        runtime.store.clicks.mark(over, reader)
        assert 'name="clicked_too"' in open_form(editor)
        page = review(editor, audience="everyone", clicked_too=str(over))
        assert "1 browser (everyone, only readers who clicked “Ferry aground”) now?" in words(
            page.text
        )


def test_a_scheduled_alert_that_became_a_draft_says_why(
    editor: FlaskClient, runtime: Runtime, over: int
) -> None:
    page = review(editor, audience="everyone", not_reached_by_too=str(over), **later())
    editor.post("/desk/alerts", data=hidden_fields(page.text))
    (one,) = runtime.publishing.latest(1)
    redis = runtime.store.redis
    redis.hset(f"{{g}}:n:{over}", "started_at", time.time() - 8 * 86_400)
    redis.zadd("{g}:scheduled", {str(one.id): 1})
    runtime.publishing.send_due()
    assert runtime.publishing.get(one.id).state is State.DRAFT
    shown = words(editor.get(f"/desk/alerts/{one.id}").text)
    assert "or its audience was no longer known. It is a draft again." in shown
    assert "made a draft of it, because its audience was no longer known" in shown
    sending = editor.get(f"/desk/alerts/{one.id}/send")
    assert sending.status_code == 422
    assert f"leave out alert {over}." in words(sending.text)


# Saved audiences ----------------------------------------------------------------------------------


def save(editor: FlaskClient, name: str, page: str = "", **typed: Any) -> TestResponse:
    """Type into a form, and save its audience."""
    return press(editor, "save", page or open_form(editor), audience_name=name, **typed)


def press(editor: FlaskClient, what: str, page: str, **typed: Any) -> TestResponse:
    action = re.search(rf'formaction="([^"]+/audience/{what})"', page)
    assert action
    return editor.post(action[1], data={**hidden_fields_of_compose(page), **STORY, **typed})


def only(runtime: Runtime) -> str:
    (one,) = runtime.saved_audiences.all()
    return one.id


def test_an_audience_is_saved_and_used_in_another_form(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    runtime.topics.add(Topic("culture", "Culture"))
    answer = save(editor, f"  {NASTY}  ", topic=["world", "sport"], title="Storm", **NARROW)
    assert answer.status_code == 303
    page = editor.get(answer.location).text
    assert "The alert is not sent yet." in words(page)
    assert NASTY not in page
    Page(page)
    another = open_form(editor)
    used = press(
        editor, "use", another, saved_audience=only(runtime), title="Calm", topic=["world"]
    )
    fields = FormFields(editor.get(used.location).text).fields
    assert fields["title"] == ["Calm"], "only the audience changes"
    assert {name: fields[name] for name in ("topic", *NARROW)} == {
        **{"topic": ["world", "sport"], "all_topic": ["sport"], "exclude": ["culture"]},
        **{"locales": ["en"], "new_within_days": ["7"]},
    }
    begun = FormFields(open_form(editor, f"/desk/new?audience={only(runtime)}")).fields
    assert (begun["title"], begun["topic"]) == ([""], ["world", "sport"])
    listed = editor.get("/desk/templates").text
    assert "except followers of Culture, only readers of English" in words(listed)
    Page(listed)
    runtime.topics.merge("sport", "world")
    for slug in ("world", "culture"):
        runtime.topics.remove(slug)
    begun = FormFields(open_form(editor, f"/desk/new?audience={only(runtime)}")).fields
    assert begun["exclude"] == ["culture"], "as long as its editor does not take it out"
    listed = words(editor.get("/desk/templates").text)
    assert "World or sport, only followers of sport, except followers of culture" in listed


def test_using_an_audience_replaces_the_one_that_was_chosen(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    save(editor, "All", audience="everyone", topic=[])
    used = press(editor, "use", open_form(editor), saved_audience=only(runtime), **NARROW)
    fields = FormFields(editor.get(used.location).text).fields
    assert (fields["audience"], fields.get("topic"), fields["locales"]) == (
        ["everyone"],
        None,
        [""],
    )


def test_an_audience_that_cannot_be_saved_is_refused_and_the_form_stays(
    editor: FlaskClient, runtime: Runtime
) -> None:
    save(editor, "Weekend")
    for name, topics, why in (
        ("", ["world"], "Write a name for the audience."),
        ("x" * 61, ["world"], "at most 60 characters"),
        ("WEEKEND", ["sport"], "Another audience has this name."),
        ("Nobody", [], "Choose first who gets it"),
    ):
        answer = save(editor, name, title="Storm ahead", topic=topics)
        assert answer.status_code == 422
        assert why in words(answer.text)
        assert FormFields(answer.text).fields["title"] == ["Storm ahead"]
        assert FormFields(answer.text).fields["audience_name"] == [name]
        assert '<details class="fold" open>' in answer.text
        Page(answer.text)
    assert len(runtime.saved_audiences.all()) == 1


def test_a_saved_audience_is_renamed_and_deleted(editor: FlaskClient, runtime: Runtime) -> None:
    save(editor, "Weekend")
    save(editor, "Monday", topic=["sport"])
    path = f"/desk/audiences/{runtime.saved_audiences.all()[1].id}"
    refused = post(editor, f"{path}/rename", page="/desk/templates", name="monday")
    assert refused.status_code == 422
    Page(refused.text)
    post(editor, f"{path}/rename", page="/desk/templates", name="Saturday")
    assert [one.name for one in runtime.saved_audiences.all()] == ["Monday", "Saturday"]
    for _ in range(2):
        assert post(editor, f"{path}/delete", page="/desk/templates").status_code == 303
    assert [one.name for one in runtime.saved_audiences.all()] == ["Monday"]
    assert editor.get(f"{path}/use", follow_redirects=True).status_code == 404
    gone = press(editor, "use", open_form(editor), saved_audience="gone")
    assert gone.status_code == 404


def test_who_writes_uses_audiences_and_saves_none(
    app: Flask, editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    save(editor, "Weekend")
    person = runtime.store.access.people([EMAIL])[0][0]._replace(role="writes")
    runtime.store.redis.hset("{g}:people", EMAIL, person.as_json())
    page = open_form(editor)
    assert "/audience/save" not in page
    assert press(editor, "use", page, saved_audience=only(runtime)).status_code == 303
    assert not re.search("Rename|Delete", editor.get("/desk/templates").text)


def test_an_audience_of_another_release_can_be_used(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    row = '{"v": 7, "name": "Odd", "folded": "odd", "by": "x", "at": 1, "fields": {"mood": "x"}}'
    runtime.store.redis.hset("{g}:audiences", "odd", row)
    Page(editor.get("/desk/templates").text)
    assert press(editor, "use", open_form(editor), saved_audience="odd").status_code == 303
