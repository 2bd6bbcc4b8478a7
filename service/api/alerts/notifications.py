"""The API's calls about alerts, for editors' tools and the CMS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Blueprint, request, url_for

from service.api import paging
from service.api.alerts import alerts_shown, references
from service.api.alerts.correction_requests import Correction
from service.api.alerts.notification_requests import (
    ChangedNotification,
    NewNotification,
    TestTo,
    TextChosen,
)
from service.api.auth import calling_tool, tools
from service.api.calls import call
from service.api.json_bodies import one_spelling
from service.api.problems import Problem
from service.api.responses import (
    NotificationList,
    NotificationShown,
    Published,
    StateShown,
)
from service.current import runtime
from service.domain.alerts import requests
from service.domain.alerts.requests import ChangedMeanwhile, Idempotency
from service.model.alert_log import ToolName
from service.model.notifications import Notification
from service.model.time.times import iso

_PAGE = 20  # alerts of a list, unless more are asked for
_NO_ID = 1 << 53  # larger than the id of any alert


_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
}

bp = Blueprint("notifications", __name__, url_prefix="/notifications")

_Accepted = tuple[Published, dict[str, str]]


# Publishing -------------------------------------------------------------------------------------


def _published_before() -> _Accepted | None:
    before = runtime().publishing.responses.earlier(_idempotency())
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
        runtime().corrections.correct(
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
    parameters=paging.parameters(type="integer", minimum=1, maximum=_NO_ID),
    conditional=True,
)
def latest() -> NotificationList:
    """List alerts, newest first."""
    before = paging.number("cursor", _NO_ID, most=_NO_ID)
    return alerts_shown.page(runtime(), paging.limit(_PAGE), before)


@bp.get("/<int:id>")
@call(by=tools("read", "send"), gives={200: NotificationShown}, problems=(404,), conditional=True)
def show(id: int) -> tuple[NotificationShown, dict[str, str]]:
    """Show an alert and how far it has come."""
    one = runtime().publishing.get(id)
    return alerts_shown.alert(one, runtime()), _etag(one)


def _etag(one: Notification) -> dict[str, str]:
    """Return the header by which a planned alert can be changed as it is now."""
    return {"ETag": f'"{one.version}"'} if one.planned else {}


# Changing and stopping alerts -------------------------------------------------------------------


@bp.patch("/<int:id>")
@call(
    by=tools("send"),
    takes=ChangedNotification,
    gives={200: NotificationShown},
    problems=(404, 409, 412),
    parameters=(_IF_MATCH,),
)
def change(requested: ChangedNotification, id: int) -> tuple[NotificationShown, dict[str, str]]:
    """Change a draft or a scheduled alert; a missing field stays as it is."""
    before = runtime().publishing.to_change(id)
    with _as_seen(before):
        checked = requested.accepted(before, runtime())
        published = references.change(runtime(), before, checked, _tool())
    after = runtime().publishing.get(published.id)
    shown = alerts_shown.alert(after, runtime())
    shown.warnings = alerts_shown.warnings((*checked.warnings, *published.warnings))
    return shown, _etag(after)


@bp.delete("/<int:id>")
@call(by=tools("send"), gives={204: None}, problems=(404, 409, 412), parameters=(_IF_MATCH,))
def remove(id: int) -> None:
    """Delete a draft or a scheduled alert."""
    with _as_seen(runtime().publishing.get(id)) as changes:
        runtime().publishing.remove(id, by=_tool(), changes=changes)


@bp.post("/<int:id>/send")
@call(by=tools("send"), gives={202: StateShown}, problems=(404, 409, 412), parameters=(_IF_MATCH,))
def send(id: int) -> StateShown:
    """Send a draft or a scheduled alert now."""
    with _as_seen(runtime().publishing.get(id)) as changes:
        published = runtime().publishing.send(id, by=_tool(), changes=changes)
    return _state(id, *published.warnings)


@bp.post("/<int:id>/skip")
@call(
    by=tools("send"),
    gives={200: NotificationShown},
    problems=(404, 409, 412),
    parameters=(_IF_MATCH,),
)
def skip(id: int) -> tuple[NotificationShown, dict[str, str]]:
    """Leave out the next time of an alert that repeats; with `If-Match` no second one."""
    before = runtime().publishing.get(id)
    with _as_seen(before):
        runtime().publishing.skip(id, str(before.changes), by=_tool())
        after = runtime().publishing.get(id)
        if after.send_at == before.send_at:
            raise ChangedMeanwhile(id, "This alert was changed meanwhile. Nothing was skipped.")
    return alerts_shown.alert(after, runtime()), _etag(after)


@contextmanager
def _as_seen(one: Notification) -> Iterator[int | None]:
    """Refuse a call (`Problem` 412) whose `If-Match` names another version of a planned alert.

    Yields how often the alert has been changed; None for a call without `If-Match`.
    """
    if "If-Match" not in request.headers or not one.planned:  # what was sent is a conflict
        yield None
        return
    # A proxy that compresses responses makes a weak tag of ours.
    if not request.if_match.contains_weak(one.version):
        raise _changed_since(one)
    try:
        yield one.changes
    except ChangedMeanwhile:
        raise _changed_since(runtime().publishing.to_change(one.id)) from None


def _changed_since(one: Notification) -> Problem:
    etag, entries = f'"{one.version}"', runtime().alert_log.of(one.id)
    last = entries[-1] if entries else None
    who = f"{last.by or 'The clock'} changed it last, at {iso(last.at)}. " if last else ""
    detail = (
        f"This alert is not as you read it, and nothing was done. {who}Read it again, and repeat"
        " the call with its ETag."
    )
    return Problem(412, detail, headers={"ETag": etag}, alert=one.id, etag=etag)


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
