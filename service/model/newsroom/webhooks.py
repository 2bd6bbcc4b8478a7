"""Webhooks: a newsroom's own programs hear what happens; what they hear, and when it is repeated.

The format of each call is that of Standard Webhooks (decision 107).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

from service.model.retention import DAY
from service.model.stored import Stored, known_fields

ALERT_EVENTS = ("alert.sent", "alert.finished", "alert.corrected", "alert.cancelled")
READER_EVENTS = ("readers.joined", "readers.left")
EVENTS = (*ALERT_EVENTS, *READER_EVENTS)
TEST = "test"  # the type of an event that an editor asks for; it is sent once
# Seconds from each attempt that failed until the next one; after the last one the event is dropped.
SCHEDULE = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
# While a target fails, it is called no more often than this, however many events wait.
_RESTS = (5, 300)
_LONGEST_RETRY_AFTER = 3600.0  # seconds that a target may ask us to wait
ENDED_AFTER = 5 * DAY  # seconds of nothing but failures
OLD_SECRET_COUNTS = DAY  # seconds for which calls are signed with the secret before it, too
CALL_SECONDS = 10.0  # that one call may take
_GONE = 410
GONE, FAILING, NO_SECRET = "gone", "failing", "no secret"  # why a webhook is ended
_MOST_RESULTS = 10


@dataclass(frozen=True, slots=True)
class Webhook(Stored):
    """A webhook as an editor or a tool has set it."""

    id: str
    address: str
    events: tuple[str, ...]  # some of `EVENTS`
    secret: str  # sealed, as the one before it
    secret_before: str = ""
    rotated_at: float = 0.0  # seconds since 1970
    paused: bool = False
    created_at: float = 0.0
    created_by: str = ""  # an editor's address or a token's name
    since: str = ""  # the last entry of the log before the webhook was added

    def secrets(self, now: float) -> tuple[str, ...]:
        """Return the secrets that count, sealed, the newest first."""
        both = self.secret_before and now < self.rotated_at + OLD_SECRET_COUNTS
        return (self.secret, self.secret_before) if both else (self.secret,)

    @classmethod
    def from_json(cls, text: bytes) -> Webhook:
        """Read what is stored."""
        given = known_fields(cls, json.loads(text))
        return cls(**given | {"events": tuple(given["events"])})


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that a webhook is to hear."""

    id: str  # the `webhook-id`, the same in each attempt
    type: str
    body: str
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call, as the fetch process stores it."""

    status: int = 0  # of the response; 0: none came
    fault: str = ""  # one of `service.model.newsroom.articles.Fault`
    retry_after: str = ""  # the header

    @property
    def is_success(self) -> bool:
        """Whether the target has taken the event."""
        return 200 <= self.status < 300

    def as_json(self) -> str:
        """Return it as it is stored."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> Answer:
        """Read what is stored; what is not like it counts as no response."""
        try:
            given = json.loads(text)
            status, fault, after = (given[name] for name in ("status", "fault", "retry_after"))
        except (ValueError, KeyError, TypeError, RecursionError):
            return cls()
        if (type(status), type(fault), type(after)) != (int, str, str):
            return cls()
        return cls(status, fault[:40], after[:100])

    def asks_to_wait(self, now: float) -> float:
        """Return for how many seconds the target asks us to wait, an hour at most."""
        text = self.retry_after.strip()
        try:
            is_number = text.isascii() and text.isdigit()
            wait = float(text) if is_number else parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return 0.0
        return min(max(0.0, wait), _LONGEST_RETRY_AFTER)


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is under way."""

    id: str  # under which the fetch process finds it
    event: str  # the `webhook-id`
    at: float


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one attempt."""

    at: float
    type: str  # of the event
    status: int
    fault: str
    attempt: int
    again_at: float = 0.0  # 0: there is no further attempt

    @property
    def is_success(self) -> bool:
        """Whether the target has taken the event."""
        return Answer(self.status).is_success


@dataclass(frozen=True, slots=True)
class Health(Stored):
    """How a webhook does; only the clock writes it, unless an editor lets it go on."""

    call: Call | None = None
    failing_since: float = 0.0  # 0: the last attempt succeeded
    failures: int = 0  # in a row
    rests_until: float = 0.0
    ended_at: float = 0.0  # nothing is sent any more, until an editor lets it go on
    ended_why: str = ""  # one of the following
    results: tuple[Result, ...] = ()  # the latest first

    @classmethod
    def from_json(cls, text: bytes) -> Health:
        """Read what is stored."""
        given: dict[str, Any] = known_fields(cls, json.loads(text))
        call = given.get("call")
        results = tuple(Result(**known_fields(Result, one)) for one in given["results"])
        return cls(
            **given
            | {"call": Call(**known_fields(Call, call)) if call else None, "results": results}
        )

    def after(self, event: Waiting, answer: Answer, now: float) -> tuple[Health, float | None]:
        """Return how it does after an attempt, and when the event is due again; None: never."""
        if answer.is_success:
            result = Result(now, event.type, answer.status, "", event.attempts + 1)
            return Health(results=self._with(result)), None
        again = self._again(event, answer, now)
        since, failures = self.failing_since or now, self.failures + 1
        rest = max(_RESTS[min(failures, len(_RESTS)) - 1], answer.asks_to_wait(now))
        gone = answer.status == _GONE
        ended = gone or now - since >= ENDED_AFTER
        result = Result(
            *(now, event.type, answer.status, answer.fault, event.attempts + 1),
            again_at=0.0 if ended else again or 0.0,
        )
        health = Health(
            failing_since=since,
            failures=failures,
            rests_until=now + rest,
            ended_at=now if ended else 0.0,
            ended_why=(GONE if gone else FAILING) if ended else "",
            results=self._with(result),
        )
        return health, again

    def _again(self, event: Waiting, answer: Answer, now: float) -> float | None:
        if event.type == TEST or event.attempts >= len(SCHEDULE):
            return None
        return now + max(SCHEDULE[event.attempts], answer.asks_to_wait(now))

    def _with(self, result: Result) -> tuple[Result, ...]:
        return (result, *self.results)[:_MOST_RESULTS]

    def without_secret(self, now: float) -> Health:
        """Return it as ended, because its secret was sealed under a SECRET_KEY that is gone."""
        return replace(self, failing_since=now, ended_at=now, ended_why=NO_SECRET)

    def going_on(self) -> Health:
        """Return it as an editor lets it go on: without what has failed."""
        return replace(Health(), call=self.call, results=self.results)
