"""The API's calls about feeds that the newsroom watches, for editors' tools."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

from flask import Blueprint, url_for
from flask.typing import ResponseReturnValue
from pydantic import AfterValidator, Field, StringConstraints

from service.api import paging
from service.api.auth import calling_tool, tools
from service.api.calls import call
from service.api.fields import (
    Invalid,
    RequestModel,
    ResponseModel,
    Slug,
    Topics,
    pattern,
)
from service.api.problems import FieldError, Problem, respond
from service.api.responses import Id, OrNull, Time
from service.current import runtime
from service.domain.newsroom.feeds import NOBODY, Feed, FeedRefused
from service.model.alert_log import ToolName
from service.model.language.languages import language_tag
from service.model.language.links import read_parameters
from service.model.newsroom.feeds import FeedRules
from service.model.time import clock
from service.model.time.times import iso
from service.runtime import Runtime

bp = Blueprint("feeds", __name__)

_PLAIN = r"[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*"  # what `_characters` lets pass
_TEMPLATE = r"^(?:[^{}\u0000-\u001f\u007f-\u009f\u2028\u2029]|\{(?:title|text|category|feed)\})*$"
_ID = r"^[0-9a-f]{12}$"
_MOST_CATEGORIES = 100
_END_OF_TIME = 253_402_300_800  # seconds: the year 10000, which no date of Python reaches


def _characters(text: str) -> str:
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        raise ValueError("must not contain control characters")
    return text


def _template(text: str) -> str:
    if not re.fullmatch(_TEMPLATE, text):
        raise ValueError("may name {title}, {text}, {category} and {feed} in braces, no others")
    return text


def _language(text: str) -> str:
    return text and language_tag(text)


_Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=60),
    AfterValidator(_characters),
    pattern(f"^{_PLAIN}$"),
]
_Address = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=2000),
    AfterValidator(_characters),
    pattern(f"^{_PLAIN}$"),
]
_Category = Annotated[str, StringConstraints(min_length=1, max_length=100)]
_ByCategory = Annotated[dict[_Category, Slug], Field(max_length=_MOST_CATEGORIES)]
_Template = Annotated[
    str, StringConstraints(max_length=200), AfterValidator(_template), pattern(_TEMPLATE)
]
_Language = Annotated[
    str,
    StringConstraints(max_length=35),
    AfterValidator(_language),
    pattern("^$|^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$"),
]
_Parameters = Annotated[
    str,
    StringConstraints(max_length=300),
    AfterValidator(read_parameters),
    pattern(r"^$|^[^\s&#=?{}]+=[^\s#]*$"),
]
_Gap = Annotated[int, Field(ge=0, le=1440)]
_Most = Annotated[int, Field(ge=0, le=100)]
_Hours = Annotated[int, Field(ge=1, le=72)]
_Minutes = Annotated[int, Field(ge=1, le=1440)]

# By the name of a field here, that of the rules.
_CALLED = {"active": "is_active", "draft": "makes_drafts", "picture": "with_picture"}
FIELD_OF = {there: here for here, there in _CALLED.items()}


class NewFeed(RequestModel):
    """A feed to watch: RSS, Atom or JSON Feed. What it has now is known, and not alerted.

    Each new item becomes an alert, or with `draft` a draft, for the followers of `topics` and of
    the topics that its categories lead to (`topic_by_category`); or for `everyone`. There are
    `gap_minutes` between two alerts, and at most so many an hour and a day (0: no limit); items
    that were published more than `newest_hours` ago are left out. The templates may name
    `{title}`, `{text}`, `{category}` and `{feed}`. The feed is read every so many `minutes`, and
    at once when its hub calls. `link_parameters` are added to its links in place of the newsroom's.
    """

    url: _Address
    name: _Name = ""
    active: bool = True
    draft: bool = True
    everyone: bool = False
    topics: Topics = Field(default_factory=list)
    topic_by_category: _ByCategory = Field(default_factory=dict)
    gap_minutes: _Gap = 0
    most_per_hour: _Most = 4
    most_per_day: _Most = 20
    newest_hours: _Hours = 6
    title_template: _Template = "{title}"
    text_template: _Template = "{text}"
    picture: bool = True
    language: _Language = ""
    minutes: _Minutes = 5
    link_parameters: _Parameters = ""

    def rules(self) -> FeedRules:
        """Return it as the model has it."""
        return _rules(self.model_dump(), FeedRules())


class ChangedFeed(RequestModel):
    """Changes to a feed; a field that is null or missing stays as it is.

    With another `url`, and when it was not `active`, it begins anew: what it has then is known,
    and not alerted.
    """

    url: _Address | None = None
    name: _Name | None = None
    active: bool | None = None
    draft: bool | None = None
    everyone: bool | None = None
    topics: Topics | None = None
    topic_by_category: _ByCategory | None = None
    gap_minutes: _Gap | None = None
    most_per_hour: _Most | None = None
    most_per_day: _Most | None = None
    newest_hours: _Hours | None = None
    title_template: _Template | None = None
    text_template: _Template | None = None
    picture: bool | None = None
    language: _Language | None = None
    minutes: _Minutes | None = None
    link_parameters: _Parameters | None = None

    def rules(self, before: FeedRules) -> FeedRules:
        """Return the rules as they will be."""
        return _rules(self.model_dump(), before)


def _rules(given: dict[str, Any], before: FeedRules) -> FeedRules:
    fields = {_CALLED.get(name, name): value for name, value in given.items() if value is not None}
    if "topics" in fields:
        fields["topics"] = tuple(fields["topics"])
    if "topic_by_category" in fields:
        by_category = fields["topic_by_category"].items()
        fields["topic_by_category"] = {name.strip().casefold(): slug for name, slug in by_category}
    return replace(before, **fields)


def refused(error: FeedRefused) -> Invalid:
    """Return the response to rules that the domain refuses."""
    return Invalid([FieldError(FIELD_OF.get(error.field, error.field), str(error))])


# Responses --------------------------------------------------------------------------------------


class FeedShown(ResponseModel):
    """A feed, its rules, and how it goes.

    `problem` says in words why it could not be read the last time; empty if it could.
    `page_feeds` are the feeds that a web page at its address names. With `instant` its hub calls
    when there is something new, and `hub_problem` says in words why one does not. `sent` and
    `left_out` count its items so far.
    """

    id: str
    url: str
    name: str
    active: bool
    draft: bool
    everyone: bool
    topics: list[str]
    topic_by_category: dict[str, str]
    gap_minutes: int
    most_per_hour: int
    most_per_day: int
    newest_hours: int
    title_template: str
    text_template: str
    picture: bool
    language: str
    minutes: int
    link_parameters: str
    added_by: str
    added_at: str
    title: str
    read_at: str | None
    tried_at: str | None
    next_at: str | None
    problem: str
    notices: list[str]
    page_feeds: list[str]
    instant: bool
    hub_problem: str
    sent: int
    left_out: int


class FeedList(ResponseModel):
    """The feeds of the newsroom, by name; `problem` if none is read at the moment."""

    feeds: list[FeedShown]
    problem: str
    next_cursor: str | None


class FeedLogLine(ResponseModel):
    """What became of an item: `alerted`, `drafted` or `left out`, and then `why`, in words.

    An alert `waits` if a second person has to approve it.
    """

    at: Time
    title: str
    link: str
    result: str
    why: str
    alert: Annotated[Id | None, OrNull]
    waits: bool


class FeedLog(ResponseModel):
    """What became of the latest items of a feed, the last one first; at most 200."""

    log: list[FeedLogLine]


class RehearsedItem(ResponseModel):
    """What a feed's rules would have made of an item; `left_out` says in words why nothing."""

    title: str
    text: str
    link: str
    published_at: str | None
    topics: list[str]
    left_out: str | None


class RehearsedFeed(ResponseModel):
    """What a feed would have sent in the last 24 hours, the oldest first."""

    items: list[RehearsedItem]


# Calls ------------------------------------------------------------------------------------------


@bp.get("/feeds")
@call(
    by=tools("read", "send"),
    gives={200: FeedList},
    parameters=paging.parameters(pattern=_ID),
)
def feeds() -> FeedList:
    """List the feeds that the newsroom watches."""
    found, next_cursor = paging.named(runtime().feeds.all(), lambda one: one.id, _ID)
    has_readers = runtime().feeds.has_readers()
    return feed_list(found, has_readers=has_readers, next_cursor=next_cursor)


@bp.get("/feeds/<feed>")
@call(by=tools("read", "send"), gives={200: FeedShown}, problems=(404,))
def feed(feed: str) -> FeedShown:
    """Show a feed."""
    return feed_shown(runtime().feeds.get(feed))


@bp.post("/feeds")
@call(by=tools("send"), takes=NewFeed, gives={201: FeedShown}, problems=(409,))
def add_feed(requested: NewFeed) -> tuple[FeedShown, dict[str, str]]:
    """Watch a feed from now on."""
    tool = calling_tool()
    by = tool.by or ToolName(tool.name)
    added = runtime().feeds.add(requested.rules(), by=by)
    return feed_shown(added), {"Location": url_for("api.feeds.feed", feed=added.id)}


@bp.patch("/feeds/<feed>")
@call(by=tools("send"), takes=ChangedFeed, gives={200: FeedShown}, problems=(404, 409))
def change_feed(requested: ChangedFeed, feed: str) -> FeedShown:
    """Change what becomes of a feed's items; pause it, or go on."""
    before = runtime().feeds.get(feed)
    return feed_shown(runtime().feeds.change(before, requested.rules(before.rules)))


@bp.errorhandler(FeedRefused)
def _refuse(error: FeedRefused) -> ResponseReturnValue:
    return respond(refused(error))


@bp.delete("/feeds/<feed>")
@call(by=tools("send"), gives={204: None}, problems=(404,))
def remove_feed(feed: str) -> None:
    """Watch a feed no more, and forget what it had."""
    runtime().feeds.remove(feed)


@bp.get("/feeds/<feed>/log")
@call(by=tools("read", "send"), gives={200: FeedLog}, problems=(404,))
def feed_log(feed: str) -> FeedLog:
    """Show what became of the latest items of a feed."""
    return FeedLog(log=[FeedLogLine.model_validate(line) for line in runtime().feeds.log(feed)])


@bp.post("/feeds/<feed>/read")
@call(by=tools("send"), gives={202: FeedShown}, problems=(404, 409))
def read_feed(feed: str) -> FeedShown:
    """Have a feed read at once, also one that its server called gone; not a paused one."""
    found = runtime().feeds.get(feed)
    if not found.rules.is_active:
        raise Problem(409, "This feed is paused, and is not read before it is active again.")
    runtime().feeds.look_now(found)
    return feed_shown(runtime().feeds.get(feed))


@bp.post("/feeds/<feed>/rehearse")
@call(by=tools("read", "send"), gives={200: RehearsedFeed}, problems=(404, 409))
def rehearse_feed(feed: str) -> RehearsedFeed:
    """Show what a feed would have sent in the last 24 hours; nothing is sent."""
    one = runtime().feeds.get(feed)
    found = rehearsed(one, runtime())
    if found is None:
        raise Problem(409, one.not_rehearsed)
    return found


def feed_list(
    found: Sequence[Feed], *, has_readers: bool, next_cursor: str | None = None
) -> FeedList:
    """Show feeds."""
    problem = NOBODY if found and not has_readers else ""
    shown = [feed_shown(one) for one in found]
    return FeedList(feeds=shown, problem=problem, next_cursor=next_cursor)


def feed_shown(one: Feed) -> FeedShown:
    """Show a feed."""
    rules, state = asdict(one.rules), one.state
    return FeedShown(
        id=one.id,
        **{FIELD_OF.get(name, name): _listed(value) for name, value in rules.items()},
        added_by=one.by,
        added_at=iso(one.added_at),
        title=one.title,
        read_at=_moment(state.read_at),
        tried_at=_moment(state.tried_at),
        next_at=_moment(one.due),
        problem=one.problem,
        notices=list(state.notices),
        page_feeds=list(state.feeds),
        instant=one.hub is not None and one.hub.holds(clock.time()),
        hub_problem=one.hub_problem(clock.time()),
        sent=state.sent,
        left_out=state.left_out,
    )


def rehearsed(one: Feed, runtime: Runtime) -> RehearsedFeed | None:
    """Show what a feed would have sent; None if it was not read yet."""
    found = runtime.feeds.rehearse(one)
    if found is None:
        return None
    return RehearsedFeed(
        items=[
            RehearsedItem(
                title=one.rules.title_of(decision.item),
                text=one.rules.text_of(decision.item),
                link=decision.item.link,
                published_at=_moment(decision.item.date),
                topics=list(one.rules.topics_of(decision.item)),
                left_out=decision.left_out.in_words if decision.left_out else None,
            )
            for decision in found
        ]
    )


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _moment(at: float | None) -> str | None:
    return iso(at) if at is not None and 0 <= at < _END_OF_TIME else None
