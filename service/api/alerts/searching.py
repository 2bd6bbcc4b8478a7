"""The API's calls that look for alerts, and at the links that alerts lead to."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint
from pydantic import StringConstraints

from service.api import paging
from service.api.alerts import alerts_shown
from service.api.auth import tools
from service.api.calls import call
from service.api.fields import SLUG, Invalid, RequestModel, ResponseModel
from service.api.paging import SINCE, UNTIL, asked, days, one_of, parameter
from service.api.problems import FieldError, Problem
from service.api.responses import NotificationShown
from service.current import runtime
from service.domain.alerts.alert_search import Search
from service.domain.alerts.same_link import time_of
from service.domain.newsroom.articles import NotALink
from service.model.notifications import DEFAULT_TTL, Notification, State
from service.model.time.times import iso

bp = Blueprint("searching", __name__)

_ID = "^[1-9][0-9]{0,14}$"
_PAGE = 20  # alerts of a list, unless more are asked for
_LONGEST_LINK = 2000
_STATES = [one.value for one in State]


# Alerts -------------------------------------------------------------------------------------------


class FoundList(ResponseModel):
    """The alerts that were looked for: planned ones first, then the latest. `found` counts all."""

    notifications: list[NotificationShown]
    found: int
    next_cursor: str | None


@bp.get("/search")
@call(
    by=tools("read", "send"),
    gives={200: FoundList},
    parameters=(
        *paging.parameters(pattern=_ID),
        *(parameter("text"), parameter("by")),
        parameter("status", enum=_STATES),
        parameter("kind", enum=[*DEFAULT_TTL]),
        parameter("topic", pattern=SLUG),
        *(SINCE, UNTIL),
    ),
)
def search() -> FoundList:
    """Look for alerts by words, status, kind, topic, who wrote them (`by`), and day (UTC)."""
    status = one_of("status", _STATES)
    found = runtime().alert_search.found(
        Search(
            text=asked("text"),
            state=State(status) if status else None,
            kind=one_of("kind", DEFAULT_TTL),
            topic=asked("topic"),
            by=asked("by"),
            **days(),
        )
    )
    page, next_cursor = paging.named(found, str, _ID, _PAGE)
    shown = [alerts_shown.alert(one, runtime()) for one in runtime().publishing.all(page)]
    return FoundList(notifications=shown, found=len(found), next_cursor=next_cursor)


# Links --------------------------------------------------------------------------------------------


class SameLinkShown(ResponseModel):
    """The latest alert with a link; `at` is when it was sent, is to be sent, or was written."""

    id: str
    title: str
    status: str
    at: str


class LinkShown(ResponseModel):
    """Whether an alert with this link was sent, or is planned; null if there is none."""

    alert: SameLinkShown | None


@bp.get("/links")
@call(
    by=tools("read", "send"),
    gives={200: LinkShown},
    parameters=(
        {**parameter("url", minLength=1, maxLength=_LONGEST_LINK), "required": True},
        parameter("but", pattern=_ID),
    ),
)
def link() -> LinkShown:
    """Say whether a link went out already; `but` names an alert that does not count.

    As at the desk, a draft does not count unless it waits for a second person.
    """
    url, but = asked("url", _LONGEST_LINK), paging.number("but", 10**15, most=10**15)
    if not url:
        raise Invalid([FieldError("url", "Is required.")])
    found = runtime().publishing.same_link.latest(url, but=but)
    return LinkShown(alert=_same_link(found) if found else None)


def _same_link(one: Notification) -> SameLinkShown:
    return SameLinkShown(
        id=str(one.id),
        title=one.text.title,
        status=one.state.value,
        at=iso(time_of(one)),
    )


class ArticleAsked(RequestModel):
    """A link whose page is to be read."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_LINK)]


class ArticleShown(ResponseModel):
    """What the page behind a link says of itself, for an alert about it.

    While it `is_read` false, ask again in a second. `problems` say in words what is wrong with the
    link.
    """

    id: str
    url: str
    is_read: bool
    title: str
    body: str
    image: str | None
    lang: str | None
    section: str
    for_subscribers: bool
    problems: list[str]


@bp.post("/articles")
@call(by=tools("send"), takes=ArticleAsked, gives={202: ArticleShown})
def read_article(requested: ArticleAsked) -> ArticleShown:
    """Have the page behind a link read by a fetch process, to fill in an alert from it."""
    try:
        request = runtime().articles.ask(requested.url)
    except NotALink:
        raise Invalid([FieldError("url", "Is not a web address.")]) from None
    return _article(request.id) or ArticleShown(
        **dict.fromkeys(("title", "body", "section"), ""),
        id=request.id,
        url=request.link,
        is_read=False,
        image=None,
        lang=None,
        for_subscribers=False,
        problems=runtime().articles.link_check(request.link, ""),
    )


@bp.get("/articles/<article>")
@call(by=tools("send"), gives={200: ArticleShown}, problems=(404,))
def article(article: str) -> ArticleShown:
    """Show what a page that was read lately says of itself."""
    found = _article(article)
    if found is None:
        raise Problem(404, "This page was not read lately. POST its link again.")
    return found


def _article(id: str) -> ArticleShown | None:
    found = runtime().articles.result(id)
    if found is None:
        return None
    page = found.article
    return ArticleShown(
        id=id,
        url=found.link,
        is_read=found.reading is not None,
        title=page.title,
        body=page.text,
        image=page.picture or None,
        lang=page.language or None,
        section=page.section,
        for_subscribers=page.for_subscribers,
        problems=[*found.problems("")],
    )
