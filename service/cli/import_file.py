"""What an import has to know of the whole file: the newest row of each reader, names of topics."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping

from service.cli import reader_rows
from service.local.reader_files import Row, column_name
from service.model.notifications import Topic

_LEAST, _MOST = 1 << 16, 1 << 25  # bytes of the table of endpoints
_MOST_UNKNOWN = 1000  # names that are counted each for itself
_LONGEST_NAME = 100  # characters


class Survey:
    """Finds out which row counts where several have the same endpoint, by a first reading.

    Only endpoints that seem to be there twice are noted, so that memory stays flat: most rows set
    two bits of a table.
    """

    def __init__(self, size: int, column: str, can_take: Callable[[Row], bool]) -> None:
        """`size` is that of the file, `column` one that rows should have; may be empty.

        A row that `can_take` refuses never counts as the newest, so that a usable one does.
        """
        self._can_take = can_take
        self._bits = bytearray(max(_LEAST, min(size // 10, _MOST)))
        self._newest: dict[int, tuple[float, int]] = {}  # by the hash of an endpoint
        self._column = column
        self.has_column = not column

    def look(self, row: Row) -> None:
        """Take a row of the first reading."""
        if row.why:
            return
        self.has_column = self.has_column or reader_rows.has_column(row.fields, self._column)
        endpoint = reader_rows.endpoint_in(row.fields)
        if endpoint and not self._is_new(hash(endpoint)):
            self._newest_with(hash(endpoint), row)

    def is_older(self, row: Row) -> bool:
        """Whether another row, of those that are read or come yet, is newer for the same reader."""
        if row.why or not self._newest:
            return False
        digest = hash(reader_rows.endpoint_in(row.fields))
        return digest in self._newest and self._newest_with(digest, row) > _order(row)

    def _is_new(self, digest: int) -> bool:
        bits, new = 8 * len(self._bits), False
        for place in (digest % bits, (digest >> 30) % bits):
            byte, bit = place >> 3, 1 << (place & 7)
            new = new or not self._bits[byte] & bit
            self._bits[byte] |= bit
        return new

    def _newest_with(self, digest: int, row: Row) -> tuple[float, int]:
        """Return the newest row with an endpoint, of which this is one; (0, 0) if none is whole."""
        newest = self._newest.get(digest, (0.0, 0))
        if _order(row) > newest and self._can_take(row):
            newest = _order(row)
        self._newest[digest] = newest
        return newest


def _order(row: Row) -> tuple[float, int]:
    return reader_rows.latest_time(row.fields), row.number


class TopicNames:
    """Finds our topics by what rows of another service call them."""

    def __init__(self, column: str, renamed: Mapping[str, str], named: Mapping[str, Topic]) -> None:
        """Take the column with the names, and our slugs by names that are not like ours."""
        self._column = column
        self._slugs = {_alike(one.name): one.slug for one in named.values()}
        self._slugs |= {_alike(slug): one.slug for slug, one in named.items()}
        self._slugs |= {_alike(name): slug for name, slug in renamed.items()}
        self.unknown = Counter[str]()  # names that fit no topic of ours, by rows

    def of(self, fields: Mapping[str, object]) -> set[str]:
        """Return the slugs of the topics that a row names."""
        found = set[str]()
        for name in reader_rows.topic_names(fields, self._column):
            whole = self._slugs.get(_alike(name))
            words = [whole] if whole else [self._slugs.get(_alike(one)) for one in name.split()]
            if words and None not in words:
                found.update(filter(None, words))
            elif name in self.unknown or len(self.unknown) < _MOST_UNKNOWN:
                self.unknown[name[:_LONGEST_NAME]] += 1
        return found


def renamed_topics(given: tuple[str, ...], known: Mapping[str, Topic]) -> dict[str, str]:
    """Read `--map THEIRS=SLUG`; `ValueError`, with what is wrong."""
    found = {}
    for one in given:
        name, is_pair, slug = one.rpartition("=")
        if not (is_pair and _alike(name)):
            raise ValueError(f"{one}: write THEIRS=SLUG")
        if slug not in known:
            raise ValueError(f"{slug} is no topic ({', '.join(known) or 'there is none'})")
        found[name] = slug
    return found


def column_of(text: str) -> str:
    """Return the name of a column, or of a field within it (`tags.section`), as rows have it."""
    return ".".join(map(column_name, text.split(".")))


def _alike(name: str) -> str:
    """Return what two names of one topic have in common: “Breaking News” and `breaking_news`."""
    return re.sub(r"[\W_]+", "-", name.casefold()).strip("-")
