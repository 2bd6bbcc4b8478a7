"""Lists come in pages, all in the same way."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.client import API, NOTIFICATIONS, Client
from tests.support.inputs import NEWS


def names(client: Client, token: str, path: str, rows: str, name: str, limit: int) -> list[Any]:
    """Return the pages of a list, each as the names of its rows."""
    found, cursor = [], ""
    while cursor is not None:
        query = f"?limit={limit}" + (f"&cursor={cursor}" if cursor else "")
        page = client.call("GET", f"{API}/{path}{query}", token=token).json
        found.append([row[name] for row in page[rows]])
        cursor = page["next_cursor"]
    return found


def test_every_list_of_tools_has_pages(client: Client, token: str) -> None:
    described = client.call("GET", f"{API}/openapi.json").json
    for path, methods in described["paths"].items():
        shape = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        reference = shape.get("application/json", {}).get("schema", {}).get("$ref", "")
        fields = described["components"]["schemas"].get(reference.rpartition("/")[2], {})
        parameters = [row["name"] for row in methods.get("get", {}).get("parameters", ())]
        is_list = reference.endswith("List")
        assert is_list == ("next_cursor" in fields.get("properties", {})), path
        assert is_list == ({"limit", "cursor"} <= {*parameters}), path


def test_topics_and_stories_come_in_pages(client: Client, token: str) -> None:
    client.call("POST", f"{API}/topics", {"slug": "local", "name": "Local"}, token=token)
    assert names(client, token, "topics", "topics", "slug", 2) == [["world", "sport"], ["local"]]
    for story in ("quake", "flood", "storm"):
        client.call("POST", NOTIFICATIONS, {**NEWS, "story": story}, token=token)
    assert names(client, token, "stories", "stories", "slug", 1) == [
        ["storm"],
        ["flood"],
        ["quake"],
    ]
    first = client.call("GET", f"{API}/stories?limit=1", token=token).json
    # The next page begins where the first one ended, whatever has become of its stories.
    client.call("POST", NOTIFICATIONS, {**NEWS, "story": "quake"}, token=token)
    client.call("DELETE", f"{API}/stories/storm", token=token)
    next_page = f"{API}/stories?cursor={first['next_cursor']}"
    assert [one["slug"] for one in client.call("GET", next_page, token=token).json["stories"]] == [
        "flood"
    ]


def test_what_a_page_shows_may_be_deleted_or_sent_before_the_next_is_asked_for(
    client: Client, token: str
) -> None:
    def each(path: str, rows: str, method: str, what: str) -> None:
        cursor, seen = "", []
        while cursor is not None:
            query = f"{'&' if '?' in path else '?'}limit=2" + (f"&cursor={cursor}" * bool(cursor))
            page = client.call("GET", f"{API}/{path}{query}", token=token)
            assert page.status_code == 200, page.json
            cursor = page.json["next_cursor"]
            for row in page.json[rows]:
                seen.append(row["id"])
                done = client.call(method, f"{API}/{what.format(row['id'])}", token=token)
                assert done.status_code < 300, done.json
        assert len(seen) == len({*seen}) == 5

    for method, what in (("DELETE", "notifications/{}"), ("POST", "notifications/{}/send")):
        for _ in range(5):
            client.call("POST", NOTIFICATIONS, {**NEWS, "draft": True}, token=token)
        each("search?status=draft", "notifications", method, what)
    for number in range(5):
        template = {"name": f"Template {number}", "alert": {"title": "Goal"}}
        client.call("POST", f"{API}/templates", template, token=token)
    each("templates", "templates", "DELETE", "templates/{}")


LIMITS = ("0", "101", "-1", "%D9%A1", "", "x")
CURSORS = ("", "%00", "-1", "cooking", "9" * 400)


@pytest.mark.parametrize("path", ["topics", "stories", "notifications"])
def test_an_invalid_limit_or_cursor_is_refused(client: Client, token: str, path: str) -> None:
    for field, values in (("limit", LIMITS), ("cursor", CURSORS)):
        for value in values:
            refused = client.call("GET", f"{API}/{path}?{field}={value}", token=token)
            assert refused.status_code == 422, (field, value)
            assert refused.json["errors"][0]["field"] == field, value
