"""Running stories: continuing, starting, listing and closing them."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.model.notifications import Audience, Content
from service.model.subscriptions import SubscriptionRequest
from service.runtime import Runtime
from tests.support.desk.pages import (
    NASTY,
    STORY,
    Page,
    back,
    hidden_fields,
    only,
    open_form,
    post,
    review,
    words,
)
from tests.support.desk.planned import edit, go_on, plan
from tests.support.processes.installation import pretend_id


def begin(runtime: Runtime, story: str, title: str = "First of it") -> int:
    audience = Audience(topics=("sport",), story=story)
    words = Content(title=title, url="https://paper.example/")
    return runtime.publishing.publish(words, audience, by="a test").id


def follow(runtime: Runtime, story: str, numbers: range) -> None:
    """Let some readers follow a story, and no topic."""
    subscriptions = runtime.store.subscriptions
    for number in numbers:
        one = subscriptions.get(pretend_id(runtime.store, number))
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
    """A running story with ten followers, who follow no topic."""
    id = begin(runtime, "quake", "The earth shook")
    follow(runtime, "quake", range(10))
    return id


def test_an_alert_of_a_running_story_also_reaches_its_followers(
    editor: FlaskClient, runtime: Runtime, quake: int
) -> None:
    form = open_form(editor)
    assert '<option value="quake" >quake – The earth shook</option>' in form
    topics = runtime.publishing.reach(Audience(topics=("world",)))
    both = runtime.publishing.reach(Audience(topics=("world",), story="quake"))
    assert both == topics + 10
    for query, count in (("", topics), ("&story=quake", both), ("&story=never%00heard", topics)):
        assert f">{count}<" in editor.get(f"/desk/reach?topic=world{query}").text
    page = review(editor, story="quake")
    text = words(page.text)
    assert f"Notify {both} browsers (World, and followers of the story quake) now?" in text
    assert "replaces “ The earth shook ” on the screen; 10 browsers follow the story" in text
    everyone = words(review(editor, story="quake", audience="everyone").text)
    assert (
        "Notify 100 browsers (everyone, except readers who muted the story quake) now?" in everyone
    )
    answer = editor.post("/desk/alerts", data=hidden_fields(page.text))
    sent = runtime.publishing.latest(1)[0]
    assert (sent.story, answer.location) == ("quake", f"/desk/alerts/{sent.id}")
    assert "Story quake" in words(editor.get(answer.location).text)
    (story,) = runtime.stories.running()
    assert (story.latest.id, story.followers) == (sent.id, 10)


def test_a_new_story_starts_with_a_name_as_an_editor_types_it(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    page = review(editor, new_story=" Ferry  aground ")
    text = words(page.text)
    assert f"Notify {readers} browsers (World) now?" in text
    assert "Story ferry-aground, which starts with this alert" in text
    assert runtime.stories.running() == []
    editor.post("/desk/alerts", data=hidden_fields(page.text))
    assert only(runtime).story == "ferry-aground"
    assert [one.slug for one in runtime.stories.running()] == ["ferry-aground"]


INVALID_STORIES: tuple[tuple[dict[str, str], str], ...] = (
    ({"new_story": "—!?"}, "Latin letters or digits"),
    ({"new_story": "x" * 41}, "40"),
    ({"story": "quake", "new_story": "ferry"}, "not both"),
    ({"new_story": "Паром"}, "Latin letters or digits"),
    ({"new_story": "\x00"}, "Latin letters or digits"),
    ({"new_story": "9" * 9000}, "40"),
    ({"story": "../quake"}, "hyphens"),
)


def test_an_invalid_story_is_explained_at_its_field_and_kept(
    editor: FlaskClient, runtime: Runtime, quake: int
) -> None:
    draft = plan(runtime)
    for at, (changes, complaint) in enumerate(INVALID_STORIES):
        answers = [review(editor, **changes)]
        if at < 3:
            answers.append(edit(editor, draft, **changes))
            answers.append(go_on(editor, {**draft_of(editor), **changes}))
        for answer in answers:
            assert answer.status_code == 422, changes
            assert re.search(rf'id="story-error">[^<]*{re.escape(complaint)}', answer.text)
            typed = html.escape(changes.get("new_story", ""))
            assert f'name="new_story" value="{typed}"' in answer.text
            Page(answer.text)
    assert [one.id for one in runtime.publishing.latest(9)] == [draft, quake]


def draft_of(editor: FlaskClient) -> dict[str, Any]:
    """The form of a new alert that is saved as a draft."""
    return {**hidden_fields(open_form(editor)), **STORY, "when": "draft"}


def test_back_keeps_the_story(editor: FlaskClient, quake: int) -> None:
    for changes in ({"story": "quake"}, {"new_story": "Ferry aground"}):
        form = back(editor, review(editor, **changes))
        stories = re.search(r'<select id="story".*?</select>', form, re.DOTALL)
        assert stories
        chosen = re.findall(r'<option value="([^"]+)" selected>', stories[0])
        assert chosen == [slug for field, slug in changes.items() if field == "story"]
        assert f'name="new_story" value="{changes.get("new_story", "")}"' in form


def test_a_draft_keeps_its_story_until_an_editor_changes_it(
    editor: FlaskClient, runtime: Runtime, quake: int
) -> None:
    form = {**draft_of(editor), "new_story": "flood"}
    assert go_on(editor, form).status_code == 303
    id = runtime.publishing.latest(1)[0].id
    page = open_form(editor, f"/desk/alerts/{id}/edit")
    assert '<option value="flood" selected>flood – starts with this alert</option>' in page
    assert "Story flood" in words(editor.get(f"/desk/alerts/{id}").text)

    def change(**fields: str) -> str:
        answer = edit(editor, id, **fields)
        assert answer.status_code == 303
        return runtime.publishing.get(id).story

    assert change(title="Other words") == "flood"
    assert change(story="quake") == "quake"
    assert change(story="", new_story="storm") == "storm"
    assert change(story="") == ""


def test_the_list_of_stories_says_who_follows_and_what_closing_does(
    editor: FlaskClient, runtime: Runtime, quake: int
) -> None:
    storm = begin(runtime, "storm", NASTY)
    page = editor.get("/desk/stories").text
    text = words(page)
    assert text.index("storm") < text.index("quake")
    assert "10 browsers follow it" in text
    assert "0 browsers follow it" in text
    assert "10 browsers will no longer follow this story, and no browser will mute it." in text
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
    text = words(editor.get("/desk/stories").text)
    assert "No story is running." in text
    begin(runtime, "quake")
    assert runtime.stories.running()[0].followers == 0


def test_strangers_can_neither_see_nor_close_stories(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime, quake: int
) -> None:
    assert stranger.get("/desk/stories").location == "/desk/sign-in?next=/desk/stories"
    assert stranger.post("/desk/stories/quake/close").status_code in (302, 400)
    assert editor.post("/desk/stories/quake/close").status_code == 400, "without the form's token"
    assert len(runtime.stories.running()) == 1


def test_under_the_rehearsal_prefix_stories_link_only_there(
    editor: FlaskClient, quake: int
) -> None:
    page = editor.get("/desk/stories", environ_overrides={"SCRIPT_NAME": "/rehearsal"}).text
    leads = re.findall(r'(?:href|action|src)="(/[^"]*)"', page)
    assert len(leads) > 5
    assert [lead for lead in leads if not lead.startswith("/rehearsal/")] == []
