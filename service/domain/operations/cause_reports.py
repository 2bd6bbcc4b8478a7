"""Reports by ALERT_WEBHOOK what is wrong: once when it begins, once when it is over.

What was reported is in the store, so that neither a restart nor a second clock repeats it. While
Redis is away the clock that led last remembers it alone. Unlike other webhooks this one is called
by the clock itself: the address is the operator's own, and a chat has to hear of a fetch process
that is missing (decision 122).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from redis import RedisError
from standardwebhooks import Webhook as Signer

from service.domain.newsroom.webhooks import result_words
from service.domain.store_errors import why_unreachable
from service.model.newsroom.webhooks import CALL_SECONDS, Answer, Health, Waiting
from service.model.operations.causes import URGENT, Cause, Post, Reported
from service.model.operations.process_log import say
from service.model.time.spans import span
from service.model.time.times import iso
from service.store.operations.causes import CauseRows

_REDIS_AWAY = "redis-away"
_CALLING = CALL_SECONDS + 20.0  # seconds after which a call without a result is lost

Send = Callable[[dict[str, str], bytes], Answer]  # headers and body


class CauseReporter:
    """Tells what is wrong with one installation."""

    def __init__(
        self,
        rows: CauseRows,
        causes: Callable[[], list[Cause]],
        send: Send,
        installation: str,
        secret: str,
    ) -> None:
        """`installation` is its address; with a `secret` calls are signed."""
        self._rows = rows
        self._causes = causes
        self._send = send
        self._installation = installation
        self._secret = secret
        self._alone: Reported | None = None  # while Redis is away
        self._health = Health()  # as it was last

    def look(self, now: float) -> None:
        """Look what is wrong and report it: what the clock that leads does every few seconds."""
        try:
            causes = self._causes()
            stored = self._rows.read()
            reported = Reported.from_json(stored)
            self._health = reported.health
            if self._alone is not None:
                known = {**reported.known, **self._alone.known}
                reported, self._alone = replace(self._alone, known=known), None
            self._report(reported.after(causes, now), now, _Kept(self._rows, stored).put)
        except RedisError as error:
            before = self._alone or Reported(health=self._health)
            self._report(before.after([_away(error)], now), now, self._put_alone)

    def _put_alone(self, reported: Reported) -> bool:
        self._alone = reported
        return True

    def _report(self, reported: Reported, now: float, put: Callable[[Reported], bool]) -> None:
        """Store what was seen, and report what is due; another clock may have done so meanwhile."""
        if not put(reported) or now < max(reported.health.rests_until, reported.calling_until):
            return
        for post in reported.posts(now):
            if not put(replace(reported, calling_until=now + _CALLING)):
                return
            headers, body = self._call(post, now)
            answer = self._send(headers, body)
            event = Waiting(headers["webhook-id"], post.cause.name, "")
            health, _ = reported.health.after(event, answer, now)
            _log(reported.health, health)
            reported = replace(reported, health=health)
            if answer.is_success:
                reported = reported.reported(post, now)
            if not put(reported) or not answer.is_success:
                return

    def _call(self, post: Post, now: float) -> tuple[dict[str, str], bytes]:
        """Return headers and body; the same `webhook-id` however often it is tried."""
        body = json.dumps(_body(post, self._installation), ensure_ascii=False)
        key = f"{self._installation} {post.cause.name} {post.since} {bool(post.over_at)}"
        headers = {
            "content-type": "application/json",
            "webhook-id": f"msg_{hashlib.sha256(key.encode()).hexdigest()[:24]}",
            "webhook-timestamp": str(int(now)),
        }
        if self._secret:
            at = datetime.fromtimestamp(int(now), timezone.utc)
            headers["webhook-signature"] = Signer(self._secret).sign(
                headers["webhook-id"], at, body
            )
        return headers, body.encode()


class _Kept:
    """The stored reports. A write succeeds only if nobody else has written since the last look."""

    def __init__(self, rows: CauseRows, stored: bytes | None) -> None:
        self._rows = rows
        self._stored = stored

    def put(self, reported: Reported) -> bool:
        """Store it; False if it was changed by another clock meanwhile."""
        text = reported.as_json()
        nothing = self._stored is None and reported == Reported()
        if nothing or text.encode() == self._stored:
            return True
        done = self._rows.change(self._stored, text)
        self._stored = text.encode()
        return done


def _away(error: RedisError) -> Cause:
    return Cause(
        _REDIS_AWAY,
        URGENT,
        f"Redis {why_unreachable(error)}. No alert is sent, and nobody can subscribe.",
        "Start Redis, or mend what its log says; all processes then go on by themselves.",
    )


def _log(before: Health, after: Health) -> None:
    """Log once that the address does not take calls, and once that it does again."""
    if after.failing_since and not before.failing_since:
        say("clock", f"ALERT_WEBHOOK fails: {failure_words(after)}. It is tried again.")
    elif before.failing_since and not after.failing_since:
        say("clock", "ALERT_WEBHOOK takes calls again.")


def failure_words(health: Health) -> str:
    """Say what came of the last call to an address that fails."""
    return result_words(replace(health.results[0], again_at=health.rests_until))


def _body(post: Post, installation: str) -> dict[str, Any]:
    """Return what is sent: `text` for chats, and the same in fields.

    A chat may know fields of its own, such as `type` and `channel`; so ours are all in one.
    """
    cause, over = post.cause, bool(post.over_at)
    if over:
        text = f"Over after {span(post.over_at - post.since)}: {cause.says} ({installation})"
    else:
        urgent = "Urgent: " if cause.is_urgent else ""
        text = f"{urgent}{cause.says} {cause.do} ({installation})"
    return {
        "text": text,
        "stop_press": {
            "state": "over" if over else "began",
            "cause": cause.name,
            "severity": cause.severity,
            "says": cause.says,
            "do": cause.do,
            "since": iso(post.since),
            "over_at": iso(post.over_at) if over else None,
            "installation": installation,
        },
    }
