"""The jobs that RQ calls in a fetch process, each for what is stored under an id."""

from __future__ import annotations

import sys

from redis import RedisError

from service.config import Config
from service.domain.store_errors import in_one_line
from service.model.articles import Article, Reading
from service.store import WORKER, connect
from service.store.articles import Articles
from workers.fetching.article import read_article
from workers.fetching.fetch import CannotFetch, Fetcher, Limits

_LIMITS = Limits()
_HTML = ("text/html", "application/xhtml+xml", "")

_reader: ArticleReader | None = None


class ArticleReader:
    """Reads articles, with what a fetch process has: the store's articles, and the way out."""

    def __init__(self, config: Config) -> None:
        self._articles = Articles(connect(config.store_url or config.redis_url, WORKER))
        self._fetcher = Fetcher(config.fetch_origins, config.push_ca_bundle, config.proxy_to)

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


def prepare(config: Config) -> None:
    """Let jobs work with these settings."""
    global _reader
    _reader = ArticleReader(config)


def read(id: str) -> None:
    """Read the article that is stored under an id; a second time, or too late, it does nothing."""
    assert _reader is not None  # noqa: S101 - `prepare` was called
    try:
        _reader.read(id)
    except RedisError as error:
        print(f"fetch: {in_one_line(error)}", file=sys.stderr, flush=True)
