"""Feeds whose items become alerts: a list, and a page for each with its log and its rules."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from flask import abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.api.fields import Invalid, read_fields
from service.api.newsroom.feeds import FIELD_OF, NewFeed, rehearsed
from service.current import runtime
from service.desk.blueprint import bp
from service.desk.people.editors import note
from service.desk.permissions import ANY_EDITOR, allowed
from service.desk.seen import is_seen, seen
from service.desk.session import signed_in, typed
from service.domain.newsroom.feeds import (
    NOBODY,
    Feed,
    FeedChanged,
    FeedRefused,
    UnknownFeed,
)
from service.domain.too_many import TooMany
from service.model.newsroom.feeds import FeedRules
from service.model.roles import Role
from service.model.time import clock

_CHANGED = (
    "Another editor has changed this feed since you opened this page. Press “Save” to set all rules"
    " as they are below, or open the page again to see theirs."
)
_NUMBERS = ("gap_minutes", "most_per_hour", "most_per_day", "newest_hours", "minutes")
_LINES = ("name", "language", "title_template", "text_template", "link_parameters")
_BAD_LINE = "Write one on each line: a category, “=”, and the short name of a topic."


@bp.get("/feeds")
@allowed(ANY_EDITOR)
def feeds() -> ResponseReturnValue:
    """List the feeds."""
    return _list(_typed(), {})


@bp.post("/feeds")
@allowed(Role.MANAGES, lately="desk.feeds")
def add_feed() -> ResponseReturnValue:
    """Watch a feed; what it has now is not alerted."""
    rules, errors = _read(FeedRules(), _basic())
    if not errors:
        try:
            added = runtime().feeds.add(rules, by=signed_in().email)
        except FeedRefused as error:
            errors = {error.field: str(error)}
        except TooMany as full:
            errors = {"url": str(full)}
        else:
            note(f"added the feed {added.id}")
            return redirect(url_for("desk.feed", feed=added.id), 303)
    return _list(_typed(), errors), 422


@bp.get("/feeds/<feed>")
@allowed(ANY_EDITOR)
def feed(feed: str) -> ResponseReturnValue:
    """Show how it goes with a feed, what became of its items, and its rules."""
    one, given = runtime().feeds.get(feed), _typed()
    is_changed = given.get("seen") not in (None, seen(one.rules))
    return _page(one, given, {"seen": _CHANGED} if is_changed else {})


@bp.post("/feeds/<feed>")
@allowed(Role.MANAGES, lately="desk.feed")
def change_feed(feed: str) -> ResponseReturnValue:
    """Change what becomes of a feed's items."""
    before = runtime().feeds.get(feed)
    rules, errors = _read(before.rules, {**_basic(), **_further()})
    if errors.get("topic_by_category") or (by := _categories()) is None:
        errors = {**errors, "topic_by_category": errors.get("topic_by_category") or _BAD_LINE}
    elif not errors:
        rules = replace(rules, topic_by_category=by)
    if errors:
        return _page(before, _typed(), errors), 422
    if rules != before.rules and not is_seen(before.rules):
        return _page(before, _typed(), {"seen": _CHANGED}), 409
    return _changed(before, rules)


@bp.post("/feeds/<feed>/do")
@allowed(Role.MANAGES)
def steer_feed(feed: str) -> ResponseReturnValue:
    """Pause a feed, go on, read it at once, or watch a feed that its web page names instead."""
    one, do = runtime().feeds.get(feed), request.form.get("do", "")
    if do == "read":
        runtime().feeds.look_now(one)
        return _back(one)
    if do in ("pause", "resume"):
        return _changed(one, replace(one.rules, is_active=do == "resume"))
    url = request.form.get("url", "")
    if do != "use" or url not in one.state.feeds:
        abort(400)
    return _changed(one, replace(one.rules, url=url))


@bp.post("/feeds/<feed>/remove")
@allowed(Role.MANAGES)
def remove_feed(feed: str) -> ResponseReturnValue:
    """Watch a feed no more, and forget what it had."""
    with suppress(UnknownFeed):  # the second of two clicks
        runtime().feeds.remove(feed)
        note(f"removed the feed {feed!a}")
    return redirect(url_for("desk.feeds"), 303)


def _changed(before: Feed, rules: FeedRules) -> ResponseReturnValue:
    try:
        runtime().feeds.change(before, rules)
    except FeedRefused as error:
        return _page(before, _typed(), {error.field: str(error)}), 422
    except FeedChanged:
        return _page(runtime().feeds.get(before.id), _typed(), {"seen": _CHANGED}), 409
    note(f"changed the feed {before.id}")
    return _back(before)


def _back(one: Feed) -> ResponseReturnValue:
    return redirect(url_for("desk.feed", feed=one.id), 303)


# Forms --------------------------------------------------------------------------------------------


def _basic() -> dict[str, Any]:
    """Return what the form of a new feed has, as the API takes it."""
    form = request.form
    return {
        "url": form.get("url", ""),
        "everyone": form.get("audience") == "everyone",
        "topics": [] if form.get("audience") == "everyone" else form.getlist("topic"),
        "draft": form.get("when") != "send",
    }


def _further() -> dict[str, Any]:
    """Return what the form of a feed's rules has beside."""
    form = request.form
    numbers = {name: _number(form.get(name, "")) for name in _NUMBERS}
    lines = {name: form.get(name, "") for name in _LINES}
    return {**numbers, **lines, "picture": "picture" in form}


def _number(text: str) -> object:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _categories() -> dict[str, str] | None:
    """Return which category leads to which topic; None for lines that do not say it."""
    found = {}
    for line in request.form.get("categories", "").splitlines():
        category, equals, slug = (part.strip() for part in line.rpartition("="))
        if equals and category and slug:
            found[category.casefold()] = slug
        elif line.strip():
            return None
    return found


def _read(before: FeedRules, given: dict[str, Any]) -> tuple[FeedRules, dict[str, str]]:
    """Return the rules that a form describes, and by field what is wrong with them."""
    kept = {"topic_by_category": dict(before.topic_by_category), "active": before.is_active}
    try:
        return read_fields(NewFeed, {**kept, **given}, runtime()).rules(), {}
    except Invalid as invalid:
        errors = {one.field.partition(".")[0]: one.detail for one in reversed(invalid.errors)}
        return before, errors


def _typed() -> dict[str, Any]:
    """Return what was typed into the form of the rules, to show it again."""
    form = typed()
    if "audience" not in form:  # there is none, or it is the form of a button
        return {}
    boxes = {"topics": form.getlist("topic"), "everyone": form.get("audience") == "everyone"}
    return {
        **form,
        **boxes,
        "draft": form.get("when") != "send",
        "picture": "picture" in form,
        "categories": form.get("categories", ""),
    }


def _fields(rules: FeedRules) -> dict[str, Any]:
    """Return rules as the form shows them."""
    fields = {FIELD_OF.get(name, name): value for name, value in asdict(rules).items()}
    by_category = rules.topic_by_category.items()
    return {**fields, "categories": "\n".join(f"{name} = {slug}" for name, slug in by_category)}


# Pages --------------------------------------------------------------------------------------------


def _list(typed: dict[str, Any], errors: dict[str, str]) -> str:
    found = runtime().feeds.all()
    return render_template(
        "desk/feeds.html",
        feeds=found,
        topics=runtime().topics.named(),
        offered=list(runtime().topics.all().values()),
        problem=NOBODY if found and not runtime().feeds.has_readers() else "",
        form={**_fields(FeedRules()), **typed},
        errors=errors,
        now=clock.time(),
    )


def _page(
    one: Feed, typed: dict[str, Any] | None = None, errors: dict[str, str] | None = None
) -> str:
    return render_template(
        "desk/feed.html",
        feed=one,
        topics=runtime().topics.named(),
        offered=list(runtime().topics.all().values()),
        problem="" if runtime().feeds.has_readers() else NOBODY,
        log=runtime().feeds.log(one.id),
        rehearsal=rehearsed(one, runtime()) if "rehearse" in request.args else None,
        rehearse="rehearse" in request.args,
        usual_parameters=runtime().config.link_parameters,
        form={**_fields(one.rules), **(typed or {})},
        errors=errors or {},
        now=clock.time(),
    )
