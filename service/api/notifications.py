"""The API's calls about alerts, for editors' tools and the CMS."""

from __future__ import annotations

import re

from flask import Blueprint, request, url_for

from service.api import alerts_shown, references
from service.api.auth import calling_tool, tools
from service.api.calls import call
from service.api.fields import Invalid
from service.api.json_bodies import one_spelling
from service.api.notification_requests import (
    ChangedNotification,
    Correction,
    NewNotification,
    TestTo,
    TextChosen,
)
from service.api.problems import FieldError, Problem
from service.api.responses import (
    NotificationList,
    NotificationShown,
    Published,
    StateShown,
)
from service.current import runtime
from service.domain import requests
from service.domain.requests import Idempotency
from service.model.alert_log import ToolName

_PAGE = 20  # alerts of a list, unless more are asked for
_LONGEST_PAGE = 100
_NO_ID = 1 << 53  # larger than the id of any alert

_LIMIT = {
    "name": "limit",
    "in": "query",
    "required": False,
    "schema": {"type": "integer", "minimum": 1, "maximum": _LONGEST_PAGE},
}
_CURSOR = {
    "name": "cursor",
    "in": "query",
    "required": False,
    "schema": {"type": "integer", "minimum": 1, "maximum": _NO_ID},
}

bp = Blueprint("notifications", __name__, url_prefix="/notifications")

_Accepted = tuple[Published, dict[str, str]]


# Publishing -------------------------------------------------------------------------------------


def _published_before() -> _Accepted | None:
    before = runtime().publishing.earlier_response(_idempotency())
    return None if before is None else _accepted(before)


@bp.post("")
@call(
    by=tools("send"),
    takes=NewNotification,
    gives={202: Published},
    idempotent=_published_before,
)
def publish(requested: NewNotification) -> _Accepted:
    """Publish an alert, now or later; `recipients` is how many browsers match at this moment."""
    idempotency = _idempotency()
    if requested.reference is None:
        checked = requested.accepted(runtime())
        return _accepted(references.publish(runtime(), checked, idempotency, _tool()))
    if idempotency is not None:
        raise Problem(400, "Send an Idempotency-Key or a `reference`, which is one, and not both.")
    caller = calling_tool().digest
    return _accepted(
        references.publish_as(runtime(), requested.reference, requested, caller, _tool())
    )


@bp.post("/<int:id>/correct")
@call(
    by=tools("send"),
    takes=Correction,
    gives={202: Published},
    idempotent=_published_before,
    problems=(404,),
)
def correct(requested: Correction, id: int) -> _Accepted:
    """Correct the text of an alert: for readers not reached yet and, if you ask so, all others."""
    return _accepted(
        runtime().publishing.correct(
            id,
            **requested.texts(),
            replace=requested.reached == "replace",
            by=_tool(),
            idempotency=_idempotency(),
            check=lambda root: requested.check(root, runtime()),
        )
    )


@bp.post("/<int:id>/test")
@call(
    by=tools("send"),
    takes=TestTo,
    gives={202: Published},
    idempotent=_published_before,
    problems=(404,),
)
def test(requested: TestTo, id: int) -> _Accepted:
    """Send the text of an alert to one browser."""
    reader, text = requested.subscription(runtime()), runtime().publishing.get(id).text
    return _accepted(
        runtime().reader_alerts.send_text(reader, text, by=_tool(), idempotency=_idempotency())
    )


def _idempotency() -> Idempotency | None:
    """Return the `Idempotency-Key` of this request, if it has one."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not re.fullmatch(r"[!-~]{1,255}", key):
        raise Problem(400, "Idempotency-Key must be 1 to 255 visible ASCII characters.")
    # The same body sent to another address asks for something else.
    whole = f"{request.method} {request.path}\n".encode() + one_spelling(request.get_data())
    return Idempotency(calling_tool().digest, key, whole)


def _accepted(accepted: requests.Published) -> _Accepted:
    response = alerts_shown.published(accepted)
    return response, {"Location": url_for("api.notifications.show", id=accepted.id)}


# Looking at alerts ------------------------------------------------------------------------------


@bp.get("")
@call(
    by=tools("read", "send"),
    gives={200: NotificationList},
    problems=(422,),
    parameters=(_LIMIT, _CURSOR),
)
def latest() -> NotificationList:
    """List alerts, newest first."""
    limit = _query_number("limit", _PAGE, most=_LONGEST_PAGE)
    before = _query_number("cursor", _NO_ID, most=_NO_ID)
    return alerts_shown.page(runtime(), limit, before)


@bp.get("/<int:id>")
@call(by=tools("read", "send"), gives={200: NotificationShown}, problems=(404,))
def show(id: int) -> NotificationShown:
    """Show an alert and how far it has come."""
    return alerts_shown.alert(runtime().publishing.get(id), runtime())


def _query_number(name: str, default: int, *, most: int) -> int:
    """Return a whole number from the query; `Invalid` unless it is from 1 to `most`."""
    text = request.args.get(name, str(default))
    if not re.fullmatch(r"[1-9][0-9]{0,15}", text) or not 1 <= int(text) <= most:
        raise Invalid([FieldError(name, f"Must be a whole number from 1 to {most}.")])
    return int(text)


# Changing and stopping alerts -------------------------------------------------------------------


@bp.patch("/<int:id>")
@call(
    by=tools("send"), takes=ChangedNotification, gives={200: NotificationShown}, problems=(404, 409)
)
def change(requested: ChangedNotification, id: int) -> NotificationShown:
    """Change a draft or a scheduled alert; a missing field stays as it is."""
    before = runtime().publishing.to_change(id)
    checked = requested.accepted(before, runtime())
    published = references.change(runtime(), before, checked, _tool())
    shown = alerts_shown.alert(runtime().publishing.get(published.id), runtime())
    shown.warnings = alerts_shown.warnings((*checked.warnings, *published.warnings))
    return shown


@bp.delete("/<int:id>")
@call(by=tools("send"), gives={204: None}, problems=(404, 409))
def remove(id: int) -> None:
    """Delete a draft or a scheduled alert."""
    runtime().publishing.remove(id, by=_tool())


@bp.post("/<int:id>/send")
@call(by=tools("send"), gives={202: StateShown}, problems=(404, 409))
def send(id: int) -> StateShown:
    """Send a draft or a scheduled alert now."""
    published = runtime().publishing.send(id, by=_tool())
    return _state(id, *published.warnings)


@bp.post("/<int:id>/choose")
@call(by=tools("send"), takes=TextChosen, gives={202: StateShown}, problems=(404, 409))
def choose(requested: TextChosen, id: int) -> StateShown:
    """Send one of an alert's two texts to all who are not in the sample, without waiting."""
    runtime().text_choice.choose(id, requested.text, by=_tool())
    return _state(id, *runtime().stops.warnings())


@bp.post("/<int:id>/cancel")
@call(by=tools("send"), gives={202: StateShown}, problems=(404, 409))
def cancel(id: int) -> StateShown:
    """Cancel an alert within a second, for readers whose copy is held too."""
    runtime().publishing.cancel(id, by=_tool())
    return _state(id)


@bp.post("/<int:id>/pause")
@call(by=tools("send"), gives={202: StateShown}, problems=(404, 409))
def pause(id: int) -> StateShown:
    """Pause an alert within a second. Its time to live runs on."""
    runtime().publishing.pause(id, by=_tool())
    return _state(id)


@bp.post("/<int:id>/resume")
@call(by=tools("send"), gives={202: StateShown}, problems=(404, 409))
def resume(id: int) -> StateShown:
    """Go on sending a paused alert."""
    runtime().publishing.resume(id, by=_tool())
    return _state(id, *runtime().stops.warnings())


def _tool() -> ToolName:
    tool = calling_tool()
    return ToolName.of(tool.name, tool.by)


def _state(id: int, *warnings: tuple[str, str]) -> StateShown:
    state = runtime().publishing.get(id).state
    given = {"warnings": alerts_shown.warnings(warnings)} if warnings else {}
    return StateShown(id=str(id), status=state.value, **given)
