"""What the API, and `--json` of the command line, show of an alert."""

from __future__ import annotations

import dataclasses

from service.api.alerts import repeats
from service.api.responses import (
    AudienceShown,
    HeldShown,
    LimitShown,
    NotificationList,
    NotificationShown,
    OnScreenShown,
    Outcomes,
    ProgressShown,
    Published,
    Receipts,
    SecondTextShown,
    Skipped,
    TextShown,
    TriedShown,
    WarningShown,
)
from service.domain.alerts import requests
from service.domain.sending.receipts import estimates
from service.model.notifications import SKIPPED, Notification, Outcome
from service.model.time import clock
from service.model.time.times import iso
from service.model.two_texts import TEXTS
from service.runtime import Runtime


def published(one: requests.Published) -> Published:
    """Show what a call that published an alert has done."""
    return Published(
        id=str(one.id),
        status=one.state.value,
        recipients=one.recipients,
        warnings=warnings(one.warnings),
    )


def warnings(given: tuple[tuple[str, str], ...]) -> list[WarningShown]:
    """Show field and sentence of each."""
    return [WarningShown(field=field, detail=detail) for field, detail in given]


def page(runtime: Runtime, limit: int, before: int | None = None) -> NotificationList:
    """Show up to `limit` alerts, the newest first, from the one before that id on."""
    found = runtime.publishing.latest(limit + 1, before)
    return NotificationList(
        notifications=[alert(one, runtime) for one in found[:limit]],
        next_cursor=str(found[limit - 1].id) if len(found) > limit else None,
    )


def alert(one: Notification, runtime: Runtime) -> NotificationShown:
    """Show an alert and how far it has come."""
    links = runtime.config.opened_links.or_own(one.link_parameters)
    first = one.corrects or one.id
    return NotificationShown(
        **one.content.as_json(),
        opens=links.added_to(one.content.url, first),
        id=str(one.id),
        status=one.state.value,
        audience=AudienceShown(**one.audience.as_json()),
        story=one.story or None,
        spread_minutes=one.spread_minutes or None,
        second_text=_second_text(one, runtime),
        repeat=repeats.shown(one.repeats),
        send_at=one.wall or (iso(one.send_at.at) if one.send_at else None),
        local_time=bool(one.wall),
        time_zone=(one.send_at and one.send_at.zone) or None,
        late="send" if one.send_at and one.send_at.however_late else "draft",
        missed=one.missed,
        waits_for_approval=one.waits_for_approval,
        corrects=str(one.corrects) if one.corrects else None,
        corrections=[str(id) for id in one.corrections],
        text_now=TextShown(
            title=one.text.title,
            body=one.text.body,
            url=one.text.url,
            opens=links.added_to(one.text.url, first),
        ),
        created_at=iso(one.created_at),
        created_by=one.created_by,
        progress=_progress(one, runtime),
    )


def _second_text(one: Notification, runtime: Runtime) -> SecondTextShown | None:
    if one.second_text is None:
        return None
    choice = runtime.text_choice
    tried = choice.tried(one)
    shown = [TriedShown.model_validate(found) for found in tried]
    return SecondTextShown(
        **dataclasses.asdict(one.second_text),
        chosen=one.decision.text if one.decision else None,
        chosen_at=iso(one.decision.at) if one.decision else None,
        chosen_by=one.decision.by or None if one.decision else None,
        tried=dict(zip(TEXTS, shown, strict=True)),
        chance=choice.chance(tried),
    )


def _progress(one: Notification, runtime: Runtime) -> ProgressShown:
    progress = runtime.publishing.progress(one.id)
    by_service: dict[str, dict[str, int]] = {}
    for (outcome, service), count in progress.outcomes.items():
        if service and outcome is not Outcome.SKIPPED:
            by_service.setdefault(service, {})[outcome.value] = count
    receipts = estimates(runtime.receipts.of(one.id), one.reporting)
    now = clock.time()
    seconds = (one.finished_at or now) - (one.started_at or now)
    return ProgressShown(
        recipients=progress.recipients,
        done=progress.done,
        outcomes=Outcomes(**{outcome.value: progress.of(outcome) for outcome in Outcome}),
        skipped=Skipped(**{why: progress.skipped(why) for why in SKIPPED}),
        held=HeldShown.model_validate(runtime.publishing.held(one)),
        by_service=by_service,
        receipts=Receipts(**{event: found.browsers for event, found in receipts.items()}),
        receipts_error=Receipts(**{event: round(found.error) for event, found in receipts.items()}),
        on_screen=_on_screen(one, runtime),
        conversions=runtime.receipts.conversions(one.id),
        limits=[LimitShown.model_validate(limit) for limit in runtime.push_services.slowing(one)],
        started_at=iso(one.started_at) if one.started_at else None,
        finished_at=iso(one.finished_at) if one.finished_at else None,
        # Within the first second, as if that were over.
        rate_per_second=round(progress.done / max(1.0, seconds), 1),
    )


def _on_screen(one: Notification, runtime: Runtime) -> OnScreenShown | None:
    found = runtime.screens.of(one)
    if found is None:
        return None
    return OnScreenShown(
        seconds=found.seconds,
        percent=found.percent,
        error=round(found.error, 1),
        browsers=found.browsers,
        patience=found.patience,
        later=found.later,
        up_to={f"{bound:g}": n for bound, n in found.up_to.items()},
    )
