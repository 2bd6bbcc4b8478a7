"""The form of an alert and its confirmation: what writing and changing an alert have in common."""

from __future__ import annotations

import json
import re
from calendar import day_abbr
from collections.abc import Sequence
from dataclasses import replace

from flask import current_app, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.api import fields
from service.api.alerts import notification_requests
from service.api.alerts.notification_requests import CheckedAlert
from service.current import runtime
from service.desk.alerts.one_alert import describe_audience
from service.desk.alerts.two_texts import sample_sizes
from service.desk.blueprint import bp
from service.desk.permissions import ANY_EDITOR, allowed
from service.desk.session import shown_once, signed_in
from service.desk.words import late_words
from service.desk.writing.folds import fold_words, size_words
from service.desk.writing.forms import DAYS, Form, lifetimes, samples, spreads, waits
from service.domain.alerts.stories import RunningStory
from service.domain.people.paired_browsers import PairedRow
from service.model.notifications import DEFAULT_TTL, Audience, Notification, SendAt
from service.model.retention import DAY
from service.model.time import clock, times
from service.model.time.repeats import WEEKDAYS

SENT_TO_ME = "sent to me"  # what the confirmation says once, after a test
_NOBODY_NEEDED = (
    "Nothing was sent. Fewer browsers would get it now, so that no second person is needed: press"
    " the button again."
)
_FARTHEST = 400 * DAY  # an alert is scheduled for a year ahead at most
_RECENT = 100  # alerts among which an audience may choose those that readers did not get
_NOBODY = "No browser would get it, because none is subscribed to this yet."
_TWO_STORIES = "Choose a running story or start a new one, not both."


@bp.get("/reach")
@allowed(ANY_EDITOR)
def reach() -> ResponseReturnValue:
    """Return the part of the form that says how many browsers would get the alert, and when."""
    form = Form.read(request.args)
    audience, count, refused, delivery = audience_of(form), None, _not_counted(form), None
    send_at, late = None, ""
    if refused is None:
        kind = "breaking" if form.kind == "breaking" else "news"
        content, now = replace(form.content(), kind=kind), clock.time()
        send_at = _leaves_later(form, now)
        delivery = runtime().forecaster.forecast(content, audience, send_at, now)
        count = delivery.recipients
        late = late_words(delivery, send_at.wall, now) if send_at else ""
    shown = {"reach": count, "refused": refused, "delivery": delivery, "late": late}
    shown["later"] = form.when == "at"
    return render_template("desk/reach.html", leaves_out=audience.leaves_out, **shown)


def _leaves_later(form: Form, now: float) -> SendAt | None:
    """Return the time that a form chooses, if an alert can be sent then."""
    chosen = form.chosen_time if form.when == "at" else None
    if chosen is None:
        return None
    last = times.last_clock(chosen.wall) if chosen.wall else chosen.at
    return chosen if now < last < now + _FARTHEST else None


def compose_page(
    form: Form,
    key: str,
    *,
    before: Notification | None = None,
    errors: dict[str, str] | None = None,
    notice: str = "",
    done: str = "",
    changes: Sequence[str] = (),
    revision: int | None = None,
) -> str:
    """Show the form; `key` is its nonce, and the name under which it is kept while it is typed.

    `notice` says what is wrong, `done` what was done, and `changes` what other editors have changed
    meanwhile. `revision` is that of the form if it is shown as it was kept: another window may have
    saved it since. None stands for what is kept by now, which this form replaces.
    """
    email = signed_in().email
    kept = runtime().unfinished.get(key, email)
    # A topic that was merged is another one now.
    lead = runtime().topics.current
    form = replace(
        form,
        topics=lead(form.topics),
        all_topics=lead(form.all_topics),
        exclude=lead(form.exclude),
        digest_topics=lead(form.digest_topics),
    )
    audience, refused = audience_of(form), _not_counted(form)
    conditions = runtime().publishing.conditions
    return render_template(
        "desk/compose.html",
        form=replace(form, zone=form.zone or "UTC"),
        key=key,
        revision=(kept.revision if kept else 0) if revision is None else revision,
        others=runtime().unfinished.others(before.id, email) if before else [],
        before=before,
        folds=fold_words(form),
        size=size_words(form),
        lifetimes=lifetimes(form),
        samples=samples(form),
        waits=waits(form),
        weekdays=dict(zip(WEEKDAYS, day_abbr, strict=True)),
        errors=errors or {},
        notice=notice,
        done=done,
        templates=[] if before or kept or form.url or form.title else runtime().templates.all(),
        changes=changes,
        topics=runtime().topics.all().values(),
        spreads=spreads(before),
        ttl=DEFAULT_TTL,
        stories=runtime().stories.running(),
        reach=runtime().publishing.reach(audience) if refused is None else None,
        later=form.when == "at",
        leaves_out=audience.leaves_out,
        refused=refused,
        saved_audiences=runtime().saved_audiences.all(),
        recent={str(one.id): one for one in conditions.alerts(_RECENT)},
        keeps_clicks=conditions.keeps_clicks,
    )


def review_page(
    form: Form, key: str, *, back: str, before: Notification | None, revision: int | None = None
) -> ResponseReturnValue:
    """Show what would be sent, and to how many, or the form with what is wrong.

    `back` is the page from which it was opened; `revision` as in `compose_page`.
    """
    checked = check(form, before)
    if not isinstance(checked, CheckedAlert):
        return compose_page(form, key, before=before, errors=checked, revision=revision), 422
    return _confirm_page(form, checked, key=key, back=back, before=before)


def is_asked_in_vain(form: Form, checked: CheckedAlert) -> bool:
    """Whether an editor asked for a second person, and so few would get it now that none is needed.

    It is not sent then, because that is not what the button said.
    """
    if "asked" not in request.form or form.when == "draft":
        return False
    browsers = runtime().publishing.reach(checked.audience)
    return not runtime().approvals.needed(checked.content, browsers)


def not_asked_page(
    form: Form, key: str, checked: CheckedAlert, before: Notification | None = None
) -> ResponseReturnValue:
    """Show the confirmation again, with the button that sends it."""
    back = url_for("desk.unfinished", key=key, alert=before.id if before else None)
    page = _confirm_page(form, checked, key=key, back=back, before=before, notice=_NOBODY_NEEDED)
    return page, 409


def _confirm_page(
    form: Form,
    checked: CheckedAlert,
    *,
    key: str,
    back: str,
    before: Notification | None,
    notice: str = "",
) -> str:
    runtime().articles.look_at(checked.content.url)  # the page asks for the result
    now = clock.time()
    story = _running(checked.audience.story)
    # A story that is not running has no followers to mention.
    known = checked.audience if story else replace(checked.audience, story="")
    forecast = runtime().forecaster.forecast(
        checked.content, checked.audience, checked.send_at, now
    )
    return render_template(
        "desk/confirm.html",
        form=form,
        key=key,
        back=back,
        before=before,
        notice=notice,
        checked=checked,
        audience=describe_audience(known),
        story=story,
        reach=(browsers := runtime().publishing.reach(checked.audience)),
        asks=runtime().approvals.needed(checked.content, browsers),
        sizes=sample_sizes(checked.second_text, browsers),
        same_link=runtime().publishing.same_link.latest(
            checked.content.url, but=before.id if before else None
        ),
        forecast=forecast,
        late=late_words(forecast, checked.send_at.wall, now) if checked.send_at else "",
        hints=runtime().headlines.hints(checked.content.title, but=before.id if before else None),
        now=now,
        own_browsers=_own_browsers(),
        sent_to_me=shown_once(SENT_TO_ME),
        here=request.full_path.rstrip("?"),
    )


def _own_browsers() -> list[PairedRow]:
    if "REHEARSAL" in current_app.config:  # whose page leaves them out
        return []
    return runtime().paired_browsers.of(signed_in().email)


def check(form: Form, before: Notification | None = None) -> CheckedAlert | dict[str, str]:
    """Return the checked alert, or what is wrong by field."""
    try:
        if before is None:
            checked = notification_requests.read(form.as_json(), runtime())
        else:
            checked = checked_change(form, before)
    except fields.Invalid as invalid:
        return form.complaints(invalid)
    if form.names_two_stories:
        return {"story": _TWO_STORIES}
    if form.when == "now" and not runtime().publishing.reach(checked.audience):
        narrow = "No browser would get it: none is in this audience."
        return {"audience": narrow if checked.audience.leaves_out else _NOBODY}
    return checked


def checked_change(form: Form, before: Notification) -> CheckedAlert:
    """Return a planned alert as the form changes it; `fields.Invalid`."""
    body = json.dumps(form.change_of(before)).encode()
    change = fields.parse(notification_requests.ChangedNotification, body, runtime())
    return change.accepted(before, runtime())


def leaves_at(form: Form, checked: CheckedAlert) -> SendAt | None:
    """Return when an alert leaves: as chosen, or once nobody can take it back any more."""
    if form.when != "now":
        return checked.send_at
    seconds, now = runtime().config.undo_for(checked.content.kind), clock.time()
    return SendAt(now + seconds, sent_at=now) if seconds else None


def _running(slug: str) -> RunningStory | None:
    return next((one for one in runtime().stories.running() if one.slug == slug), None)


def _not_counted(form: Form) -> str | None:
    """Return why the audience of a form cannot be counted; empty if none is chosen yet."""
    audience = audience_of(form)
    unknown = form.topics and not (audience.topics or audience.everyone or form.all_topics)
    if unknown or not form.names_an_audience:
        return ""
    if form.days_are_wrong:
        return DAYS
    refusal = runtime().publishing.conditions.refused(audience, clock.time())
    return refusal and refusal.detail


def audience_of(form: Form, *, as_saved: bool = False) -> Audience:
    """Return the audience that a form chooses, as far as it can be read.

    `as_saved`: with topics that were removed meanwhile, to describe it.
    """
    known, stories = runtime().topics.named(), runtime().stories.slugs()
    topics, exclude = (
        tuple(slug for slug in slugs if as_saved or slug in known)
        for slugs in (form.topics, form.exclude)
    )
    if not as_saved and not known.keys() >= {*form.all_topics}:
        return Audience(everyone=True, all_topics=form.all_topics)  # nobody
    everyone = form.audience == "everyone" or not form.topics
    story, days = form.story_slug, form.new_within_days
    alerts = (
        tuple(int(id) for id in ids if re.fullmatch("[0-9]{1,15}", id))
        for ids in (form.not_reached_by, form.clicked)
    )
    not_reached_by, clicked = alerts
    return Audience(
        everyone=everyone,
        topics=() if everyone else topics,
        exclude=exclude,
        locales=form.languages,
        # A new story has no followers, and neither has an impossible name.
        story=story if story in stories else "",
        all_topics=form.all_topics,
        followers_of=form.followers_of,
        new_within_days=0 if form.days_are_wrong else int(days or 0),
        not_reached_by=not_reached_by,
        clicked=clicked,
    )
