"""The payload is a Declarative Web Push document, which Safari shows without a worker."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.model.payload import Payload, combined
from tests.support.client import NOTIFICATIONS, Client, make_app

# Fields and types that Safari 18.4 takes (webkit.org/blog/16535); it shows no others.
KNOWN = {
    **{"title": str, "body": str, "navigate": str, "dir": str, "lang": str, "tag": str},
    **{"timestamp": int, "renotify": bool, "icon": str, "image": str, "actions": list},
    "data": dict,
}
LEAST = {
    "title": "Ferry aground",
    "url": "https://paper.example/ferry",
    "audience": {"everyone": True},
}
MOST = {
    **LEAST,
    "title": 'العبّارة 🛳️ "aground" \\ </script>',
    "body": "Two\nlines.",
    "icon": "https://paper.example/icon.png",
    "image": "https://paper.example/ferry.jpg",
    "lang": "ar",
    "story": "ferry",
    "actions": [
        {"title": "Live", "url": "https://paper.example/live"},
        {"title": "Map", "url": "https://paper.example/map"},
    ],
}


def is_absolute(link: object) -> bool:
    parts = urlsplit(str(link))
    return parts.scheme == "https" and bool(parts.netloc)


@pytest.mark.parametrize("asked", [LEAST, MOST])
@pytest.mark.parametrize("receipt", ["r" * 22, None])
def test_browser_with_declarative_push_can_show_the_payload_by_itself(
    client: Client, asked: dict[str, Any], receipt: str | None
) -> None:
    answer = client.call("POST", NOTIFICATIONS, asked, token=client.add_token())
    runtime = client.runtime
    one = runtime.publishing.get(int(answer.json["id"]))
    document = json.loads(Payload(one, runtime.config.public_url).carrying(receipt))
    assert document["web_push"] == 8030
    shown = document["notification"]
    assert {name: type(value) for name, value in shown.items()} == {n: KNOWN[n] for n in shown}
    assert (shown["title"], shown["navigate"]) == (asked["title"], asked["url"])
    assert shown["dir"] == ("rtl" if asked is MOST else "auto")
    actions = shown.get("actions", [])
    assert [set(action) for action in actions] == [{"action", "title", "navigate"}] * len(actions)
    links = [shown["navigate"], *(action["navigate"] for action in actions)]
    links += [shown[name] for name in ("icon", "image") if name in shown]
    assert all(map(is_absolute, links))
    assert shown["data"]["receipt"] == receipt


def test_links_to_the_newsrooms_own_site_carry_its_parameters_also_in_corrections(
    redis_url: str,
) -> None:
    client = Client(make_app(redis_url, LINK_PARAMETERS="utm_source=push&utm_campaign={id}"))
    token, runtime = client.add_token(), client.runtime

    def navigates(id: int) -> list[str]:
        config = runtime.config
        payload = Payload(runtime.publishing.get(id), config.public_url, config.opened_links)
        documents = [json.loads(one.carrying("r" * 22)) for one in (payload, payload.small())]
        shown = [document["notification"] for document in documents]
        assert shown[0]["navigate"] == shown[1]["navigate"]
        return [shown[0]["navigate"], *(one["navigate"] for one in shown[0].get("actions", []))]

    actions = [
        {"title": "Live", "url": "https://paper.example/live?page=2#last"},
        {"title": "Map", "url": "https://maps.example/ferry"},
    ]
    asked = {**LEAST, "image": "https://paper.example/1.jpg", "actions": actions}
    first = int(client.call("POST", NOTIFICATIONS, asked, token=token).json["id"])
    ours = f"utm_source=push&utm_campaign={first}"
    assert navigates(first) == [
        f"https://paper.example/ferry?{ours}",
        f"https://paper.example/live?page=2&{ours}#last",
        "https://maps.example/ferry",
    ]
    changed = {"url": "https://paper.example/ferry-afloat"}
    path = f"{NOTIFICATIONS}/{first}"
    correction = int(client.call("POST", f"{path}/correct", changed, token=token).json["id"])
    assert correction != first
    # One alert in the newsroom's statistics, whichever text a reader had.
    for id in (first, correction):
        assert navigates(id)[0] == f"https://paper.example/ferry-afloat?{ours}"
    shown = client.call("GET", path, token=token).json
    assert shown["url"] == "https://paper.example/ferry"
    assert shown["opens"] == f"https://paper.example/ferry?{ours}"
    assert shown["text_now"]["opens"] == f"https://paper.example/ferry-afloat?{ours}"
    again = client.call("GET", f"{NOTIFICATIONS}/{correction}", token=token).json
    assert again["opens"] == f"https://paper.example/ferry-afloat?{ours}"


def test_a_message_for_several_held_alerts_has_the_id_of_the_latest(redis_url: str) -> None:
    client = Client(make_app(redis_url, LINK_PARAMETERS="c={id}"))
    runtime = client.runtime
    ids = [
        int(client.call("POST", NOTIFICATIONS, LEAST, token=client.add_token()).json["id"])
        for _ in range(3)
    ]
    wave, *alerts = (runtime.publishing.get(id) for id in ids)
    for held, link in (
        (alerts, f"https://paper.example/?c={ids[2]}"),
        (alerts[:1], f"https://paper.example/ferry?c={ids[1]}"),
    ):
        made = combined(wave, held, "en", "https://push.example", runtime.config.opened_links)
        assert json.loads(made.carrying(None))["notification"]["navigate"] == link


def test_the_parameters_count_in_the_size_of_an_alert(redis_url: str) -> None:
    long = "c=" + "x" * 250
    client = Client(make_app(redis_url, LINK_PARAMETERS=long))
    plain = Client(make_app(redis_url))
    asked = {**LEAST, "body": "x" * 1000, "url": "https://paper.example/" + "y" * 1900}
    asked["image"] = "https://paper.example/" + "z" * 600
    assert plain.call("POST", NOTIFICATIONS, asked, token=plain.add_token()).status_code == 202
    refused = client.call("POST", NOTIFICATIONS, asked, token=client.add_token())
    assert refused.status_code == 422
    assert "too long to be pushed" in refused.text
