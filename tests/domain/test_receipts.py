"""Receipts: a part of a large audience reports, and the count is scaled up with its error."""

from __future__ import annotations

import json
import random
import re

import pytest

from service.domain import receipts
from service.domain.receipts import Estimate, estimates, reporting
from service.local.pretend_readers import seed
from service.model.notifications import MAX_PLAINTEXT, Audience, SendAt
from service.model.payload import Payload
from service.model.subscriptions import SubscriptionId
from service.model.tokens import Tokens
from service.store import Store
from tests.support.client import API, Client
from tests.support.installation import content

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("one_partition")]

EVERYONE = Audience(everyone=True)


def readers(client: Client, count: int) -> Store:
    """Store so many pretend readers."""
    runtime = client.runtime
    origins = ["https://push.example"]
    key = runtime.keys.current
    list(seed(runtime.store, count, origins=origins, vapid_key=key, topics=[]))
    return runtime.store


def payload(client: Client, id: int) -> dict[str, object]:
    """The `data` of a notification as a browser gets it."""
    one = client.runtime.publishing.get(id)
    document = json.loads(Payload(one, client.runtime.config.public_url).carrying("r" * 22))
    data: dict[str, object] = document["notification"]["data"]
    return data


@pytest.mark.parametrize(
    ("recipients", "share"),
    [(0, 1), (250_000, 1), (250_001, 1), (500_000, 0.5), (10_000_000, 0.025), (10**12, 0.0001)],
)
def test_about_a_quarter_of_a_million_browsers_report_at_most(
    recipients: int, share: float
) -> None:
    assert reporting(recipients) == share


def test_share_of_reporting_browsers_is_set_at_publishing_and_at_each_change(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MOST_REPORTING", 10)
    desk = client.runtime.publishing
    readers(client, 40)

    id = desk.publish(content(), EVERYONE, by="a test").id
    test = desk.publish(content(), Audience(subscription=SubscriptionId(0, 1)), by="a test").id
    planned = desk.publish(content(), EVERYONE, by="a test", send_at=SendAt(9e9)).id

    assert payload(client, id) == {
        "api": client.runtime.config.public_url,
        "receipt": "r" * 22,
        "report": 0.25,
    }
    assert "report" not in payload(client, test)
    nobody = Audience(topics=("chess",))
    before = desk.get(planned)
    assert before.reporting == 0.25
    desk.change(before, before.content, nobody, by="a test", send_at=SendAt(9e9))
    assert desk.get(planned).reporting == 1


def test_longest_accepted_alert_fits_into_a_message_with_its_share(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MOST_REPORTING", 10)
    readers(client, 33)
    token = client.add_token()
    alert = {
        "title": "Late news",
        "url": "https://paper.example/",
        "audience": {"everyone": True},
        "icon": f"https://paper.example/{'i' * 1900}",
        "image": f"https://paper.example/{'i' * 1200}",
    }
    body = "x" * 1000
    refused = client.call("POST", f"{API}/notifications", {**alert, "body": body}, token=token)
    over = int(re.search(r"(\d+) bytes too long", refused.json["errors"][0]["detail"])[1])
    alert["body"] = body[:-over]
    sent = client.call("POST", f"{API}/notifications", alert, token=token)
    assert sent.status_code == 202
    one = client.runtime.publishing.get(int(sent.json["id"]))
    assert one.reporting == 0.303
    size = len(Payload(one, client.runtime.config.public_url).carrying("r" * 22))
    assert MAX_PLAINTEXT - 40 < size <= MAX_PLAINTEXT


def test_count_is_scaled_up_from_a_sample_and_shown_with_its_error(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MOST_REPORTING", 2_000)
    chance = random.Random(8030)
    store = readers(client, 8_000)
    id = client.runtime.publishing.publish(content(), EVERYONE, by="a test").id
    share = payload(client, id)["report"]
    with store.redis.pipeline(transaction=False) as pipe:
        for number in range(1, 8_001):
            who = SubscriptionId(0, number)
            if chance.random() < share:
                pipe.pfadd(f"{{g}}:n:{id}:shown", str(who))
            if number <= 100:
                pipe.pfadd(f"{{g}}:n:{id}:clicked", str(who))
        pipe.execute()

    token = client.add_token()
    progress = client.call("GET", f"{API}/notifications/{id}", token=token).json["progress"]

    # The standard error for 8,000 browsers of which a quarter reports, scaled up by four.
    error = progress["receipts_error"]["shown"]
    assert 155 < error < 180
    assert abs(progress["receipts"]["shown"] - 8_000) < 3 * error
    # Every browser reports a click: nothing to scale.
    assert abs(progress["receipts"]["clicked"] - 100) <= 3
    assert progress["receipts_error"]["clicked"] == 1


def test_error_is_made_of_sampling_and_counting() -> None:
    # 10,000 of 40,000: sampling alone 4 × √(10,000 × 3/4), counting alone 0.81 % of 40,000.
    count, error = estimates({"shown": 10_000}, 0.25)["shown"]
    assert count == 40_000
    assert error == pytest.approx((346.41**2 + 324**2) ** 0.5, rel=1e-4)
    assert estimates({"dismissed": 10_000}, 0.25)["dismissed"] == Estimate(count, error)


def test_receipts_have_room_for_billions_of_alerts_welcomes_included() -> None:
    tokens, reader = Tokens("a secret of at least 32 characters"), SubscriptionId(1, 300)
    # Made when an alert's id had three bytes; browsers may still have such receipts.
    assert tokens.open_receipt("8BpcDn-RE3vLxLd1qU8GkA") == (70_000, reader)
    for id in (70_000, 1 << 24, (1 << 32) - 1):
        assert tokens.open_receipt(tokens.receipt(id, reader)) == (id, reader)
