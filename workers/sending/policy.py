"""The answer policy: what each answer of a push service means, and how long to wait then.

|Answer|Verdict|
|---|---|
|2xx|accepted|
|2xx that Microsoft calls dropped|refused|
|2xx that Microsoft calls throttled, 406, 429|try this recipient again; or a limit for us|
|404, 410|gone, for a new endpoint the seventh time; refused if our domain is blocked|
|401, 403, 400 for the VAPID key|try this recipient again, refused the third time; or our fault|
|408, 421, 425|as 5xx|
|5xx, no answer|try this recipient again; all wait after eight in a row or if a time is named|
|413|send a smaller message at once, refused the second time|
|certainly not processed|try again at once|
|3xx, other 4xx|refused: our message is at fault, or the answer redirects us|

A recipient waits as long as its own answer asks. A push service rests, for all recipients, if it
fails as a whole or limits us. Google limits the sender, so three limited recipients are enough;
the others limit each subscription, and it takes eight without a good answer between them. One is
enough at a push service that has limited us before and has a pace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from service.model.notifications import Outcome

if TYPE_CHECKING:
    from workers.http.transport import Answer

_LIMITS_SENDER: Final = ("google",)
_HAS_NO_READERS: Final = ("canary",)  # who could be gone
# What Apple and Google say in a 400 for a subscription made with another VAPID key.
_WRONG_KEY: Final = ("vapidpkhashmismatch", "do not correspond", "unauthorizedregistration")

# Request Timeout, Misdirected Request, Too Early: the connection is at fault and not the message
# (RFC 9110 sections 15.5.9 and 15.5.20, RFC 8470 section 5.2).
_TRY_AGAIN: Final = (408, 421, 425)

# One failure is an accident. After this many without a good answer between them, the push service
# rests for a while.
FAILURES_IN_A_ROW: Final = 8
# Rejected signatures are our fault, not that of a few subscriptions that a stranger made with
# another site's key, from this many on: among the last answers, of different recipients, of which
# one got an alert accepted recently.
REJECTED: Final = 50
LAST_ANSWERS: Final = 100

# A limit is for us, not for a few recipients, from this many on: of different recipients, among the
# last answers; or of different recipients without a good answer between them, at a push service
# that limits the sender, and at others.
LIMITED: Final = 50
LIMITED_SENDER: Final = 3
LIMITED_TOGETHER: Final = 8
# A limit is the pace that a known push service allows after this many rests for it within at least
# that time. If it is over in a few seconds, a burst was too large.
LIMITED_IN_A_ROW: Final = 3
LIMITED_FOR: Final = 60.0  # seconds
# Messages a minute that Chrome leaves to sites with much push and little engagement
# (developer.chrome.com/blog/web-push-rate-limits).
LEAST_PACE: Final = 1000
# A pace that proves too fast is divided by this; from the third time on by its square.
TOO_FAST: Final = 2

# A host that a stranger may have made up is dead after this many attempts in a row without an
# answer, which take 20 s or more, if it never answered before and other push services do.
DEAD_AFTER: Final = 6

# A push service that calls an endpoint of the last minutes gone is believed after so many attempts,
# which take half a minute or more. Not later: until then a welcome has one of few places.
GONE_AFTER: Final = 6

_MAX_PAUSE: Final = 300.0  # seconds
_MAX_RETRY_AFTER: Final = 3600.0  # seconds; a longer wait makes no sense


class Verdict(NamedTuple):
    """What an answer means."""

    outcome: Outcome | None  # None: try the recipient again
    service_failed: bool = False  # it speaks for the push service as a whole
    rejected: bool = False  # our signature was not accepted
    at_once: bool = False  # the message was not processed; try again without a pause
    retry_after: float | None = None  # seconds
    limited: bool = False  # we send too much, to this recipient or to all
    too_large: bool = False  # a smaller message may be accepted


_ACCEPTED = Verdict(Outcome.ACCEPTED)


def judge(answer: Answer[Any], service: str, attempts: int, small: bool = False) -> Verdict:
    """Judge an answer of `service`, named as by `EndpointPolicy`, after `attempts` failures.

    `small`: the message was the smaller one. Pure, and the only place that knows what a status
    means.
    """
    status = answer.status
    if 200 <= status < 300:
        if answer.wns_status:
            return _microsofts(answer)
        return _ACCEPTED
    reason = answer.reason.lower()
    if status in (404, 410):
        refused = "domain blocked" in reason or service in _HAS_NO_READERS
        return Verdict(Outcome.REFUSED if refused else Outcome.GONE)
    if status in (401, 403) or (status == 400 and any(words in reason for words in _WRONG_KEY)):
        outcome = Outcome.REFUSED if attempts >= 2 else None
        return Verdict(outcome, rejected=True, retry_after=answer.retry_after)
    if status in (406, 429):
        whole = service in _LIMITS_SENDER
        return Verdict(None, whole, retry_after=answer.retry_after, limited=True)
    if status == 413 and not small:
        return Verdict(None, too_large=True)
    if status == 0 and answer.untouched and reason.startswith("refused"):
        return Verdict(None, at_once=True)
    if status in (0, *_TRY_AGAIN) or status >= 500:
        return Verdict(None, service_failed=True, retry_after=answer.retry_after)
    return Verdict(Outcome.REFUSED)


def _microsofts(answer: Answer[Any]) -> Verdict:
    """Judge a 2xx of Microsoft's, which says in a header whether it took the message."""
    says = answer.wns_status.strip().lower()
    if says == "channelthrottled":
        return Verdict(None, retry_after=answer.retry_after, limited=True)
    return Verdict(Outcome.REFUSED) if says == "dropped" else _ACCEPTED


def sensible(retry_after: float | None) -> float | None:
    """Return the seconds for which a push service may be asked to rest; None for all others.

    One recipient's answer must not keep all recipients waiting for longer than an hour.
    """
    return None if retry_after is None or retry_after > _MAX_RETRY_AFTER else retry_after


def pause(attempts: int, retry_after: float | None, random: Callable[[], float]) -> float:
    """Return the seconds to wait when another attempt failed after `attempts` failures.

    It doubles from 1 s to 300 s. The upper half of it is chance, so that messages that failed
    together are not tried again together. It is never less than `retry_after`, up to 1 h.
    """
    ceiling = min(_MAX_PAUSE, 2.0 ** min(attempts, 10))
    return max(ceiling * (1 + random()) / 2, min(retry_after or 0.0, _MAX_RETRY_AFTER))
