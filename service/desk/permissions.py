"""Who may use which page of the desk.

`@allowed(…)` above a view says it; `service/desk/blueprint.py` checks it before each request. The
application does not start while a view says nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from flask import Flask, current_app, request

from service.current import runtime
from service.desk.session import current_editor, signed_in
from service.domain.alerts.publishing import UnknownNotification
from service.model.notifications import State
from service.model.roles import Role

# The least role, or a function that finds it for this request; None lets strangers in.
Rule: TypeAlias = Role | Callable[[], Role] | None
View = TypeVar("View", bound=Callable[..., Any])

EVERYBODY = None
ANY_EDITOR = Role.WRITES
_BLUEPRINTS = ("desk.", "start.")
_FILES = "desk.static"  # whose view is Flask's own; none of these files is secret


def allowed(rule: Rule, *, lately: str = "") -> Callable[[View], View]:
    """Say who may use a view.

    `lately` is for what makes a further way in: it takes a session that has just begun, because a
    stranger who finds the desk open could come back for ever. It names the page with the form.
    """

    def mark(view: View) -> View:
        view.rule = rule  # type: ignore[attr-defined]
        view.lately = lately  # type: ignore[attr-defined]
        return view

    return mark


def init_app(app: Flask) -> None:
    """Check that each view of the desk says who may use it, and let pages ask who may what."""
    app.jinja_env.globals["may"] = _may_here
    for endpoint, view in app.view_functions.items():
        if endpoint.startswith(_BLUEPRINTS) and endpoint != _FILES and not hasattr(view, "rule"):
            raise RuntimeError(f"{endpoint}: say who may use it, by @allowed")


def rule_of(endpoint: str) -> Rule:
    """Return who may use a view of the desk."""
    view: Any = current_app.view_functions[endpoint]
    rule: Rule = EVERYBODY if endpoint == _FILES else view.rule
    return rule


def lately(endpoint: str) -> str:
    """Return the page with the form of a view that takes a session that has just begun, or ""."""
    view: Any = current_app.view_functions[endpoint]
    page: str = view.lately
    return page


def needed(rule: Role | Callable[[], Role]) -> Role:
    """Return the least role that this request needs."""
    return rule if isinstance(rule, Role) else rule()


def may(role: Role) -> bool:
    """Whether the signed-in editor has this role, or a higher one.

    In a rehearsal every editor may try everything.
    """
    if "REHEARSAL" in current_app.config:
        return role is not Role.MANAGES
    editor = current_editor()
    return editor is not None and editor.role >= role


def _may_here(word: str) -> bool:
    return may(Role.called(word))


# Rules that depend on the request -----------------------------------------------------------------


def for_a_draft() -> Role:
    """Let any editor open or delete a draft; anything more takes the role that sends.

    More is a scheduled alert, a correction and a retraction.
    """
    return _for_planned((request.view_args or {}).get("id"))


def to_keep_a_draft() -> Role:
    """Let any editor save a form as a draft; sending or scheduling takes the role that sends."""
    return for_a_draft() if request.form.get("when") == "draft" else Role.SENDS


def to_finish_a_form() -> Role:
    """Let any editor review a form, or keep it as a draft unless it changes a scheduled alert."""
    return _for_planned(request.form.get("alert", type=int))


def _for_planned(id: int | None) -> Role:
    try:
        one = None if id is None else runtime().publishing.get(id)
    except UnknownNotification:
        one = None
    # If the alert is deleted or sent by now, the view says so and changes nothing.
    is_more = one and (one.state is State.SCHEDULED or one.corrects is not None)
    return Role.SENDS if is_more else ANY_EDITOR


def for_oneself() -> Role:
    """Let editors see their own page; the page of another editor takes the role that manages."""
    own = (request.view_args or {})["id"] == signed_in().id
    return ANY_EDITOR if own else Role.MANAGES
