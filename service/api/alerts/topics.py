"""The API's calls about topics, running stories and audiences, for editors' tools."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from flask import Blueprint, url_for
from pydantic import Field, PlainValidator, WithJsonSchema

from service.api import paging, responses
from service.api.alerts import alerts_shown
from service.api.alerts.audience_requests import AudienceCounted, check_audience
from service.api.alerts.content import line, line_schema, no_text
from service.api.auth import calling_tool, tools
from service.api.calls import call
from service.api.fields import SLUG, Invalid, RequestModel, ResponseModel, Slug, read_fields
from service.api.problems import FieldError, Problem
from service.api.responses import TopicOfNewsroom, TopicSaved
from service.current import runtime
from service.domain.alerts.stories import RunningStory
from service.model.alert_log import ToolName
from service.model.language.texts import CheckedText
from service.model.notifications import Topic
from service.model.time.times import iso

bp = Blueprint("topics", __name__)

_LONGEST_NAME, _LONGEST_DESCRIPTION = 60, 200  # characters

_Name = Annotated[CheckedText, PlainValidator(line(_LONGEST_NAME)), line_schema(_LONGEST_NAME)]
_Description = Annotated[
    CheckedText,
    PlainValidator(line(_LONGEST_DESCRIPTION, may_be_empty=True)),
    WithJsonSchema({"type": "string", "maxLength": _LONGEST_DESCRIPTION}),
]
_STORIES = r"^[0-9]{1,15}-[0-9]{1,15}$"  # a cursor: when its latest alert began (ms), and its id


@bp.post("/audience")
@call(by=tools("read", "send"), takes=AudienceCounted, gives={200: responses.Reach})
def audience(requested: AudienceCounted) -> responses.Reach:
    """Count the browsers that an audience has at this moment."""
    audience = requested.audience()
    check_audience(audience, runtime(), within="")
    return responses.Reach(recipients=runtime().publishing.reach(audience))


# Topics -----------------------------------------------------------------------------------------


def _warnings(**texts: CheckedText | None) -> Iterable[tuple[str, str]]:
    return ((name, words) for name, one in texts.items() if one for words in one.warnings)


class NewTopic(RequestModel):
    """A topic that readers can follow from now on; `default` means that it is ticked beforehand.

    A `hidden` topic is not offered to readers.
    """

    slug: Slug
    name: _Name
    description: _Description = Field(default_factory=no_text)
    default: bool = False
    hidden: bool = False

    def topic(self) -> Topic:
        """Return it as the model has it."""
        name, description = self.name.text, self.description.text
        return Topic(self.slug, name, description, self.default, self.hidden)

    def warnings(self) -> Iterable[tuple[str, str]]:
        """Return field and sentence of each thing that its writer should know."""
        return _warnings(name=self.name, description=self.description)


class ChangedTopic(RequestModel):
    """Changes to a topic; a field that is null or missing stays as it is. The slug is permanent."""

    name: _Name | None = None
    description: _Description | None = None
    default: bool | None = None
    hidden: bool | None = None

    def fields(self) -> dict[str, str | bool]:
        """Return the fields that change."""
        texts = {"name": self.name, "description": self.description}
        marks = {"default": self.default, "hidden": self.hidden}
        return {
            **{name: text.text for name, text in texts.items() if text is not None},
            **{name: mark for name, mark in marks.items() if mark is not None},
        }

    def warnings(self) -> Iterable[tuple[str, str]]:
        """Return field and sentence of each thing that its writer should know."""
        return _warnings(name=self.name, description=self.description)


def read_topic(given: dict[str, object]) -> Topic:
    """Check a topic by the API's rules, also one that our own pages send; `Invalid`."""
    return read_fields(NewTopic, given, runtime()).topic()


@bp.get("/topics")
@call(
    by=tools("read", "send", "topics"),
    gives={200: responses.TopicList},
    parameters=paging.parameters(pattern=SLUG),
    conditional=True,
)
def topics() -> responses.TopicList:
    """List the topics in the newsroom's order, the hidden ones too."""
    found = [*runtime().topics.all().values()]
    page, next_cursor = paging.named(found, lambda topic: topic.slug, SLUG)
    return responses.TopicList(topics=[_shown(one) for one in page], next_cursor=next_cursor)


@bp.get("/topics/<slug>")
@call(
    by=tools("read", "send", "topics"),
    gives={200: TopicOfNewsroom},
    problems=(404,),
    conditional=True,
)
def topic(slug: str) -> TopicOfNewsroom:
    """Show one topic."""
    return _shown(runtime().topics.get(slug))


@bp.post("/topics")
@call(by=tools("topics"), takes=NewTopic, gives={201: TopicSaved}, problems=(409,))
def add_topic(requested: NewTopic) -> tuple[TopicSaved, dict[str, str]]:
    """Add a topic that readers can follow; 409 for the slug of one that was merged into another."""
    new = requested.topic()
    if not runtime().topics.add(new):
        raise Problem(409, "There is a topic with this slug already. PATCH changes it.")
    return _saved(new, requested.warnings()), {
        "Location": url_for("api.topics.topic", slug=new.slug)
    }


@bp.patch("/topics/<slug>")
@call(by=tools("topics"), takes=ChangedTopic, gives={200: TopicSaved}, problems=(404,))
def change_topic(requested: ChangedTopic, slug: str) -> TopicSaved:
    """Change a topic's name or description, whether it is ticked beforehand, or offered at all."""
    runtime().topics.change(slug, **requested.fields())
    return _saved(runtime().topics.get(slug), requested.warnings())


class TopicMoved(RequestModel):
    """Which way a topic moves by one place in the newsroom's order."""

    to: Literal["up", "down"]


class TopicMerged(RequestModel):
    """The topic whose followers those of another one become."""

    into: Slug


class MergeDone(ResponseModel):
    """The topic that is left.

    `asked` scheduled alerts reach more browsers by the merge, and wait for a second person now.
    """

    topic: TopicOfNewsroom
    asked: int


@bp.post("/topics/<slug>/move")
@call(by=tools("topics"), takes=TopicMoved, gives={200: TopicOfNewsroom}, problems=(404,))
def move_topic(requested: TopicMoved, slug: str) -> TopicOfNewsroom:
    """Move a topic one place up or down."""
    runtime().topics.move(slug, {"up": -1, "down": 1}[requested.to])
    return _shown(runtime().topics.get(slug))


@bp.post("/topics/<slug>/merge")
@call(by=tools("topics"), takes=TopicMerged, gives={200: MergeDone}, problems=(404,))
def merge_topic(requested: TopicMerged, slug: str) -> MergeDone:
    """Let the followers of a topic follow another one, to which its slug then leads; for ever."""
    known, into, tool = runtime().topics.all(), requested.into, calling_tool()
    if into not in known or into == slug:
        raise Invalid([FieldError("into", "Must be the slug of another topic.")])
    asked = runtime().approvals.merge(
        runtime().topics, slug, into, by=ToolName.of(tool.name, tool.by)
    )
    return MergeDone(topic=_shown(known[into]), asked=asked)


@bp.delete("/topics/<slug>")
@call(by=tools("topics"), gives={204: None}, problems=(404,))
def remove_topic(slug: str) -> None:
    """Delete a topic, and forget who followed it."""
    runtime().topics.remove(slug)


def _shown(topic: Topic) -> TopicOfNewsroom:
    return TopicOfNewsroom.model_validate(topic)


def _saved(topic: Topic, warnings: Iterable[tuple[str, str]]) -> TopicSaved:
    shown = _shown(topic).model_dump()
    return TopicSaved(**shown, warnings=alerts_shown.warnings(tuple(warnings)))


# Running stories --------------------------------------------------------------------------------


@bp.get("/stories")
@call(
    by=tools("read", "send"),
    gives={200: responses.StoryList},
    parameters=paging.parameters(pattern=_STORIES),
    conditional=True,
)
def stories() -> responses.StoryList:
    """List the running stories; the story with the latest alert is first."""
    limit, after = paging.limit(), paging.cursor(_STORIES)
    found = runtime().stories.running()
    if after:
        at, _, id = after.partition("-")
        found = [one for one in found if one.place < (int(at), int(id))]
    page, next_cursor = paging.cut(found, limit, lambda one: "-".join(map(str, one.place)))
    return responses.StoryList(stories=[story_shown(one) for one in page], next_cursor=next_cursor)


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
