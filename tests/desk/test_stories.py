"""Running stories at the desk: gone on with, begun, followed by so many, and closed."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.model.notifications import Audience, Content
from service.model.subscriptions import SubscriptionId, SubscriptionRequest
from service.runtime import Runtime
from tests.support.desk_pages import NASTY, STORY, Page, hidden_fields, post, review, words
from tests.support.planned import edit, only, plan


def begin(runtime: Runtime, story: str, title: str = "First of it") -> int:
    audience = Audience(topics=("sport",), story=story)
    words = Content(title=title, url="https://paper.example/")
    return runtime.publishing.publish(words, audience, by="a test").id


def follow(runtime: Runtime, story: str, numbers: range) -> None:
    """Let some readers follow a story, and no topic."""
    subscriptions = runtime.store.subscriptions
    for number in numbers:
        one = subscriptions.get(SubscriptionId(0, number))
        requested = SubscriptionRequest(
            one.endpoint,
            one.p256dh,
            one.auth,
            one.vapid_key,
            topics=frozenset(),
            followed=frozenset({story}),
        )
        subscriptions.change(one.id, requested)


@pytest.fixture
def quake(runtime: Runtime, readers: int) -> int:
    """A running story that ten follow, and nobody else is left who follows a topic of it."""
    id = begin(runtime, "quake", "The earth shook")
    follow(runtime, "quake", range(10))
    return id


def test_an_alert_goes_on_with_a_running_story_and_its_followers_are_counted_in(
    editor: FlaskClient, runtime: Runtime, quake: int
) -> None:
    form = editor.get("/desk/new").text
    assert '<option value="quake" >quake – The earth shook</option>' in form
    topics = runtime.publishing.reach(Audience(topics=("world",)))
    both = runtime.publishing.reach(Audience(topics=("world",), story="quake"))
    assert both == topics + 10
    for query, count in (("", topics), ("&story=quake", both), ("&story=never%00heard", topics)):
        assert f">{count}<" in editor.get(f"/desk/reach?topic=world{query}").text
    page = review(editor, story="quake")
    said = words(page.text)
    assert f"Notify {both} browsers of World, and whoever follows the story quake now?" in said
    assert "takes the place of “ The earth shook ” on the screen; 10 browsers follow it" in said
    everyone = words(review(editor, story="quake", audience="everyone").text)
    assert "Notify 100 browsers (everyone but who muted the story quake) now?" in everyone
    answer = editor.post("/desk/alerts", data=hidden_fields(page.text))
    sent = runtime.publishing.latest(1)[0]
    assert (sent.story, answer.location) == ("quake", f"/desk/alerts/{sent.id}")
    assert "Story quake" in words(editor.get(answer.location).text)
    (story,) = runtime.stories.running()
    assert (story.latest.id, story.followers) == (sent.id, 10)


def test_a_new_story_is_begun_with_its_name_as_one_would_type_it(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    page = review(editor, new_story=" Ferry  aground ")
    said = words(page.text)
    assert f"Notify {readers} browsers of World now?" in said
    assert "Story ferry-aground, which begins with this alert" in said
    assert runtime.stories.running() == []
    editor.post("/desk/alerts", data=hidden_fields(page.text))
    assert only(runtime).story == "ferry-aground"
    assert [one.slug for one in runtime.stories.running()] == ["ferry-aground"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"new_story": "Ferry / aground"}, "hyphens"),
        ({"new_story": "x" * 41}, "40"),
        ({"new_story": "Паром"}, "hyphens"),
        ({"new_story": "a\x00b"}, "hyphens"),
        ({"new_story": "9" * 9000}, "40"),
        ({"story": "../quake"}, "hyphens"),
        ({"story": "quake", "new_story": "ferry"}, "not both"),
    ],
)
def test_a_story_that_cannot_be_is_said_at_its_field_and_what_was_typed_is_kept(
    editor: FlaskClient, runtime: Runtime, quake: int, changes: dict[str, str], complaint: str
) -> None:
    draft = plan(runtime)
    for answer in (
        review(editor, **changes),
        edit(editor, draft, **changes),
        editor.post("/desk/new", data={**draft_of(editor), **changes}),
    ):
        assert answer.status_code == 422
        assert re.search(rf'id="story-error">[^<]*{re.escape(complaint)}', answer.text)
        typed = html.escape(changes.get("new_story", ""))
        assert f'name="new_story" value="{typed}"' in answer.text
        Page(answer.text)
    assert [one.id for one in runtime.publishing.latest(9)] == [draft, quake]


def draft_of(editor: FlaskClient) -> dict[str, Any]:
    """The form of a new alert that is to be kept as a draft."""
    return {**hidden_fields(editor.get("/desk/new").text), **STORY, "when": "draft"}


def test_back_keeps_the_story(editor: FlaskClient, quake: int) -> None:
    for changes in ({"story": "quake"}, {"new_story": "Ferry aground"}):
        hidden = hidden_fields(review(editor, **changes).text)
        form = editor.post("/desk/new", data={**hidden, "step": "edit"}).text
        chosen = re.findall(r'<option value="([^"]+)" selected>', form)
        assert chosen == [slug for field, slug in changes.items() if field == "story"]
        assert f'name="new_story" value="{changes.get("new_story", "")}"' in form


def test_a_draft_keeps_its_story_until_it_is_given_another_or_none(
    editor: FlaskClient, runtime: Runtime, quake: int
) -> None:
    form = {**draft_of(editor), "new_story": "flood"}
    assert editor.post("/desk/new", data=form).status_code == 303
    id = runtime.publishing.latest(1)[0].id
    page = editor.get(f"/desk/alerts/{id}/edit").text
    assert '<option value="flood" selected>flood – begins with this alert</option>' in page
    assert "Story flood" in words(editor.get(f"/desk/alerts/{id}").text)

    def change(**fields: str) -> str:
        answer = edit(editor, id, **fields)
        assert answer.status_code == 303
        return runtime.publishing.get(id).story

    assert change(title="Other words") == "flood"
    assert change(story="quake") == "quake"
    assert change(story="", new_story="storm") == "storm"
    assert change(story="") == ""


def test_the_stories_are_listed_with_who_follows_and_what_closing_means(
    editor: FlaskClient, runtime: Runtime, quake: int
) -> None:
    storm = begin(runtime, "storm", NASTY)
    page = editor.get("/desk/stories").text
    said = words(page)
    assert said.index("storm") < said.index("quake")
    assert "10 browsers follow it" in said
    assert "0 browsers follow it" in said
    assert "Following it ends for 10 browsers, and so does muting it." in said
    assert f'href="/desk/alerts/{storm}"' in page
    assert "<script>" not in page
    assert Page(page).headings == 1


def test_closing_a_story_ends_following_and_a_second_click_does_no_harm(
    editor: FlaskClient, runtime: Runtime, quake: int
) -> None:
    for _ in range(2):
        answer = post(editor, "/desk/stories/quake/close", page="/desk/stories")
        assert (answer.status_code, answer.location) == (303, "/desk/stories")
    assert runtime.stories.running() == []
    said = words(editor.get("/desk/stories").text)
    assert "No story is running." in said
    begin(runtime, "quake")
    assert runtime.stories.running()[0].followers == 0


def test_who_is_not_signed_in_neither_sees_nor_closes_a_story(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime, quake: int
) -> None:
    assert stranger.get("/desk/stories").location == "/desk/sign-in?next=/desk/stories"
    assert stranger.post("/desk/stories/quake/close").status_code in (302, 400)
    assert editor.post("/desk/stories/quake/close").status_code == 400, "without the form's token"
    assert len(runtime.stories.running()) == 1


def test_under_the_rehearsals_prefix_every_link_and_form_of_the_stories_stays_there(
    editor: FlaskClient, quake: int
) -> None:
    page = editor.get("/desk/stories", environ_overrides={"SCRIPT_NAME": "/rehearsal"}).text
    leads = re.findall(r'(?:href|action|src)="(/[^"]*)"', page)
    assert len(leads) > 5
    assert [lead for lead in leads if not lead.startswith("/rehearsal/")] == []
