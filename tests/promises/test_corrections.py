"""Corrections: those reached get the new text once, those not yet get it at once, nobody both."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import pytest

from service.domain.publishing import Conflict
from service.model.notifications import Audience, State, SubscriptionId
from service.store.records import Wish
from tests.support.installation import House, wait_until
from tests.support.push_service import Answer, PushService


def topics(push: PushService) -> set[str]:
    return {message.headers["topic"] for message in push.received}


@pytest.mark.redis
def test_a_correction_in_the_middle_gives_everybody_the_new_text_and_nobody_two(
    house: House, push: PushService
) -> None:
    house.seed(3000)
    push.answer_with(lambda _message: Answer(201, delay=0.1))
    house.worker()
    house.clock()
    first = house.publish(title="Ten dead")
    push.wait_for(800, timeout=30)

    second = house.correct(first, "Nobody dead").id

    assert house.over(first).state is State.SENT
    assert house.over(second).state is State.SENT
    assert house.outcomes(first) == {"accepted": 3000}
    with_old = house.outcomes(second)["accepted"]
    assert 800 <= with_old < 3000
    assert len(push.received) == 3000 + with_old
    assert len(topics(push)) == 1, "the push service replaces what it still keeps"
    times = Counter(message.path for message in push.received)
    assert set(times.values()) <= {1, 2}
    shown = house.runtime.publishing.get(first)
    assert (shown.content.title, shown.text.title) == ("Ten dead", "Nobody dead")
    assert shown.corrections == (second,)


def test_a_correction_of_what_was_sent_goes_to_those_who_got_it_and_are_still_here(
    house: House, push: PushService
) -> None:
    house.seed(300)
    house.worker()
    house.clock()
    first = house.publish()
    house.over(first)
    house.runtime.store.subscriptions.remove(SubscriptionId(0, 7))
    wrong = house.correct(first, "Wrong once more")
    assert wrong.recipients == 299
    house.over(wrong.id)
    right = house.correct(wrong.id, "Right at last").id
    house.over(right)
    assert house.outcomes(right) == {"accepted": 299}
    assert len(push.received) == 300 + 299 + 299
    assert house.runtime.publishing.get(right).corrects == first


def test_a_correction_that_leaves_those_reached_alone_is_finished_at_once(
    house: House, push: PushService
) -> None:
    house.seed(100)
    house.worker()
    house.clock()
    first = house.publish()
    house.over(first)
    child = house.correct(first, "For the record", replace=False).id
    assert house.runtime.publishing.get(child).state is State.SENT
    assert house.runtime.publishing.progress(child).recipients == 0
    assert len(push.received) == 100


def test_a_second_correction_ends_the_first(house: House, push: PushService) -> None:
    house.seed(2000)
    house.worker()
    house.clock()
    first = house.publish()
    house.over(first)
    push.answer_with(lambda _message: Answer(201, delay=0.2))
    wrong = house.correct(first, "Wrong once more").id
    push.wait_for(2300, timeout=30)
    right = house.correct(first, "Right at last").id
    assert house.over(wrong).state is State.CANCELLED
    assert house.over(right).state is State.SENT
    assert house.outcomes(right) == {"accepted": 2000}


def test_a_test_to_one_browser_and_what_nobody_got_cannot_be_corrected(
    house: House, push: PushService
) -> None:
    house.seed(10)
    id = house.publish(Audience(subscription=SubscriptionId(0, 3)))
    with pytest.raises(Conflict):
        house.correct(id, "Other")
    nobody = house.publish(Audience(topics=("breaking",)))
    house.worker()
    house.clock()
    house.over(nobody)
    with pytest.raises(Conflict):
        house.correct(nobody, "Other")
    assert house.runtime.publishing.get(nobody).corrections == ()


def test_the_new_text_replaces_the_old_one_on_the_screen(house: House, push: PushService) -> None:
    browser = push.subscribe(house.vapid.public)
    runtime = house.runtime
    runtime.store.subscriptions.subscribe(
        Wish(
            endpoint=runtime.endpoints.parse(browser.endpoint),
            p256dh=browser.p256dh,
            auth=browser.auth,
            vapid_key=runtime.vapid_public_key,
        )
    )
    house.worker()
    house.clock()
    first = house.publish(title="Ten dead")
    house.over(first)
    house.over(house.correct(first, "Nobody dead").id)
    shown: defaultdict[str, list[str]] = defaultdict(list)
    for message in wait_until(lambda: push.received[:2] if len(push.received) == 2 else []):
        said = json.loads(browser.decrypt(message.body))["notification"]
        shown[said["tag"]].append(said["title"])
    assert list(shown.values()) == [["Ten dead", "Nobody dead"]]
