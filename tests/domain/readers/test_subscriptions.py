"""Subscriptions, through the domain: whose token fits, who has left, who gets a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from service.domain.readers.reader_alerts import TooManyActive
from service.runtime import Runtime
from service.store.readers.subscriptions import HasLeft, KnownWithOtherKeys, NotSubscribed
from tests.support.client import Client, to_one
from tests.support.requested import requested

pytestmark = pytest.mark.redis

RuntimeWith = Callable[..., Runtime]


@pytest.fixture
def runtime_with(client_with: Callable[..., Client]) -> RuntimeWith:
    return lambda **settings: client_with(**settings).runtime


def test_a_subscription_is_found_by_its_id_and_token_alone(runtime_with: RuntimeWith) -> None:
    readers = runtime_with().subscriptions
    one, new = readers.subscribe(requested("reader"))
    other, _ = readers.subscribe(requested("another"))
    assert new
    assert readers.of_reader(str(one.id), readers.token(one)) == one == readers.get(str(one.id))
    for id, token in (
        (str(one.id), readers.token(other)),
        (str(one.id), "é"),
        (str(other.id), readers.token(one)),
        ("0-99", readers.token(one)),
        ("no id", readers.token(one)),
    ):
        with pytest.raises(NotSubscribed):
            readers.of_reader(id, token)


def test_new_keys_of_a_known_endpoint_need_the_readers_token(runtime_with: RuntimeWith) -> None:
    readers = runtime_with().subscriptions
    one, _ = readers.subscribe(requested("reader"))
    other, _ = readers.subscribe(requested("another"))
    anew = requested("reader", keys=1)
    for token in (None, readers.token(other)):
        with pytest.raises(KnownWithOtherKeys):
            readers.subscribe(anew, token=token)
    changed, new = readers.subscribe(anew, token=readers.token(one))
    assert (changed.id, changed.auth, new) == (one.id, anew.auth, False)


def test_a_reader_who_left_is_not_refreshed(runtime_with: RuntimeWith) -> None:
    readers = runtime_with().subscriptions
    one, _ = readers.subscribe(requested("reader"))
    assert readers.count() == 1
    readers.remove(one)
    assert readers.count() == 0
    with pytest.raises(HasLeft):
        readers.subscribe(requested("reader"), refresh=True)
    with pytest.raises(NotSubscribed):
        readers.remove(one)


def test_a_test_goes_to_one_reader_unless_too_many_tests_are_active(
    runtime_with: RuntimeWith,
) -> None:
    runtime = runtime_with(SITE_NAME="The Paper")
    one, _ = runtime.subscriptions.subscribe(requested("reader", locale="de-AT"))
    assert runtime.reader_alerts.send_test(one).recipients == 1
    (test,) = to_one(runtime)
    assert (test.audience.subscription, test.content.lang) == (one.id, "de")
    assert "The Paper" in test.content.body
    for _ in range(24):
        runtime.reader_alerts.send_test(one)
    with pytest.raises(TooManyActive):
        runtime.reader_alerts.send_test(one)
