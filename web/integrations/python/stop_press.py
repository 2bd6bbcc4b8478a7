"""A client of the Stop Press API in one file, for Python 3.9 and later; copy it into your project.

    from stop_press import StopPress

    press = StopPress("https://push.example", token)
    alert = press.publish("Ferry aground", "https://paper.example/ferry", topics=["world"])
    print(alert["id"], alert["recipients"])

A call that gets no answer, or one that says "later" (429, 502, 503, 504), is sent again with the
same `Idempotency-Key`, so that nothing is sent twice. What is refused raises `Refused`. For calls
such as `send` and `cancel` that may also mean that an earlier attempt has arrived: read the alert.
What a second call would do again (`skip` without `if_match`, `move_topic`, `add_webhook`,
`add_publish_hook`) is not sent again after `NoAnswer` or a 5xx: look first whether it was done.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

Json = dict[str, Any]

_LATER = (429, 502, 503, 504)
_NOT_DONE = (429,)  # the others may come of a call that was done
_LONGEST_WAIT = 60.0  # seconds between two attempts


class Refused(Exception):
    """A call that was refused; the message says what to do about it (RFC 9457)."""

    def __init__(self, status: int, problem: Json) -> None:
        super().__init__(problem.get("detail") or f"HTTP {status}")
        self.status = status
        self.errors: list[Json] = problem.get("errors", [])  # field and detail of each
        self.alert: str | None = problem.get("alert")  # the alert that is in the way (409)
        self.etag: str | None = problem.get("etag")  # of the alert as it is now (412)


class NoAnswer(Exception):
    """No attempt got an answer.

    To call again with the same key or reference sends nothing twice.
    """


class _NoRedirect(HTTPRedirectHandler):
    """A redirected POST would become a GET, and the token be sent to wherever it leads."""

    def redirect_request(self, *_: Any) -> None:
        return None


class StopPress:
    """The API of one Stop Press, at its `SITE_URL`.

    `timeout` is in seconds; `attempts` is how often a call is tried at most.
    """

    def __init__(
        self, address: str, token: str, *, timeout: float = 10.0, attempts: int = 4
    ) -> None:
        self._api = f"{address.rstrip('/')}/api/v1"
        self._token = token.strip()  # a file ends with a line end
        self._timeout = timeout
        self._attempts = attempts
        self._open = build_opener(_NoRedirect).open

    # -- alerts ------------------------------------------------------------------------------------

    def publish(
        self,
        title: str,
        url: str,
        *,
        topics: Sequence[str] = (),
        everyone: bool = False,
        audience: Mapping[str, Any] | None = None,
        reference: str | None = None,
        key: str | None = None,
        **fields: Any,
    ) -> Json:
        """Publish an alert; return its `id`, `status`, `recipients` and `warnings`.

        Say who gets it by `topics`, by `everyone=True`, or by an `audience` as the API takes it,
        which `topics` complete.
        A `reference` is your own id of the story: a second call with it changes what is planned.
        `key` is an `Idempotency-Key`; without both, each call publishes anew. Further fields are
        those of the API, such as `body`, `kind="breaking"`, `send_at`, `draft=True` or
        `once_per_link=True`, with which a second alert to the same link is `Refused` for a day.
        """
        to = dict(audience or {})
        if everyone:
            to["everyone"] = True
        if topics:
            to["topics"] = [topics] if isinstance(topics, str) else [*topics]
        alert = {"title": title, "url": url, "audience": to, **fields}
        if reference is not None:
            alert["reference"] = reference
        elif key is None:
            key = uuid.uuid4().hex
        return self._call("POST", "/notifications", alert, key=key)

    def alert(self, id: str) -> Json:
        """Return an alert and how far it has come; its `etag` is for `if_match` below."""
        return self._call("GET", f"/notifications/{id}")

    def alerts(self) -> Iterator[Json]:
        """Yield all alerts, the newest first, page by page."""
        return self._pages("/notifications", "notifications")

    def change(self, id: str, *, if_match: str | None = None, **fields: Any) -> Json:
        """Change a draft or a scheduled alert; what is not given stays.

        With the `etag` that you saw as `if_match`, here and in `delete` and `send`, the call is
        `Refused` (412) if the alert was changed since.
        """
        return self._call("PATCH", f"/notifications/{id}", fields, if_match=if_match)

    def delete(self, id: str, *, if_match: str | None = None) -> None:
        """Delete a draft or a scheduled alert."""
        self._call("DELETE", f"/notifications/{id}", if_match=if_match)

    def send(self, id: str, *, if_match: str | None = None) -> Json:
        """Send a draft or a scheduled alert now."""
        return self._call("POST", f"/notifications/{id}/send", if_match=if_match)

    def pause(self, id: str) -> Json:
        """Pause an alert that is being sent."""
        return self._call("POST", f"/notifications/{id}/pause")

    def resume(self, id: str) -> Json:
        """Go on sending a paused alert."""
        return self._call("POST", f"/notifications/{id}/resume")

    def cancel(self, id: str) -> Json:
        """Cancel an alert; who has it keeps it."""
        return self._call("POST", f"/notifications/{id}/cancel")

    def correct(self, id: str, *, key: str | None = None, **texts: str) -> Json:
        """Correct `title`, `body` or `url`, also on screens that show the alert."""
        return self._call(
            "POST", f"/notifications/{id}/correct", texts, key=key or uuid.uuid4().hex
        )

    def reach(self, **audience: Any) -> int:
        """Return how many browsers an audience has now, such as `topics=["world"]`."""
        return int(self._call("POST", "/audience", audience)["recipients"])

    def skip(self, id: str, *, if_match: str | None = None) -> Json:
        """Leave out the next time of an alert that repeats; with `if_match` no second one."""
        path = f"/notifications/{id}/skip"
        return self._call("POST", path, if_match=if_match, repeats=if_match is not None)

    def search(self, **wanted: str) -> Iterator[Json]:
        """Yield the alerts that are looked for, such as `text="ferry", since="2026-12-01"`.

        Further conditions are `status`, `kind`, `topic`, `by` and `until`.
        """
        return self._pages("/search", "notifications", wanted)

    def sent_before(self, url: str) -> Json | None:
        """Return the latest alert with this link that was sent or is planned, if there is one."""
        found: Json | None = self._call("GET", f"/links?{urlencode({'url': url})}")["alert"]
        return found

    def article(self, url: str, *, wait: float = 5.0) -> Json:
        """Return what the page behind a link says of itself, with its `problems` in words.

        It is waited for so many seconds; `is_read` says whether it was read by then.
        """
        found, ends = self._call("POST", "/articles", {"url": url}), time.monotonic() + wait
        while not found["is_read"] and not found["problems"] and time.monotonic() < ends:
            time.sleep(0.5)
            found = self._call("GET", f"/articles/{found['id']}")
        return found

    def figures(self, id: str) -> Json:
        """Return what readers did with an alert."""
        return self._call("GET", f"/notifications/{id}/figures")

    # -- topics ------------------------------------------------------------------------------------

    def topics(self) -> list[Json]:
        """Return the topics in the newsroom's order."""
        return [*self._pages("/topics", "topics")]

    def add_topic(self, slug: str, name: str, **fields: Any) -> Json:
        """Add a topic that readers can follow."""
        return self._call("POST", "/topics", {"slug": slug, "name": name, **fields})

    def change_topic(self, slug: str, **fields: Any) -> Json:
        """Change a topic; what is not given stays."""
        return self._call("PATCH", f"/topics/{quote(slug, safe='')}", fields)

    def remove_topic(self, slug: str) -> None:
        """Delete a topic, and forget who follows it."""
        self._call("DELETE", f"/topics/{quote(slug, safe='')}")

    def move_topic(self, slug: str, to: str) -> Json:
        """Move a topic one place `up` or `down` in the newsroom's order."""
        path = f"/topics/{quote(slug, safe='')}/move"
        return self._call("POST", path, {"to": to}, repeats=False)

    def merge_topic(self, slug: str, into: str) -> Json:
        """Let the followers of a topic follow another one, to which its slug then leads."""
        return self._call("POST", f"/topics/{quote(slug, safe='')}/merge", {"into": into})

    # -- templates and saved audiences -------------------------------------------------------------

    def templates(self) -> list[Json]:
        """Return the templates by name; the `alert` of each is what a new alert begins with."""
        return [*self._pages("/templates", "templates")]

    def add_template(self, name: str, **alert: Any) -> Json:
        """Save a template, of any fields of a new alert but its time."""
        return self._call("POST", "/templates", {"name": name, "alert": alert})

    def rename_template(self, id: str, name: str) -> Json:
        """Give a template another name."""
        return self._call("PATCH", f"/templates/{id}", {"name": name})

    def remove_template(self, id: str) -> None:
        """Delete a template."""
        self._call("DELETE", f"/templates/{id}")

    def saved_audiences(self) -> list[Json]:
        """Return the saved audiences by name; the `audience` of each is for `publish`."""
        return [*self._pages("/audiences", "audiences")]

    def save_audience(self, name: str, **audience: Any) -> Json:
        """Save an audience under a name, such as `topics=["sport"], locales=["en"]`."""
        return self._call("POST", "/audiences", {"name": name, "audience": audience})

    def rename_audience(self, id: str, name: str) -> Json:
        """Give a saved audience another name."""
        return self._call("PATCH", f"/audiences/{id}", {"name": name})

    def remove_audience(self, id: str) -> None:
        """Delete a saved audience."""
        self._call("DELETE", f"/audiences/{id}")

    # -- feeds, webhooks and publish hooks ---------------------------------------------------------

    def feeds(self) -> list[Json]:
        """Return the feeds that are watched, by name."""
        return [*self._pages("/feeds", "feeds")]

    def add_feed(self, url: str, **rules: Any) -> Json:
        """Watch a feed, such as with `topics=["world"], draft=False`."""
        return self._call("POST", "/feeds", {"url": url, **rules})

    def change_feed(self, id: str, **rules: Any) -> Json:
        """Change the rules of a feed; `active=False` pauses it."""
        return self._call("PATCH", f"/feeds/{id}", rules)

    def read_feed(self, id: str) -> Json:
        """Have a feed read at once."""
        return self._call("POST", f"/feeds/{id}/read")

    def remove_feed(self, id: str) -> None:
        """Watch a feed no more."""
        self._call("DELETE", f"/feeds/{id}")

    def webhooks(self) -> list[Json]:
        """Return the webhooks, which hear what happens."""
        return [*self._pages("/webhooks", "webhooks")]

    def add_webhook(self, address: str, events: Sequence[str]) -> Json:
        """Add a webhook; the answer alone has its `secret`."""
        webhook = {"address": address, "events": [*events]}
        return self._call("POST", "/webhooks", webhook, repeats=False)

    def change_webhook(self, id: str, **fields: Any) -> Json:
        """Change a webhook; `paused=True` pauses it."""
        return self._call("PATCH", f"/webhooks/{id}", fields)

    def remove_webhook(self, id: str) -> None:
        """Remove a webhook."""
        self._call("DELETE", f"/webhooks/{id}")

    def publish_hooks(self) -> list[Json]:
        """Return the publish hooks, whose `address` a CMS calls when it publishes a story."""
        return [*self._pages("/publish-hooks", "hooks")]

    def add_publish_hook(self, name: str, places: Mapping[str, str], **fields: Any) -> Json:
        """Add a publish hook: its `address`, and its `secret`, which no later answer has."""
        hook = {"name": name, "places": {**places}, **fields}
        return self._call("POST", "/publish-hooks", hook, repeats=False)

    def change_publish_hook(self, id: str, **fields: Any) -> Json:
        """Change a publish hook; what is not given stays, as its secret does."""
        return self._call("PATCH", f"/publish-hooks/{id}", fields)

    def renew_publish_hook(self, id: str) -> Json:
        """Make a new secret for a publish hook; the one before counts no more."""
        return self._call("POST", f"/publish-hooks/{id}/secret")

    def remove_publish_hook(self, id: str) -> None:
        """Remove a publish hook."""
        self._call("DELETE", f"/publish-hooks/{id}")

    # -- stories, and the newsroom as a whole ------------------------------------------------------

    def stories(self) -> list[Json]:
        """Return the running stories, the one with the latest alert first."""
        return [*self._pages("/stories", "stories")]

    def close_story(self, slug: str) -> None:
        """Close a running story."""
        self._call("DELETE", f"/stories/{quote(slug, safe='')}")

    def totals(self, days: int = 28) -> Json:
        """Count readers and alerts of the last days."""
        return self._call("GET", f"/totals?days={days}")

    def log(self, **wanted: str) -> Iterator[Json]:
        """Yield what was done with alerts, the latest first, page by page.

        `title`, `by`, `action`, `since` and `until` narrow it down.
        """
        return self._pages("/log", "entries", wanted)

    def stopped(self) -> Json:
        """Say whether everything is stopped, since when, and who did it."""
        return self._call("GET", "/stop")

    def stop_everything(self) -> Json:
        """Stop every alert within a second."""
        return self._call("POST", "/stop")

    def release(self) -> None:
        """Send again, if this tool has stopped everything."""
        self._call("DELETE", "/stop")

    # ----------------------------------------------------------------------------------------------

    def _pages(
        self, path: str, rows: str, wanted: Mapping[str, str] | None = None
    ) -> Iterator[Json]:
        page: Json = {"next_cursor": ""}
        while (cursor := page["next_cursor"]) is not None:
            query = {"limit": "100", **(wanted or {}), **({"cursor": cursor} if cursor else {})}
            page = self._call("GET", f"{path}?{urlencode(query)}")
            yield from page[rows]

    def _call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        key: str | None = None,
        if_match: str | None = None,
        repeats: bool = True,
    ) -> Json:
        later = _LATER if repeats else _NOT_DONE
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key is not None:
            headers["Idempotency-Key"] = key
        if if_match is not None:
            headers["If-Match"] = if_match
        data = None if body is None else json.dumps(body).encode()
        # The scheme of the address is the caller's own choice.
        request = Request(f"{self._api}{path}", data, headers, method=method)  # noqa: S310
        for attempt in range(1, self._attempts + 1):
            wait = float(2 ** (attempt - 1))
            try:
                with self._open(request, timeout=self._timeout) as response:
                    text, etag = response.read(), response.headers["ETag"]
                    answer = _read(text) if text else {}
                    return {**answer, "etag": etag} if etag else answer
            except HTTPError as error:
                refused = Refused(error.code, _problem(error))
                if error.code not in later or attempt == self._attempts:
                    raise refused from None
                asked = error.headers.get("Retry-After", "")
                wait = float(asked) if asked.isdigit() else wait
            except (OSError, HTTPException) as error:
                if not repeats or attempt == self._attempts:
                    raise NoAnswer(str(error)) from error
            time.sleep(min(wait, _LONGEST_WAIT))
        raise AssertionError("the last attempt returns or raises")


def _read(text: bytes) -> Json:
    """Return what the service has answered; anything else comes from something in between."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OSError("the answer is not one of Stop Press; is this its address?")
    return found


def _problem(error: HTTPError) -> Json:
    with error:
        if 300 <= error.code < 400 and "Location" in error.headers:
            return {"detail": f"the address leads to {error.headers['Location']}: use that one"}
        try:
            return _read(error.read())
        except (OSError, HTTPException):
            return {"detail": f"HTTP {error.code}, and not from Stop Press; is this its address?"}
