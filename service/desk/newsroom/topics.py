"""Topics: what readers can follow, in the newsroom's order; added, changed, merged and removed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace

from flask import abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.api.alerts.topics import read_topic
from service.api.fields import Invalid
from service.current import runtime
from service.desk.blueprint import bp
from service.desk.people.editors import note
from service.desk.permissions import allowed
from service.desk.seen import CHANGED, is_seen
from service.desk.session import signed_in
from service.domain.alerts.topics import MergedTopic, UnknownTopic
from service.domain.too_many import TooMany
from service.model.language.slugs import slug_of
from service.model.notifications import Topic
from service.model.roles import Role

_TAKEN = "Another topic has this short name. Choose another."
_NO_TARGET = "Choose the topic that gets the followers."
_NEW = ""  # stands for the form of a new topic where a page shows what is wrong


@bp.get("/topics")
@allowed(Role.MANAGES)
def topics() -> ResponseReturnValue:
    """List the topics."""
    return _page()


@bp.post("/topics")
@allowed(Role.MANAGES)
def add_topic() -> ResponseReturnValue:
    """Add a topic; its short name is made from its name unless one is typed."""
    form = request.form
    slug = form.get("slug", "").strip() or slug_of(form.get("name", ""))[:40].rstrip("-")
    topic, errors = _checked(slug)
    if topic is None:
        return _page(_NEW, errors), 422
    try:
        added = runtime().topics.add(topic)
    except TooMany as full:
        return _page(_NEW, {"name": str(full)}), 409
    except MergedTopic as merged:
        return _page(_NEW, {"slug": str(merged)}), 409
    if not added:
        return _page(_NEW, {"slug": _TAKEN}), 409
    note(f"added the topic {topic.slug}")
    return _back(topic.slug)


@bp.post("/topics/<slug>")
@allowed(Role.MANAGES)
def change_topic(slug: str) -> ResponseReturnValue:
    """Change a topic's name and description, and whether it is ticked beforehand or hidden."""
    before = runtime().topics.get(slug)
    topic, errors = _checked(slug)
    if topic is None:
        return _page(slug, errors), 422
    if topic != before:
        if not is_seen(before):
            return _page(slug, {"seen": CHANGED.format("topic")}), 409
        runtime().topics.change(**asdict(topic))
        note(f"changed the topic {slug}")
    return _back(slug)


@bp.post("/topics/<slug>/move")
@allowed(Role.MANAGES)
def move_topic(slug: str) -> ResponseReturnValue:
    """Move a topic one place up or down."""
    places = {"up": -1, "down": 1}.get(request.form.get("to", "")) or abort(400)
    with suppress(UnknownTopic):  # removed meanwhile, which the page then shows
        runtime().topics.move(slug, places)
    return _back(slug)


@bp.post("/topics/<slug>/merge")
@allowed(Role.MANAGES)
def merge_topic(slug: str) -> ResponseReturnValue:
    """Let the followers of a topic follow another one, to which its short name then leads.

    A scheduled alert that more browsers get by that may need a second person.
    """
    into = request.form.get("into", "")
    known = runtime().topics.all()
    if into not in known or into == slug:
        return _page(slug, {"into": _NO_TARGET}), 422
    asked = runtime().approvals.merge(runtime().topics, slug, into, by=signed_in().email)
    if slug in known:  # else it is the second of two clicks
        note(f"merged the topic {slug} into {into}")
    return _back(into, asked=asked or None)


@bp.post("/topics/<slug>/remove")
@allowed(Role.MANAGES)
def remove_topic(slug: str) -> ResponseReturnValue:
    """Remove a topic, and forget who followed it."""
    with suppress(UnknownTopic):  # the second of two clicks
        runtime().topics.remove(slug)
        note(f"removed the topic {slug}")
    return _back()


def _checked(slug: str) -> tuple[Topic | None, dict[str, str]]:
    """Return the topic that a form describes, or by field what is wrong with it."""
    form = request.form
    given: dict[str, object] = {
        "slug": slug,
        "name": form.get("name", ""),
        "description": form.get("description", ""),
        "default": "default" in form,
        "hidden": "hidden" in form,
    }
    try:
        return read_topic(given), {}
    except Invalid as invalid:
        return None, {error.field: error.detail for error in reversed(invalid.errors)}


def _back(slug: str = "", asked: int | None = None) -> ResponseReturnValue:
    anchor = f"topic-{slug}" if slug else None
    return redirect(url_for("desk.topics", asked=asked, _anchor=anchor), 303)


def _page(wrong: str | None = None, errors: dict[str, str] | None = None) -> str:
    """Show the page; `wrong` is the topic whose form was refused, or `_NEW`."""
    form, typed = request.form, None
    if wrong is not None and "name" in form:
        typed = replace(
            Topic(wrong or form.get("slug", ""), form.get("name", "")),
            description=form.get("description", ""),
            default="default" in form,
            hidden="hidden" in form,
        )
    return render_template(
        "desk/topics.html",
        topics=list(runtime().topics.all().values()),
        followers=runtime().topics.followers(),
        merged=runtime().topics.merged(),
        asked=request.args.get("asked", 0, type=int),
        wrong=wrong,
        typed=typed,
        errors=errors or {},
    )
