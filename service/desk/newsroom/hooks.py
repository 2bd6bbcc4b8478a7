"""Publish hooks: the addresses at which a CMS says that it has published a story."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.people.editors import note
from service.desk.permissions import allowed
from service.desk.seen import CHANGED, is_seen
from service.desk.session import show_once, shown_once, signed_in, typed
from service.domain.newsroom.publish_hooks import UnknownHook, WrongHook
from service.domain.too_many import TooMany
from service.model.language.languages import language_tag
from service.model.newsroom.publish_hooks import EVERYONE, FIELDS, NEEDED, PublishHook
from service.model.roles import Role

_ONCE = "hook"
_NO_SECTION = "“{}” is not a section, “=” and a topic’s short name."
_NEW = ""  # stands for the form of a new hook where a page shows what is wrong
_LONGEST_LIST = 5000  # characters


@bp.get("/hooks")
@allowed(Role.MANAGES)
def hooks() -> ResponseReturnValue:
    """List the publish hooks with their last calls."""
    return _page()


def _page(wrong: str | None = None, errors: dict[str, str] | None = None) -> str:
    """Show the page; `wrong` is the hook whose form was refused, or `_NEW`."""
    return render_template(
        "desk/hooks.html",
        hooks=runtime().publish_hooks.all(),
        base=f"{runtime().config.public_url}/api/v1/hooks/",
        topics=runtime().topics.all(),
        everyone=EVERYONE,
        needed=NEEDED,
        secret=shown_once(_ONCE),
        wrong=wrong,
        errors=errors or {},
        form=typed(),
    )


@bp.post("/hooks")
@allowed(Role.MANAGES, lately="desk.hooks")
def add_hook() -> ResponseReturnValue:
    """Add a publish hook; the page that follows shows its secret, and no later one does."""
    given, errors = _read()
    if errors:
        return _page(_NEW, errors), 422
    secret = request.form.get("secret", "").strip()
    try:
        made, secret = runtime().publish_hooks.add(given, secret, by=signed_in().email)
    except WrongHook as wrong:
        return _page(_NEW, wrong.errors), 422
    except TooMany as full:
        return _page(_NEW, {"name": str(full)}), 409
    note(f"added the publish hook {made.id[:8]} ({made.name!a})")
    show_once(_ONCE, secret)
    return redirect(url_for("desk.hooks"), 303)


@bp.post("/hooks/<id>")
@allowed(Role.MANAGES)
def change_hook(id: str) -> ResponseReturnValue:
    """Change all of a publish hook but its secret."""
    given, errors = _read(id)
    if errors:
        return _page(id, errors), 422
    before = runtime().publish_hooks.get(id)
    made = {name: getattr(before, name) for name in ("secret", "created_at", "created_by")}
    if replace(given, **made) != before and not is_seen(before):
        return _page(id, {"seen": CHANGED.format("publish hook")}), 409
    try:
        runtime().publish_hooks.change(id, lambda _before: given)
    except WrongHook as wrong:
        return _page(id, wrong.errors), 422
    note(f"changed the publish hook {id[:8]} ({given.name!a})")
    return redirect(url_for("desk.hooks", _anchor=f"hook-{id}"), 303)


@bp.post("/hooks/<id>/secret")
@allowed(Role.MANAGES, lately="desk.hooks")
def new_hook_secret(id: str) -> ResponseReturnValue:
    """Make a new secret, which the page that follows shows; the one before counts no more."""
    secret = runtime().publish_hooks.new_secret(id)
    note(f"made a new secret for the publish hook {id[:8]}")
    show_once(_ONCE, secret)
    return redirect(url_for("desk.hooks"), 303)


@bp.post("/hooks/<id>/remove")
@allowed(Role.MANAGES)
def remove_hook(id: str) -> ResponseReturnValue:
    """Let no program call a publish hook any more."""
    with suppress(UnknownHook):  # the second of two clicks
        runtime().publish_hooks.remove(id)
        note(f"removed the publish hook {id[:8]}")
    return redirect(url_for("desk.hooks"), 303)


def _read(id: str = "") -> tuple[PublishHook, dict[str, str]]:
    """Return the hook that a form describes, and by field what is wrong with it."""
    form, errors = request.form, {}
    header = form.get("header", "").strip()
    if form.get("signature") != "header":
        header = ""
    elif not header:
        errors["header"] = "Say in which header the signature is."
    known, topics = runtime().topics.all(), {}
    for line in form.get("topics", "")[:_LONGEST_LIST].splitlines():
        section, _, slug = map(str.strip, line.rpartition("="))
        if section and slug in known:
            topics[section.lower()] = slug
        elif line.strip():
            errors["topics"] = _NO_SECTION.format(line.strip()[:60])
    otherwise = form.get("otherwise", "")
    if otherwise not in ("", EVERYONE, *known):
        errors["otherwise"] = "Choose one of the topics."
    try:
        lang = language_tag(given) if (given := form.get("lang", "").strip()) else ""
    except ValueError:
        lang, errors["lang"] = "", "Must be a language such as en or pt-BR."
    hook = PublishHook(
        id=id,
        name=form.get("name", "").strip(),
        secret="",
        header=header,
        paths={name: path for name in FIELDS if (path := form.get(name, "").strip())},
        topics=topics,
        otherwise=otherwise,
        draft=form.get("draft") != "no",
        lang=lang,
    )
    return hook, errors
