"""Moving to another installation: what an export has beside readers, and what becomes of it there.

A store into which nothing came yet takes the partitions of the export, and with them the readers'
ids, on which their tokens and receipts rest. Any other store takes the readers alone, who get ids
of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from service.domain.alerts.topics import MergedTopic, Topics
from service.domain.keys import Keys
from service.domain.operations.daily_totals import today
from service.domain.sending.receipts import EVENTS
from service.domain.too_many import TooMany
from service.model.notifications import Topic
from service.model.time import clock
from service.model.time.times import iso
from service.model.tokens import Tokens
from service.store import Store
from service.store.layout.partitions import MOST, VERSION, Partitions

FORM = 1  # of the lines below; a reader of them refuses a higher one
# The kinds of lines, in their order. Those of readers come last, and say no kind.
EXPORT, PARTITION, TOPIC, TABLE, DAY, WAVE, ALERT = (
    *("export", "partition", "topic", "table"),
    *("day", "wave", "alert"),
)


class CannotMove(Exception):
    """The export cannot be taken in; the message says why in one line."""


class Moving:
    """Writes an installation as lines, and takes in those of another one."""

    def __init__(self, store: Store, topics: Topics, keys: Keys, tokens: Tokens) -> None:
        self._store = store
        self._rows = store.moving
        self._topics = topics
        self._keys = keys
        self._tokens = tokens

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield all but the readers, the header first. No private key and no password is in it."""
        partitions = self._store.partitions
        yield {
            "kind": EXPORT,
            "form": FORM,
            "export": secrets.token_hex(8),
            "at": iso(clock.time()),
            "layout": partitions.version,
            "partitions": list(partitions.numbers),
            "secret_key_fingerprint": self._tokens.fingerprints[0],
            "vapid_public_keys": self._keys.publics,
            "last_alert": self._rows.last_alert(),
            "days_known_since": self._store.joined.known_since(),
            "readers": self._store.subscriptions.count(),
        }
        for line in self._rows.partitions():
            yield {"kind": PARTITION, **line}
        for one in self._topics.all().values():
            yield {
                "kind": TOPIC,
                "slug": one.slug,
                "name": one.name,
                "description": one.description,
                "default": one.default,
                "hidden": one.hidden,
            }
        for line in self._rows.tables():
            yield {"kind": TABLE, **line}
        for line in self._rows.days(today()):
            yield {"kind": DAY, **line}
        for line in self._rows.alerts(EVENTS, waves=True):
            yield {"kind": WAVE, **line}
        for line in self._rows.alerts(EVENTS):
            yield {"kind": ALERT, **line}

    def is_new_layout(self, header: Mapping[str, Any]) -> bool:
        """Whether this store would take partitions that it does not have yet; `CannotMove`."""
        return self.keeps_ids(header) and _partitions(header) != self._store.partitions

    def keeps_ids(self, header: Mapping[str, Any]) -> bool:
        """Whether readers keep their ids: nothing came in yet, or this export; `CannotMove`."""
        _check(header)
        moved = self._rows.moved_from()
        return moved == header["export"] or (not moved and self._rows.is_empty())

    def begin(self, header: Mapping[str, Any]) -> None:
        """Let this store, which is empty, take the partitions of an export; `CannotMove`.

        If they are others than it had, its processes have to be started after that.
        """
        if self._rows.moved_from():
            return
        if self.is_new_layout(header) and (alive := self._store.processes.alive()):
            raise CannotMove(
                f"the export has {len(header['partitions'])} other partitions than this"
                f" installation, where {len(alive)} processes run: stop them first"
            )
        ids = header["last_alert"], header["days_known_since"]
        self._rows.begin(header["export"], _partitions(header), *ids)

    def knows_tokens(self, header: Mapping[str, Any]) -> bool:
        """Whether the tokens that its readers hold are made with a SECRET_KEY of ours."""
        return header.get("secret_key_fingerprint") in self._tokens.fingerprints

    def missing_keys(self, header: Mapping[str, Any]) -> list[str]:
        """Return the VAPID keys of the export, by their public halves, that no worker has here."""
        return [one for one in header["vapid_public_keys"] if not self._keys.accepts(one)]

    def take(self, line: Mapping[str, Any]) -> None:
        """Take in a line that is not of a reader; `CannotMove`."""
        try:
            self._take(line)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            raise CannotMove("the line is not as an export has it") from None

    def _take(self, line: Mapping[str, Any]) -> None:
        kind = line["kind"]
        if kind == TOPIC:
            names = ("slug", "name", "description", "default", "hidden")
            try:
                self._topics.add(Topic(*(line[name] for name in names)))
            except (MergedTopic, TooMany):
                raise CannotMove("the topic has no place here") from None
        else:
            put = {
                PARTITION: self._rows.put_partition,
                TABLE: self._rows.put_table,
                DAY: self._rows.put_day,
                WAVE: self._rows.put_wave,
                ALERT: self._rows.put_alert,
            }[kind]
            put(dict(line))


def _check(header: Mapping[str, Any]) -> None:
    """Refuse a header that this release does not understand."""
    form = header.get("form")
    if not isinstance(form, int) or form > FORM:
        raise CannotMove("the export is of a later release than this one")
    numbers = (header.get(name) for name in ("last_alert", "days_known_since"))
    keys = header.get("vapid_public_keys")
    if not isinstance(keys, list) or not all(isinstance(one, str) for one in keys):
        raise CannotMove("the first line is not as an export has it")
    if not isinstance(header.get("export"), str) or not all(isinstance(n, int) for n in numbers):
        raise CannotMove("the first line is not as an export has it")
    _partitions(header)


def _partitions(header: Mapping[str, Any]) -> Partitions:
    numbers, version = header.get("partitions"), header.get("layout")
    if (
        isinstance(numbers, list)
        and all(isinstance(one, int) and 0 <= one < MOST for one in numbers)
        and 0 < len(set(numbers)) == len(numbers)
        and isinstance(version, int)
        and 0 < version <= VERSION
    ):
        return Partitions(version, tuple(numbers))
    raise CannotMove("the export has partitions that this release does not know")
