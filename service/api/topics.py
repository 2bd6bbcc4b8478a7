"""The API's calls about topics, running stories and audiences, for editors' tools."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, url_for
from pydantic import AfterValidator, StringConstraints

from service.api import responses
from service.api.auth import tools
from service.api.calls import call
from service.api.fields import RequestModel, Slug, characters, line, pattern, read_fields
from service.api.notification_requests import AudienceCounted, check_audience
from service.api.problems import Problem
from service.api.responses import TopicOfNewsroom
from service.current import runtime
from service.domain.stories import RunningStory
from service.domain.topics import MergedTopic
from service.model.notifications import Topic
from service.model.times import iso

bp = Blueprint("topics", __name__)

_PLAIN = r"[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*"  # what `characters` lets pass

_Name = Annotated[str, line(60), AfterValidator(characters), pattern(rf"^{_PLAIN}\S{_PLAIN}$")]
_Description = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=200),
    AfterValidator(characters),
    pattern(f"^{_PLAIN}$"),
]


@bp.post("/audience")
@call(by=tools("read", "send"), takes=AudienceCounted, gives={200: responses.Reach})
def audience(requested: AudienceCounted) -> responses.Reach:
    """Count the browsers that an audience has at this moment."""
    audience = requested.audience()
    check_audience(audience, runtime(), within="")
    return responses.Reach(recipients=runtime().publishing.reach(audience))


# Topics -----------------------------------------------------------------------------------------


class NewTopic(RequestModel):
    """A topic that readers can follow from now on; `default` means that it is ticked beforehand.

    A `hidden` topic is not offered to readers.
    """

    slug: Slug
    name: _Name
    description: _Description = ""
    default: bool = False
    hidden: bool = False

    def topic(self) -> Topic:
        """Return it as the model has it."""
        return Topic(self.slug, self.name, self.description, self.default, self.hidden)


class ChangedTopic(RequestModel):
    """Changes to a topic; a field that is null or missing stays as it is. The slug is permanent."""

    name: _Name | None = None
    description: _Description | None = None
    default: bool | None = None
    hidden: bool | None = None

    def topic(self, before: Topic) -> Topic:
        """Return the topic as it will be."""
        return Topic(
            before.slug,
            before.name if self.name is None else self.name,
            before.description if self.description is None else self.description,
            before.default if self.default is None else self.default,
            before.hidden if self.hidden is None else self.hidden,
        )


def read_topic(given: dict[str, object]) -> Topic:
    """Check a topic by the API's rules, also one that our own pages send; `Invalid`."""
    return read_fields(NewTopic, given, runtime()).topic()


@bp.get("/topics")
@call(by=tools("read", "send", "topics"), gives={200: responses.TopicList})
def topics() -> responses.TopicList:
    """List the topics in the newsroom's order, the hidden ones too."""
    return responses.TopicList(topics=[_shown(topic) for topic in runtime().topics.all().values()])


@bp.get("/topics/<slug>")
@call(by=tools("read", "send", "topics"), gives={200: TopicOfNewsroom}, problems=(404,))
def topic(slug: str) -> TopicOfNewsroom:
    """Show one topic."""
    return _shown(runtime().topics.get(slug))


@bp.post("/topics")
@call(by=tools("topics"), takes=NewTopic, gives={201: TopicOfNewsroom}, problems=(409,))
def add_topic(requested: NewTopic) -> tuple[TopicOfNewsroom, dict[str, str]]:
    """Add a topic that readers can follow; 409 for the slug of one that was merged into another."""
    new = requested.topic()
    try:
        added = runtime().topics.add(new)
    except MergedTopic as merged:
        raise Problem(409, str(merged)) from None
    if not added:
        raise Problem(409, "There is a topic with this slug already. PATCH changes it.")
    return _shown(new), {"Location": url_for("api.topics.topic", slug=new.slug)}


@bp.patch("/topics/<slug>")
@call(by=tools("topics"), takes=ChangedTopic, gives={200: TopicOfNewsroom}, problems=(404,))
def change_topic(requested: ChangedTopic, slug: str) -> TopicOfNewsroom:
    """Change a topic's name or description, whether it is ticked beforehand, or offered at all."""
    changed = requested.topic(runtime().topics.get(slug))
    runtime().topics.change(changed)
    return _shown(changed)


@bp.delete("/topics/<slug>")
@call(by=tools("topics"), gives={204: None}, problems=(404,))
def remove_topic(slug: str) -> None:
    """Delete a topic, and forget who followed it."""
    runtime().topics.remove(slug)


def _shown(topic: Topic) -> TopicOfNewsroom:
    return TopicOfNewsroom.model_validate(topic)


# Running stories --------------------------------------------------------------------------------


@bp.get("/stories")
@call(by=tools("read", "send"), gives={200: responses.StoryList})
def stories() -> responses.StoryList:
    """List the running stories; the story with the latest alert is first."""
    return responses.StoryList(stories=[story_shown(one) for one in runtime().stories.running()])


@bp.delete("/stories/<slug>")
@call(by=tools("send"), gives={204: None}, problems=(404,))
def close_story(slug: str) -> None:
    """Close a story and forget who followed or muted it; a later alert opens it anew."""
    if not runtime().stories.close(slug):
        raise Problem(404, "There is no running story with this slug.")


def story_shown(one: RunningStory) -> responses.StoryShown:
    """Show a running story."""
    latest = one.latest
    return responses.StoryShown(
        slug=one.slug,
        latest=responses.LatestShown(
            id=str(latest.id),
            title=latest.text.title,
            url=latest.text.url,
            sent_at=iso(latest.started_at or latest.created_at),
        ),
        followers=one.followers,
    )
