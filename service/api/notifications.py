"""The API's calls about notifications: for editors' tools and the CMS (design, section 5)."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from flask import Blueprint, url_for
from flask.typing import ResponseReturnValue

from service.api import notification_requests
from service.api.auth import body, caller, idempotency, query_number, runtime
from service.domain.publishing import Published
from service.domain.push_services import Limit
from service.domain.receipts import estimates
from service.domain.waves import Held
from service.model.notifications import SKIPPED, Audience, Notification, Outcome
from service.model.times import iso

_PAGE = 20  # notifications of a list, unless asked for more
_LONGEST_PAGE = 100
_NO_ID = 1 << 53  # larger than any notification's

bp = Blueprint("notifications", __name__, url_prefix="/notifications")


@bp.post("")
def publish() -> ResponseReturnValue:
    """Publish an alert, now or later; `recipients` is how many browsers match at this moment."""
    who = caller("send")
    key = idempotency(who)
    # What was taken once is not judged again: by now its `send_at` may have passed.
    if (before := runtime().publishing.answered(key)) is not None:
        return _published(before)
    wanted = body(notification_requests.NewNotification).accepted(runtime())
    return _published(
        runtime().publishing.publish(
            wanted.content,
            wanted.audience,
            by=who.name,
            spread_minutes=wanted.spread_minutes,
            send_at=wanted.send_at,
            draft=wanted.draft,
            idempotency=key,
        )
    )


def _published(published: Published) -> ResponseReturnValue:
    answer = {
        "id": str(published.id),
        "status": published.state.value,
        "recipients": published.recipients,
    }
    return answer, 202, {"Location": url_for("api.notifications.show", id=published.id)}


@bp.get("")
def latest() -> ResponseReturnValue:
    """List what was published, newest first."""
    caller("read", "send")
    limit = query_number("limit", _PAGE, most=_LONGEST_PAGE)
    before = query_number("cursor", _NO_ID, most=_NO_ID)
    found = runtime().publishing.latest(limit + 1, before)
    return (
        {
            "notifications": [_notification(one) for one in found[:limit]],
            "next_cursor": str(found[limit - 1].id) if len(found) > limit else None,
        },
        200,
    )


@bp.get("/<int:id>")
def show(id: int) -> ResponseReturnValue:
    """Show an alert and how far it has come."""
    caller("read", "send")
    return _notification(runtime().publishing.get(id)), 200


@bp.patch("/<int:id>")
def change(id: int) -> ResponseReturnValue:
    """Change a draft, or an alert that is scheduled; what is missing stays."""
    caller("send")
    before = runtime().publishing.to_change(id)
    wanted = body(notification_requests.ChangedNotification).accepted(before, runtime())
    published = runtime().publishing.change(
        before,
        wanted.content,
        wanted.audience,
        spread_minutes=wanted.spread_minutes,
        send_at=wanted.send_at,
        draft=wanted.draft,
    )
    return _notification(runtime().publishing.get(published.id)), 200


@bp.delete("/<int:id>")
def remove(id: int) -> ResponseReturnValue:
    """Delete a draft, or an alert that is scheduled."""
    caller("send")
    runtime().publishing.remove(id)
    return "", 204


@bp.post("/<int:id>/send")
def send(id: int) -> ResponseReturnValue:
    """Send a draft, or an alert that is scheduled, now."""
    caller("send")
    runtime().publishing.send(id)
    return _state(id)


@bp.post("/<int:id>/cancel")
def cancel(id: int) -> ResponseReturnValue:
    """Stop an alert: a second from now no message of it leaves, and what is held never does."""
    caller("send")
    runtime().publishing.cancel(id)
    return _state(id)


@bp.post("/<int:id>/pause")
def pause(id: int) -> ResponseReturnValue:
    """Hold an alert: a second from now no message of it leaves. Its time runs on."""
    caller("send")
    runtime().publishing.pause(id)
    return _state(id)


@bp.post("/<int:id>/resume")
def resume(id: int) -> ResponseReturnValue:
    """Go on sending an alert where it was paused."""
    caller("send")
    runtime().publishing.resume(id)
    return _state(id)


@bp.post("/<int:id>/correct")
def correct(id: int) -> ResponseReturnValue:
    """Give an alert another text, for those not reached yet and, as it is asked, for the others."""
    who = caller("send")
    said = body(notification_requests.Correction)
    return _published(
        runtime().publishing.correct(
            id,
            title=said.title,
            body=said.body,
            url=said.url,
            replace=said.reached == "replace",
            by=who.name,
            idempotency=idempotency(who),
            check=lambda root: said.check(root, runtime()),
        )
    )


@bp.post("/<int:id>/test")
def test(id: int) -> ResponseReturnValue:
    """Send the text of an alert to one browser."""
    who = caller("send")
    to = body(notification_requests.TestTo).subscription(runtime())
    text = runtime().publishing.get(id).text
    return _published(
        runtime().publishing.publish(
            text, Audience(subscription=to), by=who.name, idempotency=idempotency(who)
        )
    )


def _state(id: int) -> ResponseReturnValue:
    return {"id": str(id), "status": runtime().publishing.get(id).state.value}, 202


def _notification(one: Notification) -> dict[str, Any]:
    return {
        "id": str(one.id),
        "status": one.state.value,
        **one.content.as_json(),
        "audience": one.audience.as_json(),
        "story": one.story or None,
        "spread_minutes": one.spread_minutes or None,
        "send_at": one.wall or (iso(one.send_at.at) if one.send_at else None),
        "local_time": bool(one.wall),
        "time_zone": (one.send_at and one.send_at.zone) or None,
        "late": "send" if one.send_at and one.send_at.however_late else "draft",
        "missed": one.missed,
        "corrects": str(one.corrects) if one.corrects else None,
        "corrections": [str(id) for id in one.corrections],
        # What those are sent who have not been reached yet.
        "text_now": {"title": one.text.title, "body": one.text.body, "url": one.text.url},
        "created_at": iso(one.created_at),
        "created_by": one.created_by,
        "progress": _progress(one),
    }


def _progress(one: Notification) -> dict[str, Any]:
    progress = runtime().publishing.progress(one.id)
    by_service: dict[str, dict[str, int]] = {}
    for (outcome, service), count in progress.outcomes.items():
        if service and outcome is not Outcome.SKIPPED:
            by_service.setdefault(service, {})[outcome.value] = count
    receipts = estimates(runtime().publishing.receipts(one.id), one.reporting)
    now = time.time()
    seconds = (one.finished_at or now) - (one.started_at or now)
    return {
        "recipients": progress.recipients,
        "done": progress.done,
        "outcomes": {outcome.value: progress.of(outcome) for outcome in Outcome},
        "skipped": {why: progress.skipped(why) for why in SKIPPED},
        "held": _held(runtime().publishing.held(one)),
        "by_service": by_service,
        "receipts": {event: said.browsers for event, said in receipts.items()},
        "receipts_error": {event: round(said.error) for event, said in receipts.items()},
        "limits": [_limit(limit) for limit in runtime().publishing.limits(one)],
        "started_at": iso(one.started_at) if one.started_at else None,
        "finished_at": iso(one.finished_at) if one.finished_at else None,
        # On average; within the first second, as if it were over.
        "rate_per_second": round(progress.done / max(1.0, seconds), 1),
    }


def _held(held: Held) -> dict[str, Any]:
    first_at, last_at = (iso(at) if at else None for at in (held.first_at, held.last_at))
    return {
        "waiting": held.waiting,
        "first_at": first_at,
        "last_at": last_at,
        "alone": held.alone,
        "together": held.together,
        "waves": [wave._asdict() | {"id": str(wave.id), "at": iso(wave.at)} for wave in held.waves],
    }


def _limit(limit: Limit) -> dict[str, Any]:
    times = (limit.resting_until, limit.last_reader_at)
    resting_until, last_reader_at = (iso(time) if time else None for time in times)
    return dataclasses.asdict(limit) | {
        "resting_until": resting_until,
        "last_reader_at": last_reader_at,
    }
