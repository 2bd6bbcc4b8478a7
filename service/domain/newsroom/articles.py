"""Articles that alerts lead to: a fetch process reads their pages, and editors hear what is wrong.

Web processes never connect to an address that an editor wrote. They store the link under an id, the
job for the fetch process carries that id, and the result comes back under it. Nothing waits for it:
without a fetch process an editor writes the alert without help.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

from redis import RedisError

from service.domain.sending.job_queue import READ_ARTICLE, FetchQueue
from service.model.language.links import asks_to_sign_in, is_preview, web_address, with_scheme
from service.model.network.addresses import is_loopback
from service.model.newsroom.articles import Article, Fault, Reading
from service.store import Store

NOBODY = "The page behind the link was not looked at, because no fetch process runs."
_FAULTS = {
    Fault.NO_ADDRESS: "The link leads to something that is no web page.",
    Fault.UNKNOWN_HOST: "There is no host {host}. Check the spelling of the link.",
    Fault.NOT_PUBLIC: "{host} is at a private address, which readers cannot reach. Your"
    " operator can let such pages be read (FETCH_ORIGINS).",
    Fault.UNREACHABLE: "{host} does not answer.",
    Fault.CERTIFICATE: "The certificate of {host} is not valid, so that browsers warn readers.",
    Fault.TOO_LATE: "{host} did not answer within three seconds.",
    Fault.REDIRECTS: "The link is redirected again and again.",
    Fault.NO_HTTP: "{host} answers with something that is no web page.",
    Fault.NO_WAY: "The page could not be looked at: there is no way from here to {host}.",
}
_NOT_THERE = (404, 410)
_NOT_FOR_ALL = (401, 403, 407)


class NotALink(ValueError):
    """A text that is no web address."""


@dataclass(frozen=True, slots=True)
class Request:
    """A link that is being read, or was."""

    id: str
    link: str  # in its usual form


@dataclass(frozen=True, slots=True)
class Result:
    """What is known of a link so far."""

    link: str
    reading: Reading | None  # None: it was not read yet

    @property
    def article(self) -> Article:
        """What the page says of itself; empty if there is no page, or one to sign in."""
        if self.reading is None or _leads_to_sign_in(self.reading):
            return Article()
        return self.reading.article

    def problems(self, title: str) -> Iterator[str]:
        """Yield what an editor should know of the link of an alert with this title."""
        link = urlsplit(self.link)
        if link.scheme == "http" and not is_loopback(link.hostname or ""):
            yield "The link begins with http://. Readers’ browsers need https://."
        reading = self.reading
        if is_preview(self.link) or (reading is not None and is_preview(reading.address)):
            own = reading.article.address if reading is not None else ""
            there = f" The article’s own address is {own}" if own and not is_preview(own) else ""
            yield f"This link leads to a preview, which readers cannot open.{there}"
        if reading is None:
            return
        host = urlsplit(reading.address).hostname or "The link"
        if reading.fault is not None:
            yield _FAULTS[reading.fault].format(host=host)
        elif reading.status in _NOT_THERE:
            yield f"The page does not exist ({host} answers {reading.status})."
        elif reading.status in _NOT_FOR_ALL:
            yield f"{host} does not let everybody read the page (it answers {reading.status})."
        elif reading.status >= 400:
            yield f"{host} does not give the page (it answers {reading.status})."
        elif _leads_to_sign_in(reading):
            yield "The link leads to a page where readers have to sign in."
        elif title and reading.article.title and not _alike(title, reading.article.title):
            yield f"The page has another title: “{reading.article.title}”"


class Articles:
    """What the pages behind links say of themselves."""

    def __init__(self, store: Store, queue: FetchQueue) -> None:
        self._articles = store.articles
        self._queue = queue

    def ask(self, text: str) -> Request:
        """Have the page behind a link read; `NotALink`.

        Does nothing if that was asked within a minute, or if no fetch process runs.
        """
        link = web_address(with_scheme(text.strip()))
        if not link:
            raise NotALink
        request = Request(_id(link), link)
        if self.has_readers() and self._articles.ask(request.id, link):
            self._queue.ask(READ_ARTICLE, request.id)
        return request

    def look_at(self, url: str) -> None:
        """Have the page behind an alert's link read if possible; an alert never depends on it."""
        with suppress(NotALink, RedisError):
            self.ask(url)

    def has_readers(self) -> bool:
        """Whether a fetch process runs."""
        return self._queue.workers() > 0

    def result(self, id: str) -> Result | None:
        """Return what is known of a link that was asked for lately; None: nothing."""
        found = self._articles.get(id)
        if found is None:
            return None
        if found.reading is None:
            return Result(found.link, None)
        with suppress(ValueError):
            return Result(found.link, Reading.from_json(found.reading))
        return None  # another release has written it

    def link_check(self, url: str, title: str) -> list[str]:
        """Return what an editor should know of an alert's link, as far as its page was read."""
        link = web_address(url)
        if not link:
            return []
        result = self.result(_id(link)) or Result(link, None)
        problems = list(result.problems(title))
        if result.reading is None and not self.has_readers():
            problems.append(NOBODY)
        return problems

    def is_being_read(self, url: str) -> bool:
        """Whether the page behind an alert's link is still to be read, and will be."""
        result = self.result(_id(web_address(url)))
        return result is not None and result.reading is None and self.has_readers()


def _id(link: str) -> str:
    return sha256(link.encode()).hexdigest()[:32]


def _leads_to_sign_in(reading: Reading) -> bool:
    return reading.article.asks_to_sign_in or asks_to_sign_in(reading.address)


def _alike(one: str, other: str) -> bool:
    """Whether two titles have the same words, or one has those of the other and more."""
    one, other = (
        " ".join("".join(c if c.isalnum() else " " for c in title.casefold()).split())
        for title in (one, other)
    )
    return one in other or other in one
