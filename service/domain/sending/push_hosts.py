"""Hosts under a wildcard: each has to prove that it is a push service, and goes with its readers.

Strangers can make up such hosts. A host is proven once a push was accepted there, which is only
possible at the company that runs the wildcard's domain.
"""

from __future__ import annotations

from collections import Counter

from service.model.network.endpoints import EndpointPolicy, origin_of
from service.model.retention import (
    DAY,
    HOST_RETIRED_KEPT,
    UNPROVEN_KEPT,
    UNPROVEN_TRIED,
    UNPROVEN_UNSEEN,
)
from service.store import Store
from service.store.layout.names import MOST_UNPROVEN

# Unproven hosts under one wildcard, from which on they have less time.
_CROWDED = MOST_UNPROVEN // 2
_EVERY = 60.0  # seconds between two looks at what can be freed
_LATEST = 20  # alerts looked through for one that was sent to these hosts


class PushHosts:
    """Looks after push hosts that anybody could make up: proves them, or frees their room."""

    def __init__(self, store: Store, endpoints: EndpointPolicy) -> None:
        self._store = store
        self._endpoints = endpoints
        self._bases = store.names.bases
        self._readers = store.host_readers
        self._looked_at = 0.0

    def look_after(self, now: float) -> None:
        """Prove hosts where a push was accepted; free those where nobody is left or ever was."""
        unproven = self._bases.unproven()
        if unproven:
            self._bases.prove(self._store.gone.accepting(now) & unproven.keys())
        if now - self._looked_at >= _EVERY:
            self._looked_at = now
            self._end_unproven(now)
            self._free(now)

    def crowded(self) -> dict[str, int]:
        """Return the wildcards with so many unproven hosts that strangers made them up."""
        hosts = Counter(one.wildcard for one in self._bases.unproven().values())
        return {wildcard: n for wildcard, n in hosts.items() if n >= _CROWDED}

    def _end_unproven(self, now: float) -> None:
        """Remove readers whose host was sent alerts, and has accepted none for long enough.

        Readers who were sent nothing stay, such as those who paused their alerts. But
        where strangers have made up many hosts, such a reader has to visit now and then.
        """
        unproven = self._bases.unproven()
        if not unproven:
            return
        sent = [
            one.started_at or 0.0
            for one in self._store.notifications.started(_LATEST)
            if one.audience.subscription is None
        ]
        crowded = self.crowded()
        for number, one in unproven.items():
            age, is_crowded = now - one.since, one.wildcard in crowded
            tried = any(one.since < start < now - UNPROVEN_TRIED for start in sent)
            is_due = tried and age >= (UNPROVEN_TRIED if is_crowded else UNPROVEN_KEPT)
            is_idle = is_crowded and age >= UNPROVEN_UNSEEN
            if not (is_due or is_idle):
                continue
            if self._store.push_services.proof(origin_of(self._bases.name(number))):
                self._bases.prove([number])  # that was while no clock ran
                continue
            ids = set(self._readers.asked_in_vain(number) if is_due else ())
            if is_idle:
                ids |= set(self._readers.unseen(number, int((now - UNPROVEN_UNSEEN) // DAY)))
            if ended := self._store.subscriptions.remove_all(list(ids)):
                self._store.departures.count("unproven", ended)

    def _free(self, now: float) -> None:
        """Retire bases where nobody is left; let numbers be given again that rested long enough."""
        for url, number in self._bases.all().items():
            if self._wildcard_of(url) and self._readers.drop(number):
                self._bases.retire(number)
        for number, at in self._bases.retired().items():
            if now - at < HOST_RETIRED_KEPT:
                continue
            if self._readers.drop(number):
                self._bases.release(number)
            else:  # a reader was stored while the base was retired
                self._bases.restore(number, self._wildcard_of(self._bases.name(number)))

    def _wildcard_of(self, base: str) -> str:
        return self._endpoints.wildcard_of(origin_of(base))
