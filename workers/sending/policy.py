"""Which answer of a push service means what, and how long to wait before trying again.

|Answer|Verdict|
|---|---|
|2xx|accepted|
|404, 410|gone; refused if it says that our own domain is blocked|
|401, 403, 400 for the VAPID key|this recipient again, the third time refused; or a fault of ours|
|406, 429|again: all of Google's and Microsoft's, elsewhere this recipient; or a limit for us|
|408, 5xx, no answer|again: this recipient; all, after eight in a row or where a time is named|
|known not to have been processed|again, at once|
|3xx, other 4xx|refused: our message is at fault, or we are sent elsewhere|
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from service.model.notifications import Outcome

if TYPE_CHECKING:
    from workers.http.transport import Answer

# Google and Microsoft limit the sender, the others each subscription.
_LIMITS_SENDER: Final = ("google", "microsoft")
# Apple's and Google's words in a 400 for a subscription made with another VAPID key.
_WRONG_KEY: Final = ("vapidpkhashmismatch", "do not correspond", "unauthorizedregistration")

# One failure is an accident; so many without an answer between them are a push service that is
# ill, and it is left in peace for a while.
FAILURES_IN_A_ROW: Final = 8
# A fault of ours, not of a few subscriptions that a stranger made with another site's key: so many
# different recipients, and that share of the last hundred answers, one of them accepted recently.
REJECTED: Final = 50
LAST_ANSWERS: Final = 100

# A limit for us, not for a few recipients: so many different ones and that share, as above.
LIMITED: Final = 50
# It is no accident, but the pace it allows: so many rests for it, for a minute at least. What is
# over in a few seconds is a burst that was too large.
LIMITED_IN_A_ROW: Final = 3
LIMITED_FOR: Final = 60.0  # seconds
# Messages a minute: what Chrome leaves to sites with much push and little engagement
# (developer.chrome.com/blog/web-push-rate-limits).
LEAST_PACE: Final = 1000

# Seconds.
_MAX_PAUSE: Final = 300.0
_MAX_RETRY_AFTER: Final = 3600.0


class Verdict(NamedTuple):
    """What an answer means: an outcome, or None and who must wait before another attempt.

    `service_failed`: it tells of the push service as a whole. `rejected`: our signature was not
    accepted. `limited`: we send too much. `at_once`: nothing was lost, the recipient may be tried
    again at once.
    """

    outcome: Outcome | None
    service_failed: bool = False
    rejected: bool = False
    at_once: bool = False
    retry_after: float | None = None
    limited: bool = False


_ACCEPTED = Verdict(Outcome.ACCEPTED)


def judge(answer: Answer[Any], service: str, attempts: int) -> Verdict:
    """Judge an answer of a push service, named as by `EndpointPolicy`, after `attempts` failures.

    Pure, and the only place that knows what a status means.
    """
    status = answer.status
    if 200 <= status < 300:
        return _ACCEPTED
    said = answer.reason.lower()
    if status in (404, 410):
        return Verdict(Outcome.REFUSED if "domain blocked" in said else Outcome.GONE)
    if status in (401, 403) or (status == 400 and any(words in said for words in _WRONG_KEY)):
        outcome = Outcome.REFUSED if attempts >= 2 else None
        return Verdict(outcome, rejected=True, retry_after=answer.retry_after)
    if status in (406, 429):
        whole = service in _LIMITS_SENDER
        return Verdict(None, whole, retry_after=answer.retry_after, limited=True)
    if status == 0 and answer.untouched and said.startswith("refused"):
        return Verdict(None, at_once=True)
    if status in (0, 408) or status >= 500:
        return Verdict(None, service_failed=True, retry_after=answer.retry_after)
    return Verdict(Outcome.REFUSED)


def pause(attempts: int, retry_after: float | None, random: Callable[[], float]) -> float:
    """Return the seconds to wait when another attempt failed after `attempts` that did.

    Doubles from 1 s to 300 s, of which the upper half is chance, so that those who failed
    together do not come back together. Never less than `retry_after`, taken as at most 1 h.
    """
    ceiling = min(_MAX_PAUSE, 2.0 ** min(attempts, 10))
    return max(ceiling * (1 + random()) / 2, min(retry_after or 0.0, _MAX_RETRY_AFTER))
