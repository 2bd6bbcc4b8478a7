"""The answer policy: a case for each row of its table, and what is true of every pause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.notifications import Outcome
from workers.http.transport import Answer
from workers.sending.policy import Verdict, judge, pause

ACCEPTED, GONE, REFUSED = (Verdict(o) for o in (Outcome.ACCEPTED, Outcome.GONE, Outcome.REFUSED))
AT_ONCE = Verdict(None, at_once=True)
SERVICE, ROW = (Verdict(None, failed, retry_after=7.0) for failed in (True, False))
SMALLER = Verdict(None, too_large=True)
LIMIT_US, LIMIT_ROW = (one._replace(limited=True) for one in (SERVICE, ROW))
REJECTED, REJECTED_AT_LAST = (
    Verdict(outcome, rejected=True, retry_after=7.0) for outcome in (None, Outcome.REFUSED)
)
APPLE_WRONG_KEY = '{"reason":"VapidPkHashMismatch"}'
GOOGLE_WRONG_KEY = (
    "the VAPID credentials in the authorization header do not correspond to the"
    " credentials used to create the subscriptions."
)
MOZILLA_WRONG_KEY = '{"code":401,"errno":109,"message":"VAPID public key mismatch"}'
SERVICES = ["google", "mozilla", "apple", "microsoft", "other"]

# Status, text of the answer, push service, failed attempts before; verdict.
# SERVICE and ROW: all or one recipient wait, seven seconds as each of these answers asks.
TABLE = [
    (200, "", "mozilla", 0, ACCEPTED),
    (201, "", "google", 0, ACCEPTED),
    (202, "", "mozilla", 0, ACCEPTED),
    (204, "", "other", 0, ACCEPTED),
    (404, "", "google", 0, GONE),
    (410, "", "apple", 0, GONE),
    (410, "", "microsoft", 0, GONE),
    (410, "Domain Blocked", "microsoft", 0, REFUSED),
    (400, APPLE_WRONG_KEY, "apple", 0, REJECTED),
    (400, APPLE_WRONG_KEY, "apple", 2, REJECTED_AT_LAST),
    (403, APPLE_WRONG_KEY, "apple", 0, REJECTED),
    (403, GOOGLE_WRONG_KEY, "google", 1, REJECTED),
    (401, MOZILLA_WRONG_KEY, "mozilla", 0, REJECTED),
    (401, "", "microsoft", 0, REJECTED),
    (401, '{"errno":109,"message":"Invalid exp"}', "mozilla", 1, REJECTED),
    (403, '{"reason":"BadJwtToken"}', "apple", 0, REJECTED),
    (403, '{"reason":"BadJwtToken"}', "apple", 2, REJECTED_AT_LAST),
    (401, "", "microsoft", 3, REJECTED_AT_LAST),
    (406, "", "microsoft", 0, LIMIT_ROW),
    (429, "", "microsoft", 0, LIMIT_ROW),
    (429, "", "google", 0, LIMIT_US),
    (429, "", "google", 49, LIMIT_US),
    (429, "", "apple", 0, LIMIT_ROW),
    (429, "", "mozilla", 0, LIMIT_ROW),
    (429, "", "other", 0, LIMIT_ROW),
    (406, "", "other", 0, LIMIT_ROW),
    (408, "", "google", 0, SERVICE),
    (421, "", "google", 0, SERVICE),
    (425, "", "mozilla", 0, SERVICE),
    (500, "", "google", 0, SERVICE),
    (502, "", "mozilla", 0, SERVICE),
    (503, "", "other", 49, SERVICE),
    (0, "Operation timed out", "google", 0, SERVICE),
    (0, "Recv failure: Connection reset by peer", "apple", 8, SERVICE),
    (0, "SSL certificate problem", "other", 0, SERVICE),
    (0, "Could not resolve host", "other", 0, SERVICE),
    (0, "connection refused", "google", 0, SERVICE),
    (0, "refused: the connection is closing", "google", 0, AT_ONCE),
    (301, "", "mozilla", 0, REFUSED),
    (307, "", "google", 0, REFUSED),
    (400, "", "google", 0, REFUSED),
    (400, '{"reason":"BadWebPushTopic"}', "apple", 0, REFUSED),
    (405, "", "google", 0, REFUSED),
    (413, "", "mozilla", 0, SMALLER),
    (413, "", "other", 3, SMALLER),
    (418, "", "other", 0, REFUSED),
]


def answer(status: int, reason: str) -> Answer[None]:
    untouched = reason.startswith("refused")
    return Answer(None, status, retry_after=7.0, reason=reason, untouched=untouched)


@pytest.mark.parametrize(("status", "reason", "service", "attempts", "verdict"), TABLE)
def test_each_answer_has_its_verdict(
    status: int, reason: str, service: str, attempts: int, verdict: Verdict
) -> None:
    assert judge(answer(status, reason), service, attempts) == verdict


@pytest.mark.parametrize(
    ("status", "says", "verdict"),
    [
        (200, "received", ACCEPTED),
        (201, "", ACCEPTED),
        (200, "dropped", REFUSED),
        (200, " Dropped", REFUSED),
        (201, "channelthrottled", LIMIT_ROW),
        (200, "something new", ACCEPTED),
        (429, "channelthrottled", LIMIT_ROW),
        (410, "dropped", GONE),
    ],
)
def test_microsofts_status_header_decides_what_a_2xx_means(
    status: int, says: str, verdict: Verdict
) -> None:
    one = answer(status, "")
    one.wns_status = says
    assert judge(one, "microsoft", 0) == verdict


def test_a_smaller_message_that_is_too_large_is_refused() -> None:
    assert judge(answer(413, ""), "mozilla", 0, small=True) == REFUSED


@given(
    st.integers(200, 599).filter(lambda status: status not in (404, 410)),
    st.text(),
    st.sampled_from(SERVICES),
    st.integers(0, 100),
)
def test_only_404_and_410_make_a_subscription_gone(
    status: int, reason: str, service: str, attempts: int
) -> None:
    assert judge(answer(status, reason), service, attempts) != GONE


chances = st.floats(0, 1, exclude_max=True)
waits = st.none() | st.floats(0, 1e7)


@given(st.integers(0, 10_000), waits, chances)
def test_a_pause_is_never_shorter_than_retry_after_up_to_an_hour(
    attempts: int, retry_after: float | None, chance: float
) -> None:
    seconds = pause(attempts, retry_after, lambda: chance)
    assert seconds >= min(retry_after or 0, 3600)
    assert 0.5 <= seconds <= 3600


@given(st.integers(0, 10_000), chances)
def test_pauses_double_up_to_five_minutes_and_half_of_each_is_random(
    attempts: int, chance: float
) -> None:
    shortest, longest = (pause(attempts, None, lambda c=c: c) for c in (0.0, 1.0))
    assert shortest <= pause(attempts, None, lambda: chance) <= longest == 2 * shortest <= 300
    assert pause(attempts + 1, None, lambda: 1.0) == min(2 * longest, 300)


def test_the_first_pause_is_at_most_a_second() -> None:
    assert [pause(failed, None, lambda: 1.0) for failed in range(4)] == [1.0, 2.0, 4.0, 8.0]


@given(chances)
def test_a_short_retry_after_does_not_reduce_the_randomness(chance: float) -> None:
    assert pause(6, 1.0, lambda: chance) == pause(6, None, lambda: chance)
