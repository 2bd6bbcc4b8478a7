"""What an alert's page says beside its numbers: its pace, the promise, who is tried again."""

from __future__ import annotations

import math
from dataclasses import dataclass

from service.current import runtime
from service.desk.alerts.pace import Pace
from service.desk.alerts.report import Report
from service.desk.words import number, plural, service_name
from service.domain.operations.promises import PromiseReport
from service.domain.sending.push_services import Retried
from service.model.operations.screen import OnScreen
from service.model.time.spans import span

_SOON = 1.0  # seconds that are not worth a word
_SURE = 0.5  # percent of error that are not either


@dataclass(frozen=True, slots=True)
class Watched:
    """The sentences; empty where there is nothing to say."""

    pace: str  # of the last seconds, and when the last browser gets it at that pace
    seen: str  # what the page hands back to learn the pace
    promise: str
    is_broken: bool  # the promise
    on_screen: str
    retried: list[str]


def watched(report: Report, seen: str = "") -> Watched:
    """Return what the page of an alert that is, or was, sent says beside its numbers.

    `seen` is what the page hands back of what it was told before.
    """
    one = report.notification
    pace = _pace(report, seen)
    promise = runtime().promises.of(one, report.progress)
    screen = runtime().screens.of(one)
    return Watched(
        pace=_pace_words(report, pace.per_second),
        seen=pace.text,
        promise=promise_words(promise, _waited(report)) if promise else "",
        is_broken=promise is not None and promise.is_kept is False,
        on_screen=screen_words(screen) if screen else "",
        retried=[retried_words(some, report.now) for some in runtime().push_services.retried(one)],
    )


def _waited(report: Report) -> float:
    """Return for how long the alert could be taken back before it began, in seconds."""
    one = report.notification
    pressed = one.send_at.sent_at if one.send_at else None
    return report.began - pressed if pressed is not None else 0.0


def _pace(report: Report, seen: str) -> Pace:
    """Return the pace of an alert that is being sent; nothing of it counts while it waits."""
    one = report.notification
    waits = report.paused or report.waits or one.sampling or one.wall
    if not report.live or waits:
        return Pace()
    return Pace.of(seen, report.now, report.progress.done)


def _pace_words(report: Report, per_second: int) -> str:
    """Say the pace, and when the last browser gets it unless that depends on more."""
    if not per_second:
        return ""
    words = f"{number(per_second)} per second"
    left = report.progress.recipients - report.progress.done
    if not left or report.stopping or report.slowing or report.notification.spread_minutes:
        return words
    return f"{words}, the last browser in about {span(max(1.0, round(left / per_second)))}"


def promise_words(one: PromiseReport, waited: float = 0.0) -> str:
    """Say how an alert does by the promise; `waited` are the seconds before it began."""
    promised = f"{one.share} % within {span(one.seconds)}"
    if one.is_interrupted:
        return f"{promised}: not measured, because the alert was paused, stopped or cancelled."
    then = f"{one.then} % by then" if one.then is not None else ""
    if one.after is not None:
        reached = f"{one.share} % after {span(one.after)}"
        if one.is_kept:
            words = f"{promised}: kept. {reached}"
        else:
            words = f"{promised}: missed. {then + ', ' if then else ''}{reached}"
        if waited > _SOON:
            words += f", which is {span(one.after + waited)} after it was sent at the desk"
        return f"{words}."
    if one.is_kept is None:
        return f"{promised}: {one.now} % after {span(one.passed)}."
    so_far = f"{one.now} % {'in the end' if one.is_over else f'after {span(one.passed)}'}"
    return f"{promised}: missed. {then + ', ' if then else ''}{so_far}."


def screen_words(one: OnScreen) -> str:
    """Say how soon an alert was on screens, by how many browsers, and how sure that is."""
    within, rest = span(one.seconds), ""
    if one.later:
        shown = f"{_browsers(one.later)} showed it after more than {span(one.patience)}"
        rest = f" {shown}: asleep, closed, or in quiet hours until then."
    if one.percent is None:
        return f"none within {span(one.patience)}.{rest}"
    sure = f" (± {math.ceil(one.error)} %)" if one.error >= _SURE else ""
    words = f"{one.percent} %{sure} within {within}, of {_browsers(one.browsers)} that report it"
    if one.is_kept is False and one.promise:
        words += f"; the promise is {one.promise.share} %"
    return f"{words}.{rest}"


def _browsers(n: int) -> str:
    return f"{number(n)} {plural(n, 'browser', 'browsers')}"


def retried_words(one: Retried, now: float) -> str:
    """Say for whom an alert is tried again, and when."""
    n = one.waiting
    ahead = one.next_at - now
    again = f"in {span(round(ahead))}" if ahead > _SOON else "now"
    name = service_name(one.service)
    return (
        f"{name[:1].upper()}{name[1:]} has not taken the alert for"
        f" {'at least ' if one.or_more else ''}{number(n)} {plural(n, 'browser', 'browsers')} yet:"
        " it did not respond, had an error of its own or asked us to wait."
        f" We try {plural(n, 'it', 'them')} again {again}."
    )
