"""Reads feeds for the clock, and asks hubs to call us."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timezone
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Final
from urllib.parse import urlencode

from service.model.language.links import Origin, web_address
from service.model.newsroom.feed_requests import FeedAnswer, FeedRequest
from service.model.newsroom.feeds import FeedFault, FeedReading
from service.store.newsroom.feeds import FeedRequests
from workers.fetching.feed import read_feed
from workers.fetching.feed_text import LARGEST
from workers.fetching.fetch import Asking, CannotFetch, Fetched, Fetcher, Limits

_log = logging.getLogger(__name__)

_LIMITS: Final = Limits(seconds=8.0, size=LARGEST)
_KINDS: Final = (
    "application/atom+xml, application/rss+xml, application/feed+json, application/json;q=0.9,"
    " application/xml;q=0.9, text/xml;q=0.9, */*;q=0.5"
)
_LONGEST_WAIT: Final = 86_400  # seconds


class FeedReader:
    """Does what is stored under an id, with what a fetch process has."""

    def __init__(self, requests: FeedRequests, fetcher: Fetcher) -> None:
        self._requests = requests
        self._fetcher = fetcher

    def do(self, id: str) -> None:
        """Do what is stored under an id, and store what came of it there."""
        text = self._requests.get(id)
        if text is None:
            return
        try:
            asked = FeedRequest.from_json(text)
        except (TypeError, ValueError):  # another release has written it
            return
        result = self._ask_hub(asked) if asked.hub else self._read(asked).as_json()
        self._requests.keep(id, result)

    def _read(self, asked: FeedRequest) -> FeedAnswer:
        headers = {"accept": _KINDS}
        if asked.etag:
            headers["if-none-match"] = asked.etag
        if asked.modified:
            headers["if-modified-since"] = asked.modified
        try:
            found = self._fetcher.fetch(asked.address, _LIMITS, Asking(headers=headers))
        except CannotFetch as error:
            return FeedAnswer(FeedReading(error.address, fault=FeedFault(error.fault.value)))
        wait, digest = _wait(found.headers), _digest(found)
        is_asked = "if-none-match" in headers or "if-modified-since" in headers
        if (found.status == 304 and is_asked) or (
            found.status < 400 and digest and digest == asked.digest
        ):
            reading = FeedReading(found.address, found.status, unchanged=True)
            return FeedAnswer(reading, asked.digest, wait)
        reading = _reading(found)
        if not digest:  # with its tag, what is missing would count as known
            reading = replace(reading, etag="", modified="")
        return FeedAnswer(reading, digest, wait)

    def _ask_hub(self, asked: FeedRequest) -> str:
        """Ask a hub to call us, or to call us no more; return the status of its answer.

        Only a setting lets us reach some origins of the newsroom. A hub there must be named by a
        feed that is there too.
        """
        inward = self._fetcher.origins
        if _origin(asked.hub) in inward and _origin(asked.named_by) not in inward:
            return FeedFault.NOT_PUBLIC.value
        form = {
            "hub.callback": asked.callback,
            "hub.mode": "subscribe" if asked.lease else "unsubscribe",
            "hub.topic": asked.address,
        }
        if asked.lease:
            form["hub.lease_seconds"] = str(asked.lease)
        fields = {"content-type": "application/x-www-form-urlencoded"}
        asking = Asking("POST", fields, urlencode(form).encode())
        try:
            return str(self._fetcher.fetch(asked.hub, _LIMITS, asking).status)
        except CannotFetch as error:
            return error.fault.value


def _origin(address: str) -> str:
    found = web_address(address)
    return str(Origin.of(found)) if found else ""


def _digest(found: Fetched) -> str:
    """Return what tells these bytes from others; "" if the connection ended within them."""
    is_cut = not found.is_whole and len(found.body) < LARGEST
    return "" if is_cut else sha256(found.body).hexdigest()


def _reading(found: Fetched) -> FeedReading:
    if found.status >= 400 or found.status == 304:  # to a request without a condition
        return FeedReading(found.address, found.status, FeedFault.STATUS)
    kind = found.headers.get("content-type", "")
    try:
        reading = read_feed(found.body, found.address, kind, found.headers)
    except Exception:
        # Without an answer the feed would be asked for each minute, and nobody be told.
        _log.exception("a feed that cannot be read")
        reading = FeedReading(found.address, fault=FeedFault.BROKEN)
    return replace(reading, status=found.status)


def _wait(headers: Mapping[str, str]) -> int:
    """Return for how many seconds a server asks us not to come again; 0: it does not say."""
    found = 0
    for part in headers.get("cache-control", "").lower().split(","):
        name, _, value = part.strip().partition("=")
        if name == "max-age" and value.isascii() and value.isdigit():
            found = int(value[:9])
    again = headers.get("retry-after", "").strip()
    if again.isascii() and again.isdigit():
        found = max(found, int(again[:9]))
    elif again:
        try:
            at = parsedate_to_datetime(again)
            known = at if at.tzinfo else at.replace(tzinfo=timezone.utc)
            found = max(found, int(known.timestamp() - time.time()))
        except (ValueError, OverflowError):
            pass
    return min(found, _LONGEST_WAIT)
