"""The API's calls for readers: made by pages of `SITE_ORIGINS` and by service workers."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from service.api.auth import READER
from service.api.calls import call
from service.api.paging import in_query
from service.api.rate_limits import (
    Rate,
    bearer_token,
    caller,
    check,
    fits,
    per_address,
    per_token,
)
from service.api.readers import reader_responses
from service.api.readers.reader_requests import (
    ChangedPreferences,
    NewPairing,
    NewQuestion,
    NewReceipts,
    NewSubscription,
)
from service.api.readers.reader_responses import (
    AlertShown,
    Credentials,
    QuietHoursShown,
    TopicShown,
)
from service.current import runtime
from service.domain.readers.reader_alerts import NONE
from service.domain.sending.receipts import Report
from service.model.keys import b64url
from service.model.network.user_agents import browser_name
from service.model.notifications import Notification
from service.model.preferences import Preferences, Quiet
from service.model.retention import NEW_HOSTS_KEPT
from service.model.subscriptions import Subscription, SubscriptionRequest
from service.model.time import clock
from service.model.time.times import iso
from service.runtime import Runtime

READERS_BODY = 8 * 1024  # bytes; a subscription has less than one thousand
SUBSCRIBING = per_address(60, "subscribing")
_CHANGES = per_address(60, "changed preferences")
# Hosts of a push service's wildcard that no reader has yet: strangers can make them up.
_NEW_HOSTS = Rate(10, "address", "new push services", seconds=NEW_HOSTS_KEPT)
# Sections of the site on which nobody else was asked today: strangers can make them up too.
_NEW_SECTIONS = Rate(10, "address", "new sections", seconds=NEW_HOSTS_KEPT)
_WHY = in_query("why", type="string", enum=["left", "lost"])

RAISED = "stoppress.raised"  # in a WSGI environment: an error of `without_flask.py`

bp = Blueprint("readers", __name__)


@bp.before_request
def _small() -> None:
    request.max_content_length = READERS_BODY


@bp.before_request
def _raise() -> None:
    if error := request.environ.get(RAISED):
        raise error


@bp.after_request
def _let_publishers_pages_call(response: Response) -> Response:
    """Let pages of `SITE_ORIGINS` read the response (Fetch, CORS protocol); no cookies."""
    response.headers.add("Vary", "Origin")
    origin = request.environ.get("HTTP_ORIGIN", "")
    if origin in runtime().config.site_origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, PATCH, DELETE"
            # Scripts for monitoring add headers of their own to all of a page's calls.
            response.headers["Access-Control-Allow-Headers"] = "Authorization, *"
            response.headers["Access-Control-Max-Age"] = "7200"
    elif origin not in ("", "null") and origin != f"{request.scheme}://{request.host}":
        runtime().refused_origins.note(origin)
    return response


@bp.get("/site")
@call(gives={200: reader_responses.Site})
def site() -> tuple[reader_responses.Site, dict[str, str]]:
    """Tell a page what it needs to know before it asks its reader."""
    # Not for long: with a key that is no longer ours a browser would subscribe in vain.
    headers = {"Cache-Control": "public, max-age=300, stale-while-revalidate=300"}
    config, defaults = runtime().config, runtime().config.defaults
    if (origin := request.headers.get("Origin", "")) in config.site_origins:
        runtime().seen_origins.note(origin)  # one of its pages has our script
    topics = [topic for topic in runtime().topics.known().values() if not topic.hidden]
    return reader_responses.Site(
        name=config.site_name,
        vapid_public_key=runtime().keys.current,
        topics=[TopicShown.model_validate(topic) for topic in topics],
        prompt=reader_responses.Prompt(
            page_views=config.ask_page_views,
            delay_seconds=config.ask_seconds,
            texts=config.prompt_texts,
        ),
        defaults=reader_responses.Defaults(
            quiet_hours=_quiet_hours(defaults.quiet), daily_limit=defaults.daily_limit or None
        ),
        alerts_a_day=runtime().alert_history.a_day(topics),
        welcome=runtime().reader_alerts.welcome != NONE,
    ), headers


# Subscribing, and what a reader chose ----------------------------------------------------------


@bp.post("/subscriptions")
@call(
    takes=NewSubscription,
    gives={201: Credentials, 200: Credentials},
    rates=(SUBSCRIBING,),
    problems=(404, 409, 410),
)
def subscribe(requested: NewSubscription) -> tuple[Credentials, int]:
    """Subscribe a browser, or note that it checked in; a welcome may follow."""
    # Most of these calls do not come here: what changes here changes in `without_flask.py` too.
    here = runtime()
    asked = requested.requested(here.keys.current)
    _check_host(asked)
    subscription, new = here.subscriptions.subscribe(
        asked,
        token=bearer_token(),
        refresh=requested.refresh,
        caller=caller,
    )
    return credentials(here, subscription), 201 if new else 200


@bp.get("/subscriptions/<id>")
@call(by=READER, gives={200: reader_responses.Preferences})
def preferences(reader: Subscription) -> reader_responses.Preferences:
    """Show a reader's preferences."""
    return reader_responses.Preferences(**_preferences(reader))


@bp.patch("/subscriptions/<id>")
@call(
    by=READER,
    takes=ChangedPreferences,
    gives={200: reader_responses.PreferencesChanged},
    rates=(_CHANGES,),
    problems=(409,),
)
def change_preferences(
    before: Subscription, requested: ChangedPreferences
) -> reader_responses.PreferencesChanged:
    """Change a reader's preferences; if the endpoint changes, so do id and token."""
    asked = requested.requested(before, runtime().keys.current)
    _check_host(asked)
    after = runtime().subscriptions.change(before, asked, caller=caller)
    return reader_responses.PreferencesChanged(
        **_preferences(after) | credentials(runtime(), after).model_dump()
    )


@bp.delete("/subscriptions/<id>")
@call(by=READER, gives={204: None}, rates=(_CHANGES,), parameters=(_WHY,))
def unsubscribe(reader: Subscription) -> None:
    """End a subscription: no alert is sent to it from now on.

    `why=lost` says that the reader did not leave: the browser took the permission back by itself.
    """
    runtime().subscriptions.remove(reader, lost=request.args.get("why") == "lost")


# What a reader may ask for -----------------------------------------------------------------------


@bp.get("/subscriptions/<id>/alerts")
@call(by=READER, gives={200: reader_responses.Missed}, rates=(per_address(300), per_token(30)))
def missed(reader: Subscription) -> reader_responses.Missed:
    """List the last alerts to audiences that this reader belongs to now."""
    return reader_responses.Missed(alerts=_alerts(runtime().alert_history.missed(reader)))


@bp.post("/subscriptions/<id>/test")
@call(by=READER, gives={202: reader_responses.TestSent}, rates=(per_address(30), per_token(3)))
def send_test(reader: Subscription) -> reader_responses.TestSent:
    """Send this browser alone an alert that says that it is a test."""
    sent = runtime().reader_alerts.send_test(reader, caller=caller)
    return reader_responses.TestSent(status="sending", recipients=sent.recipients)


@bp.post("/subscriptions/<id>/pairing")
@call(
    by=READER,
    takes=NewPairing,
    gives={200: reader_responses.PairingShown},
    rates=(per_address(30), per_token(10)),
    problems=(410,),
)
def pair(reader: Subscription, requested: NewPairing) -> reader_responses.PairingShown:
    """Show who has made a code to pair this browser; once its reader has agreed, use the code up.

    The browser is paired when that editor confirms it at the desk. It then gets tests of alerts.
    """
    paired = runtime().paired_browsers
    if requested.agreed:
        browser = browser_name(request.environ.get("HTTP_USER_AGENT", ""))
        editor = paired.claim(requested.code, reader, browser)
    else:
        editor = paired.editor_of(requested.code)
    return reader_responses.PairingShown(site=runtime().config.site_name, editor=editor)


@bp.get("/subscriptions/<id>/export")
@call(by=READER, gives={200: reader_responses.Export}, rates=(per_address(30), per_token(10)))
def export(reader: Subscription) -> tuple[reader_responses.Export, dict[str, str]]:
    """Give a reader everything that is stored about them, as a file."""
    history, readers = runtime().alert_history, runtime().subscriptions
    everything = reader_responses.Export(
        **_preferences(reader),
        left_to_the_newsroom=_left_to_the_newsroom(reader.preferences),
        last_seen_on=_date(reader.seen),
        endpoint=reader.endpoint.url,
        keys=reader_responses.KeysShown(p256dh=b64url(reader.p256dh), auth=b64url(reader.auth)),
        vapid_public_key=reader.vapid_key,
        called_gone_by_its_push_service=readers.is_gone(reader),
        new_push_service_accepted_nothing=readers.was_asked_in_vain(reader),
        taken_over_and_no_alert_accepted_yet=readers.is_untried(reader),
        subscribed_minutes_ago=readers.is_young(reader),
        alerts_handed_over=_alerts(history.handed_over(reader.id)),
        alerts_held=_alerts(history.held(reader.id)),
        alerts_clicked=_alerts(history.clicked(reader.id)),
        alerts_counted={f"{date}": count for date, count in history.counted(reader).items()},
        paired=_paired(reader),
    )
    return everything, {"Content-Disposition": "attachment; filename=alerts.json"}


@bp.post("/receipts")
@call(takes=NewReceipts, gives={204: None}, rates=(per_address(600),))
def report(reported: NewReceipts) -> None:
    """Count what a browser reports of alerts; a forged receipt counts nothing."""
    opened = ((runtime().tokens.open_receipt(one.token), one) for one in reported.all())
    runtime().receipts.count(
        [Report(*found, one.event, one.seconds_ago) for found, one in opened if found is not None]
    )


@bp.post("/questions")
@call(takes=NewQuestion, gives={204: None}, rates=(per_address(60),))
def count_question(asked: NewQuestion) -> None:
    """Count how often pages ask whether a reader wants alerts, by part of the site."""
    runtime().questions.count(asked.step, asked.page, lambda: fits(_NEW_SECTIONS))


def _check_host(asked: SubscriptionRequest) -> None:
    if runtime().subscriptions.is_new_host(asked.endpoint):
        check(_NEW_HOSTS)


# What responses are made of ---------------------------------------------------------------------


def credentials(here: Runtime, subscription: Subscription) -> Credentials:
    """Return what a browser proves with that a subscription is its own."""
    return Credentials(
        id=str(subscription.id),
        token=here.subscriptions.token(subscription),
        confirmed=subscription.preferences.confirmed,
    )


def _preferences(reader: Subscription) -> dict[str, Any]:
    """Return what holds for a reader: the reader's own choice, else the newsroom's default."""
    defaults, preferences = runtime().config.defaults, reader.preferences
    paused = preferences.paused_until > clock.time()
    return {
        "id": str(reader.id),
        "topics": sorted(reader.topics),
        "locale": reader.locale,
        "timezone": reader.zone,
        "quiet_hours": _quiet_hours(defaults.quiet_of(preferences)),
        "daily_limit": defaults.limit_of(preferences) or None,
        "allow_breaking": preferences.allow_breaking,
        "paused_until": iso(preferences.paused_until) if paused else None,
        "receipts": preferences.receipts,
        "confirmed": preferences.confirmed,
        "muted_stories": sorted(reader.muted),
        "followed_stories": sorted(reader.followed),
        "wording": reader.wording,
        "subscribed_on": _date(reader.created),
    }


def _paired(reader: Subscription) -> reader_responses.PairedShown | None:
    row = runtime().paired_browsers.of_reader(reader)
    return row and reader_responses.PairedShown(
        editor=row.by,
        browser=row.browser,
        paired_at=iso(row.paired_at),
        used_at=iso(row.used_at) if row.used_at else None,
    )


def _left_to_the_newsroom(preferences: Preferences) -> list[Any]:
    chosen = {"quiet_hours": preferences.quiet, "daily_limit": preferences.daily_limit}
    return [name for name, value in chosen.items() if value is None]


def _quiet_hours(quiet: Quiet) -> QuietHoursShown | None:
    start, _, end = str(quiet).partition("-")
    return None if start == end else QuietHoursShown(**{"from": start, "to": end})


def _date(day: int) -> str:
    return iso(day * 86_400).partition("T")[0]


def _alerts(alerts: list[Notification]) -> list[AlertShown]:
    return [
        AlertShown(
            title=one.text.title,
            body=one.text.body,
            url=one.text.url,
            story=one.story or None,
            sent_at=iso(one.started_at or one.created_at),
        )
        for one in alerts
    ]
