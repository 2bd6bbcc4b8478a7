"""The payload is a Declarative Web Push document, which Safari shows without a worker."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.model.payload import Payload
from tests.support.client import NOTIFICATIONS, Client

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
