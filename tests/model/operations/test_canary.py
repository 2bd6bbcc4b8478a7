"""The canary's browser: made of SECRET_KEY alone; an earlier release finds nobody."""

from __future__ import annotations

from service.model.keys import on_p256
from service.model.network.endpoints import EndpointPolicy
from service.model.notifications import Audience
from service.model.operations.canary import CanaryBrowser
from service.model.subscriptions import SubscriptionId
from service.model.tokens import Tokens

ONLY = Audience(subscription=SubscriptionId(10, 4), canary=True)


def test_every_process_makes_the_same_browser_of_the_same_secret_key() -> None:
    one, other = (CanaryBrowser(Tokens("a secret").canary_keys[0]) for _ in range(2))
    assert (one.token, one.p256dh, one.auth) == (other.token, other.p256dh, other.auth)
    assert on_p256(one.p256dh) and len(one.auth) == 16 and len(one.token) == 43


def test_another_secret_key_makes_another_browser() -> None:
    one, other = (CanaryBrowser(key) for key in Tokens("a secret", "another").canary_keys)
    assert {one.token, one.p256dh, one.auth}.isdisjoint({other.token, other.p256dh, other.auth})


def test_an_audience_of_the_canary_is_stored_so_that_an_earlier_release_finds_nobody() -> None:
    stored = ONLY.as_stored()
    assert Audience.from_json(stored) == ONLY
    del stored["canary"]  # what an earlier release does not know
    assert Audience.from_json(stored) == Audience()


def test_tools_see_an_alert_to_one_browser() -> None:
    assert ONLY.as_json() == {"subscription": "10-4"}


def test_workers_reach_our_own_address_wherever_it_is_and_nobody_can_subscribe_there() -> None:
    own = "http://push.paper.example:8000"
    policy, others = EndpointPolicy(own=own), EndpointPolicy()
    assert policy.may_connect(own, "10.0.0.7") and own in policy.plain_origins
    assert not policy.allows(own)
    assert not policy.may_connect("https://fcm.googleapis.com", "10.0.0.7")
    assert not others.may_connect(own, "10.0.0.7") and not others.plain_origins
