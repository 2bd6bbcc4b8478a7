"""The jobs that RQ calls in a fetch process, each for what is stored under an id.

Each is done in a thread, some at once: most of their time is spent waiting for servers of others,
and one that hangs for ten seconds would delay all feeds behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore

from redis import RedisError

from service.config import Config
from service.domain.store_errors import in_one_line
from service.model.newsroom.articles import Article, Reading
from service.model.newsroom.webhooks import CALL_SECONDS, Answer
from service.model.operations import traces
from service.model.operations.process_log import say_at_times
from service.store import WORKER, connect
from service.store.newsroom.articles import Articles
from service.store.newsroom.calls import Calls
from service.store.newsroom.feeds import FeedRequests
from workers.fetching.article import read_article
from workers.fetching.feed_jobs import FeedReader
from workers.fetching.fetch import Asking, CannotFetch, Fetcher, Limits

_log = logging.getLogger(__name__)

_LIMITS = Limits()
_OF_CALLS = Limits(seconds=CALL_SECONDS, size=1 << 12)  # nobody reads what a webhook answers
_HTML = ("text/html", "application/xhtml+xml", "")

_AT_ONCE = 8
_threads = ThreadPoolExecutor(_AT_ONCE, "fetch")
_free = BoundedSemaphore(_AT_ONCE)  # further jobs wait in the queue

_reader: ArticleReader | None = None
_feeds: FeedReader | None = None
_caller: Caller | None = None


class ArticleReader:
    """Reads articles, with what a fetch process has: the store's articles, and the way out."""

    def __init__(self, articles: Articles, fetcher: Fetcher) -> None:
        self._articles = articles
        self._fetcher = fetcher

    def read(self, id: str) -> None:
        """Read the article stored under an id, and store what came of it there."""
        asked = self._articles.get(id)
        if asked is not None and asked.reading is None:
            self._articles.keep(id, self._reading(asked.link).as_json())

    def _reading(self, link: str) -> Reading:
        try:
            found = self._fetcher.fetch(link, _LIMITS)
        except CannotFetch as error:
            return Reading(error.address, fault=error.fault)
        kind = found.headers.get("content-type", "")
        article = Article()
        if found.status < 400 and kind.partition(";")[0].strip().lower() in _HTML:
            article = read_article(found.body, found.address, kind)
        return Reading(found.address, found.status, article=article)


class Caller:
    """Calls webhooks; what it sends was signed by the clock."""

    def __init__(self, calls: Calls, fetcher: Fetcher) -> None:
        self._calls = calls
        self._fetcher = fetcher

    def call(self, id: str) -> None:
        """Send the request stored under an id, and store what came of it there."""
        request = self._calls.to_send(id)
        if request is not None:
            asking = Asking("POST", request.headers, request.body)
            self._calls.answered(id, self._answer(request.address, asking).as_json())

    def _answer(self, address: str, asking: Asking) -> Answer:
        try:
            found = self._fetcher.fetch(address, _OF_CALLS, asking)
        except CannotFetch as error:
            return Answer(fault=error.fault.value)
        return Answer(found.status, retry_after=found.headers.get("retry-after", ""))


def prepare(config: Config) -> None:
    """Let jobs work with these settings."""
    global _reader, _feeds, _caller
    redis = connect(config.store_url or config.redis_url, WORKER)
    fetcher = Fetcher(config.fetch_origins, config.push_ca_bundle, config.proxy_to)
    _reader, _caller = ArticleReader(Articles(redis), fetcher), Caller(Calls(redis), fetcher)
    _feeds = FeedReader(FeedRequests(redis), fetcher)


def read(id: str) -> None:
    """Read the article that is stored under an id; a second time, or too late, it does nothing."""
    assert _reader is not None  # noqa: S101 - `prepare` was called
    _in_a_thread("read article", _reader.read, id)


def read_feed(id: str) -> None:
    """Read the feed that is stored under an id, or ask its hub; a second time it does nothing."""
    assert _feeds is not None  # noqa: S101
    _in_a_thread("read feed", _feeds.do, id)


def call(id: str) -> None:
    """Make the call that is stored under an id; a second time, or too late, it does nothing."""
    assert _caller is not None  # noqa: S101 - `prepare` was called
    _in_a_thread("call webhook", _caller.call, id)


def _in_a_thread(name: str, work: Callable[[str], None], id: str) -> None:
    """Begin a job, and wait as long as no thread is free."""
    _free.acquire()
    _threads.submit(_do, name, work, id)


def _do(name: str, work: Callable[[str], None], id: str) -> None:
    """Do a job, and report what ended it; the code that waits for the result asks again."""
    try:
        with traces.span(name):
            work(id)
    except RedisError as error:
        say_at_times("fetch", in_one_line(error))
    except Exception:
        _log.exception("a job was ended by an error")
    finally:
        _free.release()
