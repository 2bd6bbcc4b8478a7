"""What an item of a feed becomes: an alert or a draft, once; or a line that says why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import urlsplit

from service.domain.alerts.publishing import PlanWithdrawn, Publishing
from service.domain.alerts.requests import Idempotency
from service.domain.alerts.stops import Stops
from service.model.alert_log import ToolName
from service.model.language.languages import browser_language
from service.model.language.links import NO_PARAMETERS, LinkParameters
from service.model.network.addresses import is_loopback
from service.model.newsroom.feed_items import Decision, LeftOut, Result
from service.model.newsroom.feeds import FeedItem, FeedReading, FeedRules
from service.model.notifications import (
    DEFAULT_TTL,
    MAX_PLAINTEXT,
    Audience,
    Content,
    Notification,
    State,
)
from service.model.payload import Payload, shortened
from service.model.retention import DAY

_LONGEST_ID = 2**32 - 1
_LONGEST_NAME = 60  # characters
_NOT_SECURE = "Its link begins with http://. Readers’ browsers need https://."
_NO_TOPIC = "The rules name no topic for its categories."
_TOO_LONG = "Its title and its link are too long to be pushed."


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """The settings that alerts of feeds depend on, and what hubs call."""

    public_url: str
    language: str = ""
    icon: str = ""
    parameters: LinkParameters = NO_PARAMETERS
    callbacks: str = ""  # where hubs reach us; empty: nowhere, because SITE_URL is not set


class Became(NamedTuple):
    """What an item became."""

    result: Result
    left_out: LeftOut | None = None
    why: str = ""  # a sentence, if it was left out
    alert: int = 0
    waits: bool = False  # for a second person


class FeedAlerts:
    """Makes alerts of the items of feeds."""

    def __init__(
        self, publishing: Publishing, stops: Stops, settings: Callable[[], FeedSettings]
    ) -> None:
        self._publishing = publishing
        self._stops = stops
        self._settings = settings

    def make(
        self, feed: str, rules: FeedRules, by: str, reading: FeedReading, one: Decision, now: float
    ) -> Became:
        """Publish an item, or keep it as a draft; a second call for it makes nothing new.

        `feed` is the feed's id, and `by` who added it: an editor whom a second person has to be
        another than.
        """
        named = replace(rules, name=rules.name or shortened(reading.title, _LONGEST_NAME))
        return self._made_of(feed, named, by, reading, one, now)

    def _made_of(
        self, feed: str, rules: FeedRules, by: str, reading: FeedReading, one: Decision, now: float
    ) -> Became:
        key = Idempotency("feed", f"{feed} {one.id}", b"")
        # First: an earlier run that was killed may have published it.
        if (earlier := self._publishing.responses.sent_as(key)) is not None:
            return self._made(earlier, rules)
        if one.left_out is not None:
            return _left_out(one.left_out)
        if self._stops.holds():
            return _left_out(LeftOut.STOPPED)
        audience = Audience(everyone=rules.everyone, topics=rules.topics_of(one.item))
        if rules.everyone:
            audience = Audience(everyone=True)
        content = self._content(one.item, rules, reading)
        if not self._fits(content, rules):
            return Became(Result.LEFT_OUT, why=_TOO_LONG)
        if (why := self._refusal(content, audience, now)) is not None:
            return Became(Result.LEFT_OUT, why=why)
        if self._is_known(content.url, now):
            return _left_out(LeftOut.SAME_LINK)
        try:
            published = self._publishing.publish(
                content,
                audience,
                by=ToolName.of(f"feed {rules.name}", by),
                draft=rules.makes_drafts,
                idempotency=key,
                link_parameters=rules.link_parameters,
            )
        except PlanWithdrawn:  # another clock has published it, and an editor deleted it
            return Became(Result.DRAFTED if rules.makes_drafts else Result.ALERTED)
        return self._made(published.id, rules)

    def _made(self, id: int, rules: FeedRules) -> Became:
        found: list[Notification] = self._publishing.all([id])
        waits = any(one.waits_for_approval for one in found)
        result = Result.DRAFTED if rules.makes_drafts else Result.ALERTED
        return Became(result, alert=id, waits=waits)

    def _content(self, item: FeedItem, rules: FeedRules, reading: FeedReading) -> Content:
        settings = self._settings()
        content = Content(
            title=rules.title_of(item),
            url=item.link,
            body=rules.text_of(item),
            icon=settings.icon or None,
            image=(item.picture or None) if rules.with_picture else None,
            urgency="normal",
            ttl=DEFAULT_TTL["news"],
            lang=_tag(rules.language, item.language, reading.language, settings.language),
        )
        # Each is tried only if the one before is too long to be pushed.
        for shorter in (content, content.changed(bare=True), content.changed(bare=True, body="")):
            if self._fits(shorter, rules):
                return shorter
        return content

    def _fits(self, content: Content, rules: FeedRules) -> bool:
        settings = self._settings()
        longest = Notification(
            *(_LONGEST_ID, content, Audience(everyone=True), State.SENDING, 0.0, ""),
            reporting=0.1234,
            link_parameters=rules.link_parameters,
        )
        return Payload(longest, settings.public_url, settings.parameters).size <= MAX_PLAINTEXT

    def _refusal(self, content: Content, audience: Audience, now: float) -> str | None:
        link = urlsplit(content.url)
        if link.scheme != "https" and not is_loopback(link.hostname or ""):
            return _NOT_SECURE
        if not (audience.everyone or audience.topics):
            return _NO_TOPIC
        refused = self._publishing.conditions.refused(audience, now)
        return refused.detail if refused else None

    def _is_known(self, link: str, now: float) -> bool:
        """Whether a link is that of an alert of the last day, or of one that is still to be sent.

        It may be that of an editor or of another feed.
        """
        found = self._publishing.same_link.latest(link)
        if found is None:
            return False
        return found.planned or now - (found.started_at or found.created_at) < DAY


def _left_out(why: LeftOut) -> Became:
    return Became(Result.LEFT_OUT, why, why.in_words)


def _tag(*languages: str) -> str | None:
    """Return the first of these that is a language tag."""
    return next((tag for text in languages if (tag := browser_language(text))), None)
