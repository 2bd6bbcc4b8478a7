"""What readers' browsers call (design, section 5): pages of `SITE_ORIGINS`, service workers."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from service.api import reader_requests
from service.api.auth import bearer_token, body, runtime, unauthorized
from service.api.problems import Problem
from service.domain import history
from service.model.keys import b64url
from service.model.languages import TEST, ours
from service.model.notifications import Audience, Content, Notification, SubscriptionId
from service.model.preferences import QUARTER, Quiet, day
from service.model.times import iso
from service.store.daily_counts import COUNTS_KEPT
from service.store.records import Subscription
from service.store.subscriptions import NotSubscribed

READERS_BODY = 8 * 1024  # bytes; a subscription is less than one
_TEST_TTL = 600  # seconds: who asks for a test looks for it now
# Alerts under way beside which no test is begun: half as many as for welcomes, so that tests to a
# push service that does not answer keep nobody from being welcomed.
_MOST_UNDER_WAY = 50

bp = Blueprint("readers", __name__)


def _own_subscription(id: str) -> Subscription:
    """Return the subscription whose reader calls; any other token finds none."""
    token = bearer_token()
    if token is None:
        raise unauthorized("This needs the token that was given when this browser subscribed.")
    try:
        parsed = SubscriptionId.parse(id)
    except ValueError:
        raise NotSubscribed from None
    subscription = runtime().store.subscriptions.get(parsed)
    if not runtime().tokens.is_reader(token, subscription.id, subscription.auth):
        raise NotSubscribed
    return subscription


@bp.before_request
def _small() -> None:
    request.max_content_length = READERS_BODY


@bp.after_request
def _let_publishers_pages_call(response: Response) -> Response:
    """Let pages of `SITE_ORIGINS` read the answer (Fetch, CORS protocol); no cookies."""
    response.headers.add("Vary", "Origin")
    origin = request.headers.get("Origin", "")
    if origin in runtime().config.site_origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, PATCH, DELETE"
            response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
            response.headers["Access-Control-Max-Age"] = "7200"
    return response


@bp.get("/site")
def site() -> ResponseReturnValue:
    """Say what a page needs to know before it asks its reader."""
    # Short: with a key that is no longer ours a browser would subscribe in vain.
    cache = {"Cache-Control": "public, max-age=300, stale-while-revalidate=300"}
    config, defaults = runtime().config, runtime().config.defaults
    return (
        {
            "name": config.site_name,
            "vapid_public_key": runtime().vapid_public_key,
            "topics": list(map(dataclasses.asdict, runtime().store.installation.topics().values())),
            "prompt": {"page_views": config.ask_page_views, "delay_seconds": config.ask_seconds},
            "defaults": {
                "quiet_hours": _quiet_hours(defaults.quiet),
                "daily_limit": defaults.daily_limit or None,
            },
        },
        200,
        cache,
    )


@bp.post("/subscriptions")
def subscribe() -> ResponseReturnValue:
    """Store a browser's consent, or note that it checked in; a welcome may follow."""
    said, house = body(reader_requests.NewSubscription), runtime()

    def is_owner(id: SubscriptionId, auth: bytes) -> bool:
        token = bearer_token()
        return token is not None and house.tokens.is_reader(token, id, auth)

    requested = said.requested(house.vapid_public_key)
    if house.welcome.must_confirm:
        requested = requested._replace(must_confirm=True)
    subscription, new = house.store.subscriptions.subscribe(
        requested, refresh=said.refresh, is_owner=is_owner
    )
    house.welcome.send(subscription, new=new)
    return _credentials(subscription), 201 if new else 200


@bp.get("/subscriptions/<id>")
def preferences(id: str) -> ResponseReturnValue:
    """Say what a reader chose."""
    return _preferences(_own_subscription(id)), 200


@bp.patch("/subscriptions/<id>")
def change_preferences(id: str) -> ResponseReturnValue:
    """Change what a reader chose; with another endpoint, id and token are new ones."""
    before = _own_subscription(id)
    said = body(reader_requests.ChangedPreferences)
    requested = said.requested(before, runtime().vapid_public_key)
    after = runtime().store.subscriptions.change(before.id, requested)
    if after.id != before.id:
        runtime().welcome.send(after, new=False)
    return _preferences(after) | _credentials(after), 200


@bp.delete("/subscriptions/<id>")
def unsubscribe(id: str) -> ResponseReturnValue:
    """End a subscription: no alert is sent to it from now on."""
    runtime().store.subscriptions.remove(_own_subscription(id).id)
    return "", 204


@bp.get("/subscriptions/<id>/alerts")
def missed(id: str) -> ResponseReturnValue:
    """List the last alerts that went to an audience in which this reader is now."""
    alerts = history.missed(runtime().store, _own_subscription(id))
    return {"alerts": [_alert(one) for one in alerts]}, 200


@bp.post("/subscriptions/<id>/test")
def send_test(id: str) -> ResponseReturnValue:
    """Send this browser alone an alert that says that it is a test."""
    subscription, config = _own_subscription(id), runtime().config
    if len(runtime().store.notifications.active()) >= _MOST_UNDER_WAY:
        raise Problem(429, "Many alerts are on their way just now: try again in a minute.")
    lang = ours(subscription.locale)
    title, text = TEST[lang]
    body = text.format(config.site_name)
    content = Content(title=title, body=body, url=config.front_page, ttl=_TEST_TTL, lang=lang)
    sent = runtime().publishing.publish(content, Audience(subscription=subscription.id), by="")
    return {"status": sent.state.value, "recipients": sent.recipients}, 202


@bp.get("/subscriptions/<id>/export")
def export(id: str) -> ResponseReturnValue:
    """Hand a reader everything that is stored about them, as a file."""
    one = _own_subscription(id)
    preferences, house = one.preferences, runtime()
    left = {"quiet_hours": preferences.quiet, "daily_limit": preferences.daily_limit}
    said = {
        **_preferences(one),
        "left_to_the_newsroom": [name for name, chosen in left.items() if chosen is None],
        "last_seen_on": _date(one.seen),
        "endpoint": one.endpoint.url,
        "keys": {"p256dh": b64url(one.p256dh), "auth": b64url(one.auth)},
        "vapid_public_key": one.vapid_key,
        "called_gone_by_its_push_service": house.store.subscriptions.is_gone(one.id),
        "alerts_handed_over": [_alert(alert) for alert in history.handed_over(house.store, one.id)],
        "alerts_held": [_alert(alert) for alert in history.held_for(house.store, one.id)],
        "alerts_counted": _counted(one),
    }
    return said, 200, {"Content-Disposition": "attachment; filename=alerts.json"}


def _counted(one: Subscription) -> dict[str, int]:
    """Return how many alerts count for a reader by their own dates, as far as that is kept."""
    now, daily = int(time.time()), runtime().store.daily
    dates = {day(one.zone, (now - ago) // QUARTER) for ago in range(0, COUNTS_KEPT + 1, 86_400)}
    counts = {date: daily.had(one.id.partition, date, [one.id.number])[0] for date in sorted(dates)}
    return {f"{date}": count for date, count in counts.items() if count}


def _alert(one: Notification) -> dict[str, Any]:
    return {
        "title": one.text.title,
        "body": one.text.body,
        "url": one.text.url,
        "story": one.story or None,
        "sent_at": iso(one.started_at or one.created_at),
    }


@bp.post("/receipts")
def report() -> ResponseReturnValue:
    """Count what a browser reports of alerts; a forgery counts nothing and is answered alike."""
    opened = (
        (runtime().tokens.open_receipt(one.token), one.event)
        for one in body(reader_requests.NewReceipts).all()
    )
    runtime().publishing.count_receipts(
        [(*who, event) for who, event in opened if who is not None],
        kept_days=runtime().config.receipts_kept_days,
    )
    return "", 204


def _credentials(subscription: Subscription) -> dict[str, Any]:
    token = runtime().tokens.reader(subscription.id, subscription.auth)
    confirmed = subscription.preferences.confirmed
    return {"id": str(subscription.id), "token": token, "confirmed": confirmed}


def _preferences(subscription: Subscription) -> dict[str, Any]:
    """Return what holds for a reader: what was chosen, and else the newsroom's defaults."""
    defaults, preferences = runtime().config.defaults, subscription.preferences
    return {
        "id": str(subscription.id),
        "topics": sorted(subscription.topics),
        "locale": subscription.locale,
        "timezone": subscription.zone,
        "quiet_hours": _quiet_hours(defaults.quiet_of(preferences)),
        "daily_limit": defaults.limit_of(preferences) or None,
        "allow_breaking": preferences.allow_breaking,
        "paused_until": iso(preferences.paused_until)
        if preferences.paused_until > time.time()
        else None,
        "receipts": preferences.receipts,
        "confirmed": preferences.confirmed,
        "muted_stories": sorted(subscription.muted),
        "followed_stories": sorted(subscription.followed),
        "wording": subscription.wording,
        "subscribed_on": _date(subscription.created),
    }


def _quiet_hours(quiet: Quiet) -> dict[str, str] | None:
    start, _, end = str(quiet).partition("-")
    return None if start == end else {"from": start, "to": end}


def _date(day: int) -> str:
    return iso(day * 86_400).partition("T")[0]
