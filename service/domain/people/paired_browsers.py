"""Editors' own browsers: paired with the desk once, they get tests of alerts before readers do.

An editor makes a code at the desk, a browser uses it with the token of its subscription, and the
editor confirms at the desk that it is the own one. A subscription that has ended, or has other keys
or another endpoint, is not paired any more.
"""

from __future__ import annotations

import secrets
from contextlib import suppress

from service.domain.alerts.requests import Published
from service.domain.alerts.stops import EverythingStopped, Stops
from service.domain.readers.reader_alerts import ReaderAlerts
from service.model.notifications import Content
from service.model.subscriptions import Subscription, SubscriptionId
from service.model.time import clock
from service.model.tokens import digest
from service.store import Store
from service.store.people.paired_browsers import PairedRow
from service.store.readers.subscriptions import NotSubscribed

__all__ = ["CodeOver", "PairedBrowsers", "PairedRow", "TooManyPaired", "TooManyTests"]

MOST_PAIRED = 5  # browsers of one editor
MOST_TESTS = 5  # times a minute that one editor sends tests
_BYTES = 16  # of a code: 128 bits, which nobody guesses in two minutes


class CodeOver(Exception):
    """A code that was used, has ended or never was."""


class TooManyPaired(Exception):
    """An editor who has paired as many browsers as there may be."""


class TooManyTests(Exception):
    """An editor who has sent tests so often that this one is not sent now."""


class PairedBrowsers:
    """The browsers that editors have paired."""

    def __init__(self, store: Store, alerts: ReaderAlerts, stops: Stops) -> None:
        self._rows = store.paired_browsers
        self._subscriptions = store.subscriptions
        self._alerts = alerts
        self._stops = stops

    # -- pairing ---------------------------------------------------------------------------------

    def begin(self, by: str, before: str = "") -> str:
        """Return a new code for an editor; the one `before` works no longer."""
        code = secrets.token_urlsafe(_BYTES)
        self._rows.begin(code, by)
        if before:
            self._rows.end(before)
        return code

    def editor_of(self, code: str) -> str:
        """Return who made a code that no browser has used yet; `CodeOver`."""
        pairing = self._rows.pairing(code)
        if pairing is None or pairing.browser is not None:
            raise CodeOver
        return pairing.by

    def claim(self, code: str, reader: Subscription, browser: str) -> str:
        """Use a code up for the browser of this subscription, and return its editor; `CodeOver`.

        The browser is not paired before that editor has confirmed it.
        """
        row = PairedRow(str(reader.id), _stamp(reader), browser, paired_at=int(clock.time()))
        by = self._rows.claim(code, row)
        if by is None:
            raise CodeOver
        return by

    def waiting(self, code: str, by: str) -> PairedRow | None:
        """Return the browser that has used an editor's code, if one has; `CodeOver`."""
        pairing = self._rows.pairing(code)
        if pairing is None or pairing.by != by:
            raise CodeOver
        return pairing.browser

    def confirm(self, code: str, by: str) -> None:
        """Pair the browser that has used an editor's code; `CodeOver`, `TooManyPaired`."""
        pairing = self._rows.pairing(code)
        if pairing is None or pairing.by != by or pairing.browser is None:
            raise CodeOver
        self.of(by)  # forgets those that count no longer
        row = pairing.browser._replace(by=by, paired_at=int(clock.time()))
        done = self._rows.confirm(code, pairing, row, MOST_PAIRED)
        if done == "full":
            raise TooManyPaired
        if done == "over":
            raise CodeOver

    def refuse(self, code: str, by: str) -> None:
        """End an editor's code: the browser that has used it is not paired."""
        pairing = self._rows.pairing(code)
        if pairing is not None and pairing.by == by:
            self._rows.end(code)

    # -- paired browsers -------------------------------------------------------------------------

    def of(self, by: str) -> list[PairedRow]:
        """Return the browsers of an editor, the first paired first; forget those that changed."""
        return [row for row, _ in self._subscribed(by)]

    def of_reader(self, reader: Subscription) -> PairedRow | None:
        """Return what is stored of a subscription that an editor has paired; None if none has."""
        return self._rows.find(str(reader.id))

    def unpair(self, by: str, subscription: str) -> None:
        """Forget a browser of an editor; any other text names none."""
        with suppress(ValueError):
            self._rows.unpair(by, str(SubscriptionId.parse(subscription)))

    def send(self, by: str, content: Content) -> int:
        """Send a test to an editor's browsers; return to how many.

        `TooManyTests`, `EverythingStopped`, `TooManyActive`.

        No list of alerts shows it, and it counts against no limit.
        """
        self._count(by)
        sent = 0
        for row, reader in self._subscribed(by):
            if self._alerts.send_text(reader, content, by=by).recipients:
                self._rows.note_use(row, int(clock.time()))
                sent += 1
        return sent

    def send_here(self, by: str, reader: Subscription, content: Content) -> Published:
        """Send a test to the browser at which an editor is, paired or not; errors as `send`."""
        self._count(by)
        return self._alerts.send_text(reader, content, by=by)

    def _count(self, by: str) -> None:
        if self._stops.holds():
            raise EverythingStopped
        if self._rows.count(by) > MOST_TESTS:
            raise TooManyTests

    def _subscribed(self, by: str) -> list[tuple[PairedRow, Subscription]]:
        """Return the browsers whose subscription is still the same one; forget the others."""
        found: list[tuple[PairedRow, Subscription]] = []
        for row in sorted(self._rows.of(by), key=lambda row: row.paired_at):
            with suppress(NotSubscribed):
                reader = self._subscriptions.get(SubscriptionId.parse(row.subscription))
                if _stamp(reader) == row.stamp:
                    found.append((row, reader))
                    continue
            self._rows.unpair(by, row.subscription)
        return found


def _stamp(reader: Subscription) -> str:
    """Return what tells one browser from another that has the same number."""
    keys = f"{reader.p256dh.hex()} {reader.auth.hex()}"
    return digest(f"{reader.endpoint.url} {keys}")[:32]
