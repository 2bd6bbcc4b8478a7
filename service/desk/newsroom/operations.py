"""The operations page: what is wrong, what runs, what is slow and why, and jobs that failed."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.alerts.watching import promise_words, retried_words
from service.desk.blueprint import bp
from service.desk.people.editors import note
from service.desk.permissions import allowed
from service.desk.words import number, plural
from service.domain.operations.operations import Overview, Send, Service
from service.domain.sending.job_queue import (
    CALL,
    JOB,
    READ_ARTICLE,
    READ_FEED,
    ForeignJob,
    UnknownJob,
)
from service.model.operations.sizes import size
from service.model.roles import Role
from service.model.time.spans import span

_EVERY = 5  # seconds between two refreshes
_LATE = 1.0  # seconds: a push service that takes longer is slow
_JOBS = {
    JOB: "send what is due",
    READ_ARTICLE: "read an article",
    READ_FEED: "read a feed",
    CALL: "call a webhook",
}
_FOREIGN = "This job is not ours, so it is not run again. You can throw it away."


@bp.get("/operations")
@allowed(Role.MANAGES)
def operations() -> ResponseReturnValue:
    """Show how the installation works now."""
    return _page()


@bp.get("/operations/live")
@allowed(Role.MANAGES)
def live_operations() -> ResponseReturnValue:
    """Return the part of the page that refreshes itself; nothing if the page has just this."""
    live = _live()
    if request.args.get("seen") == live.seen:
        return "", 204
    return render_template("desk/operations_live.html", live=live)


@bp.post("/operations/jobs/<job>/retry")
@allowed(Role.MANAGES)
def retry_job(job: str) -> ResponseReturnValue:
    """Have a failed job done again."""
    try:
        runtime().operations.retry(job)
        note("had a failed job done again")
    except ForeignJob:
        return _page(_FOREIGN), 409
    except UnknownJob:  # the second of two clicks
        pass
    return redirect(url_for("desk.operations", _anchor="failed"), 303)


@bp.post("/operations/jobs/<job>/throw-away")
@allowed(Role.MANAGES)
def throw_away_job(job: str) -> ResponseReturnValue:
    """Forget a failed job."""
    with suppress(UnknownJob):
        runtime().operations.throw_away(job)
        note("threw away a failed job")
    return redirect(url_for("desk.operations", _anchor="failed"), 303)


@dataclass(frozen=True, slots=True)
class _Live:
    """The part of the page that refreshes itself."""

    html: str
    every: int = _EVERY  # seconds until it is refreshed

    @property
    def seen(self) -> str:
        """A text that is another one when the page is."""
        return hashlib.sha256(self.html.encode()).hexdigest()[:16]


def _page(notice: str = "") -> str:
    return render_template("desk/operations.html", live=_live(), notice=notice)


def _live() -> _Live:
    shown = runtime().operations.overview()
    return _Live(
        render_template(
            "desk/operations_parts.html",
            shown=shown,
            sends=[(send, _send_words(send, shown.at)) for send in shown.sends],
            services=[(one, _service_words(one)) for one in shown.services],
            jobs=_JOBS,
            queue=_queue_words(shown),
            need=_need_words(shown),
            redis=_redis_words(shown),
        )
    )


def _send_words(send: Send, now: float) -> list[str]:
    """Say what keeps an alert, beside push services that keep readers waiting."""
    found = [promise_words(send.promise)] if send.promise else []
    if send.due:
        batches = plural(send.due, "batch waits", "batches wait")
        found.append(f"{number(send.due)} {batches} for a worker.")
    found += [retried_words(some, now) for some in send.retried]
    if held := send.row.held.waiting:
        found.append(f"{number(held)} {plural(held, 'browser is', 'browsers are')} in quiet hours.")
    return found


def _service_words(one: Service) -> list[str]:
    """Say what a push service does now."""
    found = []
    for why, n in sorted(one.resting.items()):
        where = f" at {n} of its hosts" if n > 1 else ""
        if why == "credentials":
            found.append(f"rejects our signature{where}")
        elif why == "no answer":
            found.append(f"does not answer{where}, is tried again")
        else:
            found.append(f"answers {why}{where}, is tried again")
    if one.paces:
        found.append(f"takes only {number(sum(one.paces))} messages a minute")
    if one.doubted:
        found.append("called so many readers gone that an editor has to decide")
    if one.answers and one.mean >= _LATE:
        found.append(f"answers after {span(one.mean)}, so more workers help")
    return found or ["takes what we send"]


def _queue_words(shown: Overview) -> list[str]:
    found = []
    for waits, who in ((shown.jobs, "a worker"), (shown.fetch_jobs, "a fetch process")):
        if not waits.jobs:
            found.append(f"No job waits for {who}.")
            continue
        jobs = plural(waits.jobs, "job waits", "jobs wait")
        oldest = f", the oldest for {span(waits.oldest)}" if waits.oldest is not None else ""
        found.append(f"{number(waits.jobs)} {jobs} for {who}{oldest}.")
    return found


def _need_words(shown: Overview) -> list[str]:
    """Say how many workers are needed, as the doctor does."""
    need = shown.need
    if need is None:
        return ["Once PROMISE is set, this page says how many workers you need."]
    how = "measured" if need.speed.is_known else "assumed, since little was sent lately"
    workers = plural(need.needed, "worker", "workers")
    found = [
        f"An alert to all {number(need.readers)} {plural(need.readers, 'reader', 'readers')} needs"
        f" {number(need.needed)} {workers} to keep the promise ({need.promise});"
        f" {number(need.running)} {plural(need.running, 'runs', 'run')}.",
        f"Each sends about {number(int(need.rate))} messages a second, with answers of push"
        f" services after {span(need.speed.delay)} ({how}) and at most {number(shown.window)}"
        " messages under way.",
    ]
    if need.missing:
        found.append(
            f"{number(need.missing)} {plural(need.missing, 'is', 'are')} missing: start stoppress"
            " worker."
        )
    return found


def _redis_words(shown: Overview) -> dict[str, str]:
    hidden = "Redis does not tell"
    memory, kept, following = shown.memory, shown.is_kept_on_disk, shown.following
    of = f" of {size(memory.most)}" if memory and memory.most else ", without a limit of its own"
    lag = f", the slowest {span(following.lag)} behind" if following and following.replicas else ""
    return {
        "Memory": f"{size(memory.used)}{of}" if memory else hidden,
        "File": {
            True: "each write is appended to a file",
            False: "no write is appended to a file: a crash loses readers",
            None: hidden,
        }[kept],
        "Replicas": f"{number(following.replicas)}{lag}" if following else hidden,
    }
