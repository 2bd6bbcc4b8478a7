"""The API's calls for operators: what is wrong, how the installation works, jobs that failed."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Blueprint
from pydantic import Field

from service.api import paging
from service.api.auth import tools
from service.api.calls import call
from service.api.fields import ResponseModel
from service.api.responses import Id, OrNull, Time
from service.current import runtime
from service.domain.operations.capacity import Need
from service.domain.operations.operations import Overview, Send, Service, Waits
from service.model.operations.causes import Cause
from service.model.time.times import iso

bp = Blueprint("operations", __name__, url_prefix="/operations")
JOB_ID = "^[A-Za-z0-9_-]{1,64}$"
_BY = tools("read")


class CauseShown(ResponseModel):
    """Something that is wrong: `page` is worth waking a person for, `warning` is for the morning.

    `name` stays the same as long as it lasts.
    """

    name: str
    severity: Literal["page", "warning"]
    says: str
    do: str


class HealthShown(ResponseModel):
    """Whether something is wrong: `ok`, or the worst severity of the causes."""

    status: Literal["ok", "warning", "page"]
    causes: list[CauseShown]


class ProcessShown(ResponseModel):
    """A process that gave a sign of life lately.

    `job_since` is when it took the job that it works on; `alerts` are those of which a worker has
    batches; of several clocks one `leads`.
    """

    kind: str
    host: str
    pid: int
    version: Annotated[str | None, OrNull]
    began_at: Annotated[Time | None, OrNull]
    leads: bool
    job_since: Annotated[Time | None, OrNull]
    alerts: list[Id]


class WaitsShown(ResponseModel):
    """Jobs that wait, and for how many seconds the oldest has."""

    jobs: int
    oldest_seconds: float | None


class NeedShown(ResponseModel):
    """Workers that an alert to everyone needs to keep the promise, and how many are missing."""

    promise: str
    readers: int
    needed: int
    running: int
    missing: int
    rate_per_worker: float
    answer_seconds: float
    measured: bool


class SlowShown(ResponseModel):
    """A push service that keeps browsers of an alert waiting, and why."""

    service: str
    why: str
    browsers: int
    resting_until: str | None
    messages_a_minute: int | None


class RetriedShown(ResponseModel):
    """Browsers of a push service for which an alert is tried again."""

    service: str
    browsers: int
    next_at: str


class SendShown(ResponseModel):
    """An alert under way; `due` are batches that could be sent and that no worker has.

    `promise_kept` is null while that is open, or if nothing is measured.
    """

    id: str
    status: str
    title: str
    recipients: int
    done: int
    due: int
    held: int
    promise_kept: bool | None
    slowing: list[SlowShown]
    retried: list[RetriedShown]


class ServiceShown(ResponseModel):
    """A push service, as workers have met it since Redis was started.

    `most_within_seconds` is the time in which nine of ten answers came, null if it is above ten
    seconds. `resting` are its origins that rest now, `paced` those that limit us, and `doubted`
    those whose "gone" waits for an editor.
    """

    service: str
    answers: int
    mean_seconds: float
    most_within_seconds: float | None
    retries: dict[str, int]
    resting: dict[str, int]
    paced: int
    doubted: int


class RedisShown(ResponseModel):
    """The store's Redis; null is what it does not tell, and `memory_max` 0 means no limit."""

    memory_used: int | None
    memory_max: int | None
    persistent: bool | None
    replicas: int | None
    replica_lag_seconds: int | None


class CanaryShown(ResponseModel):
    """The canary: when the latest arrived, and how long it took."""

    every_seconds: float
    arrived_at: str | None
    seconds: float | None


class OperationsShown(ResponseModel):
    """How the installation works now."""

    at: str
    causes: list[CauseShown]
    processes: list[ProcessShown]
    jobs: WaitsShown
    fetch_jobs: WaitsShown
    jobs_failed: int
    workers: NeedShown | None
    push_window: int
    sends: list[SendShown]
    push_services: list[ServiceShown]
    redis: RedisShown
    clock_age_seconds: float | None
    canary: CanaryShown
    promises: dict[str, int]


class FailedJob(ResponseModel):
    """A job that failed; `job` is null if it is not ours, and then it cannot be retried."""

    id: str
    job: Annotated[str | None, OrNull]
    failed_at: Time
    error: Annotated[str | None, OrNull]


class FailedJobList(ResponseModel):
    """The jobs that failed within a day, the latest first; `next_cursor` leads to further ones."""

    jobs: list[FailedJob]
    next_cursor: str | None = Field(default=None)


@bp.get("")
@call(by=_BY, gives={200: OperationsShown})
def operations() -> OperationsShown:
    """Show how the installation works now: processes, queue, sends, push services, Redis."""
    return _shown(runtime().operations.overview())


@bp.get("/jobs")
@call(
    by=_BY,
    gives={200: FailedJobList},
    parameters=paging.parameters(pattern=JOB_ID),
)
def failed_jobs() -> FailedJobList:
    """List the jobs that failed within a day."""
    found = [FailedJob.model_validate(one) for one in runtime().operations.failures()]
    page, next_cursor = paging.named(found, lambda one: one.id, JOB_ID)
    return FailedJobList(jobs=[*page], next_cursor=next_cursor)


@bp.post("/jobs/<job>/retry")
@call(by=tools("send"), gives={202: None}, problems=(404, 409))
def retry_job(job: str) -> None:
    """Have a failed job done again; only one of ours can be."""
    runtime().operations.retry(job)


@bp.delete("/jobs/<job>")
@call(by=tools("send"), gives={204: None}, problems=(404,))
def throw_away_job(job: str) -> None:
    """Forget a failed job; its work was taken over by others long ago."""
    runtime().operations.throw_away(job)


def health_shown(causes: list[Cause]) -> HealthShown:
    """Show what is wrong."""
    shown = [cause_shown(one) for one in causes]
    worst = {one.severity for one in shown}
    return HealthShown(
        status="page" if "page" in worst else "warning" if worst else "ok", causes=shown
    )


def cause_shown(one: Cause) -> CauseShown:
    """Show a cause."""
    severity: Literal["page", "warning"] = "page" if one.is_urgent else "warning"
    return CauseShown(name=one.name, severity=severity, says=one.says, do=one.do)


def _time(at: float) -> str | None:
    return iso(at) if at else None


def _shown(one: Overview) -> OperationsShown:
    memory, following, latest = one.memory, one.following, one.canary.latest
    return OperationsShown(
        at=iso(one.at),
        causes=[cause_shown(cause) for cause in one.causes],
        processes=[ProcessShown.model_validate(seen) for seen in one.processes],
        jobs=_waits(one.jobs),
        fetch_jobs=_waits(one.fetch_jobs),
        jobs_failed=len(one.failures),
        workers=_need(one.need) if one.need else None,
        push_window=one.window,
        sends=[_send(send) for send in one.sends],
        push_services=[_service(service) for service in one.services],
        redis=RedisShown(
            memory_used=memory.used if memory else None,
            memory_max=memory.most if memory else None,
            persistent=one.is_kept_on_disk,
            replicas=following.replicas if following else None,
            replica_lag_seconds=following.lag if following and following.replicas else None,
        ),
        clock_age_seconds=None if one.clock_age == float("inf") else one.clock_age,
        canary=CanaryShown(
            every_seconds=one.canary.every,
            arrived_at=_time(latest.arrived) if latest else None,
            seconds=latest.seconds if latest else None,
        ),
        promises={"kept": one.kept["yes"], "missed": one.kept["no"]},
    )


def _waits(one: Waits) -> WaitsShown:
    return WaitsShown(jobs=one.jobs, oldest_seconds=one.oldest)


def _need(one: Need) -> NeedShown:
    return NeedShown(
        promise=str(one.promise),
        readers=one.readers,
        needed=one.needed,
        running=one.running,
        missing=one.missing,
        rate_per_worker=one.rate,
        answer_seconds=one.speed.delay,
        measured=one.speed.is_known,
    )


def _send(one: Send) -> SendShown:
    alert, progress = one.row.notification, one.row.progress
    return SendShown(
        id=str(alert.id),
        status=alert.state.value,
        title=alert.text.title,
        recipients=progress.recipients,
        done=progress.done,
        due=one.due,
        held=one.row.held.waiting,
        promise_kept=one.promise.is_kept if one.promise else None,
        slowing=[
            SlowShown(
                service=slow.service,
                why=slow.why,
                browsers=slow.waiting,
                resting_until=_time(slow.resting_until or 0.0),
                messages_a_minute=slow.per_minute,
            )
            for slow in one.slowing
        ],
        retried=[
            RetriedShown(service=some.service, browsers=some.waiting, next_at=iso(some.next_at))
            for some in one.retried
        ],
    )


def _service(one: Service) -> ServiceShown:
    return ServiceShown(
        service=one.name,
        answers=one.answers,
        mean_seconds=one.mean,
        most_within_seconds=None if one.most_within == float("inf") else one.most_within,
        retries=one.retries,
        resting=one.resting,
        paced=len(one.paces),
        doubted=one.doubted,
    )
