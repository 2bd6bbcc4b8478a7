"""Recognises a feed's item when its link, id, title or date has changed (decision 106)."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import Match, SequenceMatcher
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import regex

_NEAR = 0.85  # how much of two titles is the same, at least
_SHORTEST_BEGINNING = 12  # characters; a title that goes on is nearly the same as its beginning
_MOST_OF_ONE_TIME = 20  # items; if more have one date, it is a day and not a time
_SAME_NEWS = 12 * 3600  # seconds between the dates of an item that was posted again
MOST_WORK = 2_000_000  # characters of titles that one reading compares
_MOST_PARTS = 1000  # of a title's letters: NFKD makes three of a Korean one, but up to 18 of others
_MOST_PARAMETERS = 100  # of a link that is taken apart
_BATCH = 5  # items that keep their titles when all else changes at once

_MOBILE = regex.compile(r"^(?:(?:www|m|mobile|amp)\.)+(?=[^.]+\.)")
# Google's copies of AMP pages: the page's own address follows.
_AMP_CACHE = regex.compile(
    r"^(?:[^/]+\.cdn\.ampproject\.org/[a-z]/(?:s/)?|(?:www\.)?google\.[a-z.]+/amp/(?:s/)?)"
)
_AMP_PATH = regex.compile(r"^/amp(?=/)|/amp/?$|\.amp(?=(?:\.html?)?$)")
_TRACKING = regex.compile(
    r"(?:utm|pk|mtm|piwik|at|ns|wt|mc|hsa|ga|_ga|stm|itm)_.*|(?:fb|g|d|gb|wb|tt|msc|tw|yc)cli[dk]\w*"
    r"|msclkid|igsh(?:id)?|xtor|cmp(?:id)?|cmpid|ito|ocid|ref|ref_?src|referrer|source|src|partner"
    r"|rss|feed|amp|outputtype|via|share|_ga|wt\.\w+|sp?m|smid|smtyp|traffic_source"
)


@dataclass(frozen=True, slots=True)
class Form:
    """How an item looked in the feed at one time."""

    guid: str
    link: str
    title: str
    date: float | None


class Remembered(NamedTuple):
    """A known item: its id, how it looked, and whether the last reading had it."""

    id: str
    forms: Sequence[Form]
    was_there: bool


@lru_cache(maxsize=4096)
def page_of(link: str) -> str:
    """Return what of a link tells one page from another; empty if nothing does.

    That is not the scheme, what marks an address for phones, for AMP or for counting, a slash at
    the end or a place within the page. A site's first page tells nothing.
    """
    try:
        parts = urlsplit(link)
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return link
    place = f"{parts.netloc.lower()}{parts.path}"
    place = _AMP_CACHE.sub("", place)
    host, _, path = place.partition("/")
    path = _AMP_PATH.sub("", f"/{unquote(path)}").rstrip("/")
    query = urlencode(sorted(pair for pair in pairs if not _TRACKING.fullmatch(pair[0].lower())))
    # Some sites of one page keep the path there.
    fragment = parts.fragment if parts.fragment.startswith(("!", "/")) else ""
    if not path and not query and not fragment:
        return ""
    return f"{_MOBILE.sub('', host)}{path}?{query}#{fragment}"


@lru_cache(maxsize=4096)
def words_in_order(title: str) -> str:
    """Return a title without case, and without what stands between its words."""
    apart = unicodedata.normalize("NFKD", title)[:_MOST_PARTS]
    usual = unicodedata.normalize("NFC", apart).casefold()
    return " ".join(regex.findall(r"[\p{L}\p{M}\p{N}]+", usual)) or usual.strip()


class Titles(SequenceMatcher[str]):
    """Compares the titles of one reading, as `words_in_order` returns them.

    A hostile feed can make each comparison slow. After MOST_WORK all titles are nearly the same,
    because in doubt an item is a known one, and nobody is alerted twice.
    """

    def __init__(self) -> None:
        super().__init__(autojunk=False)
        self.work = 0  # characters compared so far
        self._one = ""
        self._letters = Counter[str]()  # of the other

    def nearly_same(self, one: str, other: str) -> bool:
        """Whether two titles differ by a slip or an addition.

        Titles with different numbers are different: those of two results may differ in nothing
        else.
        """
        if one == other:
            return True
        shorter, longer = sorted((one, other), key=len)
        if longer.startswith(f"{shorter} ") and len(shorter) >= _SHORTEST_BEGINNING:
            return True
        length = len(one) + len(other)
        self.work += length
        if self.work > MOST_WORK:
            return True
        self._one, self._letters = one, Counter(other)
        if 2 * (Counter(one) & self._letters).total() / length < _NEAR:
            return False
        if regex.findall(r"\p{N}+", one) != regex.findall(r"\p{N}+", other):
            return False
        self.set_seqs(one, other)
        return self.ratio() >= _NEAR or self.work > MOST_WORK

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> Match:
        """Count what `ratio` compares, and find nothing after MOST_WORK."""
        self.work += sum(self._letters[one] for one in self._one[alo:ahi])
        if self.work > MOST_WORK:
            return Match(alo, blo, 0)
        return super().find_longest_match(alo, ahi, blo, bhi)


class _Look(NamedTuple):
    """A form as it is compared; empty where it tells nothing."""

    guid: str
    page: str
    title: str
    date: float | None

    @classmethod
    def of(cls, form: Form) -> _Look:
        return cls(form.guid, page_of(form.link), words_in_order(form.title), form.date)

    def is_another(self, other: _Look, titles: Titles) -> bool:
        """Whether link, title and date all differ, so that a common id means nothing."""
        return (
            bool(self.page and other.page)
            and self.page != other.page
            and None not in (self.date, other.date)
            and self.date != other.date
            and not titles.nearly_same(self.title, other.title)
        )


def recognise(known: Sequence[Remembered], forms: Sequence[Form]) -> list[str]:
    """Return the id of each form of a reading: that of a known item, or a new one."""
    return _Recogniser(known, [_Look.of(form) for form in forms]).ids()


class _Recogniser:
    """Compares one reading with the known items, what tells most first.

    An id or a link that several items have tells nothing of any of them.
    """

    def __init__(self, known: Sequence[Remembered], looks: Sequence[_Look]) -> None:
        self._looks = looks
        self._titles = Titles()
        self._found: dict[int, str] = {}  # by the place in the reading: the item's id
        self._exact: dict[_Look, str] = {}
        self._by_guid: dict[str, dict[str, list[_Look]]] = defaultdict(dict)
        self._by_page: dict[str, dict[str, list[_Look]]] = defaultdict(dict)
        self._by_time: dict[float, dict[str, list[_Look]]] = defaultdict(dict)
        self._by_title: dict[tuple[str, float], str] = {}  # and date
        self._ids = {one.id for one in known}
        self._were_there = [one for one in known if one.was_there]
        for one in known:
            for form in one.forms:
                self._remember(one.id, _Look.of(form))
        guids = {one.guid for one in looks if one.guid} | self._by_guid.keys()
        self._has_one_guid = len(guids) == 1  # for all items, one after another
        self._shared_guids = set(
            _shared(((one.guid, one) for one in looks), self._titles, by_page=True)
        )
        self._shared_pages = set(
            _shared(((one.page, one) for one in looks), self._titles, by_page=False)
        )

    def ids(self) -> list[str]:
        """Return the id of each item of the reading."""
        for way in (self._exact.get, self._with_guid, self._with_page, self._with_time):
            for at, look in self._unknown():
                self._take(at, way(look))
        self._corrected()
        self._posted_again()
        for at, look in self._unknown():
            # The reading may have a new item twice.
            id = self._with_guid(look) or self._with_page(look) or self._with_time(look)
            self._take(at, self._exact.get(look) or id or self._new_id(look))
        return [self._found[at] for at in range(len(self._looks))]

    def _unknown(self) -> Iterator[tuple[int, _Look]]:
        yield from ((at, one) for at, one in enumerate(self._looks) if at not in self._found)

    def _take(self, at: int, id: str | None) -> None:
        if id:
            self._found[at] = id

    def _remember(self, id: str, look: _Look) -> None:
        self._ids.add(id)
        self._exact[look] = id
        for index, key in ((self._by_guid, look.guid), (self._by_page, look.page)):
            if key:
                index[key].setdefault(id, []).append(look)
        if look.date is not None:
            self._by_time[look.date].setdefault(id, []).append(look)
            if look.title:
                self._by_title[look.title, look.date] = id

    # What tells an item from others --------------------------------------------------------------

    def _with_guid(self, look: _Look) -> str | None:
        found = self._by_guid.get(look.guid, {})
        if len(found) != 1 or look.guid in self._shared_guids:
            return None
        ((id, looks),) = found.items()
        is_another = self._has_one_guid and all(look.is_another(one, self._titles) for one in looks)
        return None if is_another else id

    def _with_page(self, look: _Look) -> str | None:
        found = self._by_page.get(look.page, {})
        if len(found) != 1 or look.page in self._shared_pages:
            return None
        return next(iter(found))

    def _with_time(self, look: _Look) -> str | None:
        """Find an item with the same title and date."""
        return None if look.date is None else self._by_title.get((look.title, look.date))

    # What only tells if the known item has left the feed ------------------------------------------

    def _corrected(self) -> None:
        """Find items with the same date and nearly the same title."""
        for at, look in self._unknown():
            found = self._by_time.get(look.date, {}) if look.date is not None else {}
            taken = set(self._found.values())
            if look.title and len(found) <= _MOST_OF_ONE_TIME:
                near = (
                    id
                    for id, looks in found.items()
                    if id not in taken and self._is_near(look.title, looks)
                )
                self._take(at, next(near, None))

    def _is_near(self, title: str, looks: Sequence[_Look]) -> bool:
        titles = dict.fromkeys(one.title for one in looks)
        return any(self._titles.nearly_same(one, title) for one in titles)

    def _posted_again(self) -> None:
        """Find items of the last reading that kept nothing but their titles."""
        taken = set(self._found.values())
        by_title: dict[str, tuple[str, _Look]] = {}
        for one in self._were_there:
            if one.id not in taken:
                look = _Look.of(one.forms[-1])
                by_title[look.title] = one.id, look
        found = [
            (at, look, *by_title[look.title])
            for at, look in self._unknown()
            if look.title and look.title in by_title
        ]
        is_batch = len({id for _, _, id, _ in found}) >= _BATCH
        for at, look, id, then in found:
            undated = look.date is None or then.date is None
            if is_batch or undated or abs((look.date or 0) - (then.date or 0)) <= _SAME_NEWS:
                self._take(at, id)

    def _new_id(self, look: _Look) -> str:
        """Return an id that does not change while what tells the item does not."""
        telling = [f"{look.title}\n{look.date}"]
        if look.page and look.page not in self._shared_pages:
            telling.insert(0, look.page)
        if look.guid and look.guid not in self._shared_guids:
            telling.insert(0, look.guid)
        text = telling[0]
        while (id := sha256(text.encode("utf-8", "replace")).hexdigest()[:16]) in self._ids:
            text = f"{text}\n{look}"
        self._remember(id, look)
        return id


def _shared(looks: Iterable[tuple[str, _Look]], titles: Titles, *, by_page: bool) -> Iterator[str]:
    """Yield what several items of a reading have in common."""
    first: dict[str, _Look] = {}
    for key, look in looks:
        one = first.setdefault(key, look)
        pages_differ = by_page and one.page and look.page and one.page != look.page
        if pages_differ or _titles_differ(one, look, titles):
            yield key


def _titles_differ(one: _Look, other: _Look, titles: Titles) -> bool:
    """Whether two entries of one reading are two items by their titles.

    With different ids they may be an item and its correction.
    """
    if not one.title or not other.title or one.title == other.title:
        return False
    is_correction = one.guid != other.guid or one.date == other.date
    return not (is_correction and titles.nearly_same(one.title, other.title))
