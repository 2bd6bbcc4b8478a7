"""Every call of the API that takes a body: a right body, and ways to get it wrong."""

from __future__ import annotations

import copy
from typing import Any

from tests.support.client import browser

NEWS = {
    "title": "Ferry aground",
    "body": "All aboard are safe.",
    "url": "https://paper.example/ferry",
    "audience": {"everyone": True},
}

ROUTES = {
    "subscribe": ("POST", "/subscriptions"),
    "change": ("PATCH", "/subscriptions/{id}"),
    "pair": ("POST", "/subscriptions/{id}/pairing"),
    "report": ("POST", "/receipts"),
    "count question": ("POST", "/questions"),
    "publish": ("POST", "/notifications"),
    "replan": ("PATCH", "/notifications/2"),
    "correct": ("POST", "/notifications/1/correct"),
    "test": ("POST", "/notifications/1/test"),
    "choose": ("POST", "/notifications/3/choose"),
    "audience": ("POST", "/audience"),
    "add topic": ("POST", "/topics"),
    "change topic": ("PATCH", "/topics/world"),
    "add feed": ("POST", "/feeds"),
    "change feed": ("PATCH", "/feeds/feedfeedfeed"),
    "add webhook": ("POST", "/webhooks"),
    "change webhook": ("PATCH", "/webhooks/{hook}"),
}
GOOD: dict[str, Any] = {
    "subscribe": {
        "subscription": browser(1),
        "topics": ["world"],
        "locale": "en-GB",
        "timezone": "Europe/Riga",
        "refresh": False,
    },
    "change": {
        "subscription": browser(2),
        "topics": [],
        "locale": "lv",
        "timezone": "UTC",
        "quiet_hours": {"from": "22:00", "to": "07:00"},
        "daily_limit": 5,
        "allow_breaking": True,
        "paused_until": None,
        "paused_for": None,
        "receipts": True,
        "muted_stories": [],
        "followed_stories": ["storm"],
    },
    "pair": {"code": "c" * 22, "agreed": True},
    "report": {"token": "x" * 22, "event": "shown"},
    "count question": {"page": "/sport/tennis", "step": "shown"},
    "publish": {
        **NEWS,
        "icon": "https://paper.example/icon.png",
        "image": None,
        "actions": [{"title": "Live", "url": "https://paper.example/live"}],
        "kind": "news",
        "urgency": "normal",
        "ttl": 3600,
        "lang": "en-GB",
        "audience": {"topics": ["world"], "exclude": [], "locales": ["en"]},
        "story": "quake",
        "spread_minutes": 30,
    },
    "replan": {
        "title": "Ferry afloat again",
        "url": "https://paper.example/ferry",
        "audience": {"topics": ["world"]},
        "story": None,
        "draft": True,
    },
    "correct": {
        "title": "Ferry afloat again",
        "body": "",
        "url": "https://paper.example/ferry",
        "reached": "leave",
    },
    "test": {"subscription_id": "0-0"},
    "choose": {"text": "B"},
    "audience": {
        "topics": ["world"],
        "exclude": ["sport"],
        "locales": ["en"],
        "story": "never-heard-of",
    },
    "add topic": {"slug": "new", "name": "New", "description": "", "default": False},
    "change topic": {"name": "New", "description": "", "default": False},
    "add feed": {
        "url": "https://paper.example/rss",
        "name": "The front page",
        "active": True,
        "draft": False,
        "everyone": False,
        "topics": ["world"],
        "topic_by_category": {"Tennis": "sport"},
        "gap_minutes": 5,
        "most_per_hour": 4,
        "most_per_day": 0,
        "newest_hours": 6,
        "title_template": "{category}: {title}",
        "text_template": "{text} ({feed})",
        "picture": False,
        "language": "en-GB",
        "minutes": 5,
    },
    "change feed": {"name": "Front page", "active": False, "topics": None, "language": ""},
    "add webhook": {"address": "https://paper.example/hook", "events": ["alert.sent"]},
    "change webhook": {"address": "https://paper.example/other", "paused": True},
}
OFF_CURVE = "BA" + "A" * 84 + "B"  # 0x04, then x = 0 and y = 1
GOOGLE = "https://fcm.googleapis.com/fcm/send/"
LINKS = [
    "",
    "/ferry",
    "ferry",
    "http://paper.example/",
    "http://localhost.evil.example/",
    "javascript:alert(1)",
    "data:text/html,x",
    "https:paper.example",
    "https:///ferry",
    "https://",
    "https://reader:secret@paper.example/",
    "https://paper.example:99999/",
    "https://[::1",
    "https://paper..example/",
    "https://%70aper.example/",
    "https://paper.example/a b",
    "https://paper.example/\\evil",
    "https://paper.example\\@evil.example/",
    "https://paper.example/\n",
    "https://paper.example/\x00",
    "https://paper.example/\u200b",
    "\ufeffhttps://paper.example/",
    "https://paper.example/".ljust(2001, "x"),
]
# By route and field: the values that the field gets in turn, DELETE to leave it out. The response
# names this field.
_BAD: dict[str, dict[str, list[Any]]] = {
    "publish": {
        "spread_minutes": [0, 60, "30"],
        "second_text": ["Other words", [], {"title": "Beside `spread_minutes`"}],
        "repeat": ["fri", {"weekdays": ["fri"]}],
        "story": ["Quake", "", "x" * 41, 5],
        "audience.story": ["quake"],
        "title": [
            "DELETE",
            " \u2028",
            "\u200b\ufeff\u3164",
            "x" * 201,
            None,
        ],
        "body": ["x" * 1001, 5],
        "url": ["DELETE", *LINKS],
        "icon": ["http://paper.example/icon.png"],
        "image": ["javascript:alert(1)"],
        "actions": [[{"title": "x", "url": NEWS["url"]}] * 3],
        "kind": ["urgent"],
        "urgency": ["highest"],
        "ttl": [59, 2_419_201, 10**400, 3600.0, "3600", True],
        "audience": [
            "DELETE",
            None,
            {},
            {"everyone": False},
            {"everyone": False, "topics": ["world"]},
            {"everyone": True, "topics": ["world"]},
            {"exclude": ["world"]},
            {"new_within_days": 7},
            {"everyone": False, "all_topics": ["world"]},
        ],
        "audience.everyone": [1, "true"],
        "audience.topics": [[], ["cooking"]],
        "audience.exclude": [["cooking"]],
        "audience.subscription": ["0-0"],
        "audience.all_topics": [[], ["cooking"], ["world", "world"]],
        "audience.followers_of": ["flood", "qu ake", 5],
        "audience.new_within_days": [0, 367, "7", 1.5],
        "audience.not_reached_by": [
            ["1", "1"],
            [str(n) for n in range(1, 7)],
            ["4711"],
            "1",
        ],
        "audience.clicked": [["1"]],
        "tag": [None],
        "id": [None],
        "send_at": [
            1900000000,
            "tomorrow",
            "2020-01-01T00:00:00Z",
            "9999-01-01T00:00:00Z",
            "2026-03-29T07:00",
        ],
        "local_time": [True, "yes"],
        "once_per_link": [None, "yes", 1],
        "draft": [None, "yes"],
        "late": ["send", "never"],
    },
    "replan": {
        "title": [""],
        "url": ["ferry"],
        "audience": [{}],
        "send_at": ["tomorrow"],
        "draft": [False],
        "status": ["sent"],
        "story": ["qu ake"],
    },
    "correct": {
        "title": [""],
        "body": ["x" * 1001],
        "url": ["http://paper.example/"],
        "reached": ["ignore"],
    },
    "test": {
        "subscription_id": ["DELETE", "0-7", 5],
    },
    "choose": {
        "text": ["DELETE", None, "C", "b"],
    },
    "subscribe": {
        "subscription": ["DELETE", None, []],
        "subscription.endpoint": [
            "DELETE",
            5,
            "https://evil.example/x",
            "https://127.0.0.1:8443/x",
            GOOGLE + "x" * 2048,
        ],
        "subscription.keys": ["DELETE"],
        "subscription.keys.p256dh": [
            "DELETE",
            None,
            "",
            "é" * 87,
            "+" * 87,
            OFF_CURVE,
            "B" + "A" * 86,
            "A" * 44,
        ],
        "subscription.keys.auth": ["DELETE", "A" * 20, "A" * 23, {}, [256] * 16, {"1": 4}],
        "topics": [
            ["cooking"],
            ["world", "world"],
            "world",
            [f"t{number}" for number in range(101)],
        ],
        "refresh": ["yes", 1],
        "expirationTime": [1],
        "user": [1],
        "story": [1],
        "wording": [256, -1, "1"],
        "daily_limit": [15],
        "followed_stories": [["flood"]],
    },
    "change": {
        "quiet_hours": ["22:00-07:00"],
        "quiet_hours.from": ["22:10", "24:00", "9:00", "\u0661\u0662:00"],
        "quiet_hours.to": [7],
        "quiet_hours.start": ["22:00"],
        "daily_limit": [0, 15, "5", 5.5, True],
        "allow_breaking": ["yes"],
        "receipts": [0],
        "paused_until": [
            "tomorrow",
            1900000000,
            "9999-01-01T00:00:00Z",
            "2099-01-01T00:00:00",
            "2099-01-01T00:00[Europe/Riga]",
        ],
        "paused_for": [0, -1, 1.5, "60", True, 366 * 86_400 + 1],
        "wording": [1],
        "muted_stories": [["flood"], ["storm"] * 2, "storm"],
        "followed_stories": [[f"s{number}" for number in range(51)], ["storm\x00"]],
        "subscription.endpoint": ["https://evil.example/x"],
        "topics": [["cooking"]],
        "refresh": [True],
        "id": [None],
        "token": [None],
        "subscribed_on": [None],
    },
    "audience": {
        "story": ["*"],
        "topics": [["cooking"]],
        "new_within_days": [0],
    },
    "pair": {
        "code": ["DELETE", None, 5, "x" * 101],
        "agreed": ["yes", 1, None],
        "editor": ["nora@paper.example"],
    },
    "report": {
        "receipts": [[], [{"token": "x", "event": "shown"}] * 51],
        "token": [5, "x" * 101],
        "event": ["closed"],
        "reader": ["me"],
    },
    "count question": {
        "page": ["DELETE", "", "sport", 7, "/" * 4001],
        "step": ["DELETE", "clicked", None],
        "reader": ["me"],
    },
    "add topic": {
        "slug": ["DELETE", "", "World", "-world", "wörld", "world\n", "x" * 41],
        "name": ["", "x" * 61],
        "description": ["x" * 201],
        "default": ["yes"],
    },
    "change topic": {
        "slug": ["other"],
        "name": [""],
    },
    "add feed": {
        "url": ["DELETE", None, 5, "https://paper.example/".ljust(2001, "x"), "a\nb"],
        "name": ["x" * 61, "a\nb"],
        "active": ["yes"],
        "topics": ["world", ["world", "world"]],
        "topic_by_category": [[], {f"c{number}": "world" for number in range(101)}],
        "gap_minutes": [-1, 1441, "5"],
        "most_per_hour": [-1, 101],
        "newest_hours": [0, 73],
        "title_template": ["{body}", "{title", "x" * 201, "a\nb"],
        "language": ["german language", "x" * 36],
        "minutes": [0, 1441, True],
        "kind": ["breaking"],
    },
    "change feed": {
        "url": [5],
        "minutes": [0],
        "id": ["feedfeedfeed"],
    },
    "add webhook": {
        "address": ["DELETE", "", 5],
        "events": ["DELETE", [], "alert.sent"],
    },
    "change webhook": {
        "address": ["", 5],
        "events": [[]],
        "paused": ["yes"],
    },
}
# Route, field, value, and the field that the response names instead, within or around that one.
_NAMED_OTHERWISE: list[tuple[str, str, Any, str]] = [
    ("subscribe", "topics", [1], "topics.0"),
    ("change", "quiet_hours", {"from": "22:00"}, "quiet_hours.to"),
    ("change", "quiet_hours.to", "22:00", "quiet_hours"),
    ("change", "followed_stories", [None], "followed_stories.0"),
    ("report", "token", "DELETE", "token"),
    ("add webhook", "events", ["alert.read"], "events.0"),
    ("report", "receipts", [{"token": "x", "event": "shown"}], "token"),
    ("report", "receipts", [{"token": "x"}], "receipts.0.event"),
    ("publish", "actions", [{"title": "x" * 61, "url": NEWS["url"]}], "actions.0.title"),
    ("publish", "actions", [{"title": "x", "url": "javascript:x"}], "actions.0.url"),
    ("publish", "actions", [{"title": "x", "url": NEWS["url"], "icon": ""}], "actions.0.icon"),
    ("publish", "audience.locales", ["german"], "audience.locales.0"),
    ("publish", "audience.not_reached_by", [1], "audience.not_reached_by.0"),
    ("publish", "audience.not_reached_by", ["01"], "audience.not_reached_by.0"),
    ("publish", "repeat", {}, "repeat.weekdays"),
    ("publish", "repeat", {"weekdays": ["Friday"]}, "repeat.weekdays.0"),
    ("publish", "repeat", {"weekdays": ["fri", "fri"]}, "repeat.weekdays"),
    ("publish", "repeat", {"weekdays": ["fri"], "digest": {"most": 0}}, "repeat.digest.most"),
    ("publish", "repeat", {"weekdays": ["fri"], "makes_drafts": "yes"}, "repeat.makes_drafts"),
    ("replan", "repeat", {"weekdays": []}, "repeat.weekdays"),
    ("audience", "everyone", False, "everyone"),
    ("audience", "", 1, '""'),
]
BAD = [
    *(
        (route, field, value, field)
        for route, fields in _BAD.items()
        for field, values in fields.items()
        for value in values
    ),
    *_NAMED_OTHERWISE,
]


def with_field(route: str, field: str, value: Any) -> dict[str, Any]:
    """Return a right body for a route with one field changed, or left out: `DELETE`."""
    body: dict[str, Any] = copy.deepcopy(GOOD[route])
    *outer, last = field.split(".")
    within = body
    for name in outer:
        within = within[name]
    if value == "DELETE":
        del within[last]
    else:
        within[last] = value
    return body
