"""What becomes of an alert that repeats when it is due: the next one, and the text of a digest.

The next occurrence is made first, once for each occurrence however often that is tried. So a clock
may be killed anywhere, and two may work at once (decision 111).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress

from service.domain.alerts.gate import now_in_ms
from service.domain.alerts.requests import Conflict, Idempotency, PlanWithdrawn, Published
from service.model import alert_log
from service.model.language import digests
from service.model.notifications import Content, Notification, State
from service.model.retention import REFERENCE_KEPT
from service.model.time import clock, occurrences
from service.model.time.repeats import Digest, Repeat
from service.store import Store

_NOTHING_NEW = "No alert was sent since the last one, so that this one has nothing to say."


class NothingNew(Conflict):
    """A digest that is to be sent now, while there is nothing to tell."""


class Repeating:
    """Makes the occurrences of alerts that repeat."""

    def __init__(
        self,
        store: Store,
        publish: Callable[..., Published],
        fits: Callable[[Notification], bool],
    ) -> None:
        self._store = store
        self._publish = publish
        self._fits = fits  # whether an alert is short enough to be pushed

    def prepare(self, one: Notification) -> bool:
        """Make the next occurrence and the text of one that is due; False if it is not to start.

        It is not if it becomes a draft, if its digest has nothing to say, or if it was changed
        meanwhile, also by another clock. What is done by then is not done again.
        """
        if one.state is not State.SCHEDULED or one.repeats is None or one.send_at is None:
            return True
        self.go_on(one)
        made = self.with_text(one, until=one.send_at.at)
        if made is None:
            self._store.notifications.remove(one.id, alert_log.entry(one, "skipped"))
            return False
        starts = not one.repeats.makes_drafts
        if not starts:
            made = dataclasses.replace(made, state=State.DRAFT, send_at=None)
        entry = alert_log.changed(one, made, by="")
        is_logged = entry.texts or not starts
        changed = self._store.notifications.change(
            one, made, now_in_ms(), entry if is_logged else None
        )
        return changed and starts

    def go_on(self, one: Notification) -> Notification:
        """Plan the occurrence after this one, unless that was done; return this one as followed."""
        before, send_at = one.repeats, one.send_at
        if before is None or send_at is None:
            return one
        next_at, repeat = occurrences.following(before, send_at, clock.time())
        key = f"{before.series} {before.stands_for}"
        once = Idempotency("repeating", key, b"", REFERENCE_KEPT)
        with suppress(PlanWithdrawn):  # made before, and deleted by an editor since
            self._publish(
                one.content,
                one.audience,
                by=one.created_by,
                spread_minutes=one.spread_minutes,
                second_text=one.second_text,
                send_at=next_at,
                repeat=repeat,
                idempotency=once,
                follows=one,
            )
        return dataclasses.replace(one, repeat=dataclasses.replace(before, followed=True))

    def sent_early(self, one: Notification, content: Content) -> tuple[Content, Repeat | None]:
        """Plan the occurrence after `one`, which is sent now; return text and repeat of `one`.

        `NothingNew` if there is no alert for its digest.
        """
        made = self.with_text(dataclasses.replace(one, content=content), now_in_ms())
        if made is None:
            raise NothingNew(one.id, _NOTHING_NEW)
        self.go_on(one)
        return made.content, made.repeat

    def with_text(self, one: Notification, until: float) -> Notification | None:
        """Return an occurrence with its text, as one that is followed; None if nothing is new."""
        if (repeat := one.repeats) is None:
            return one
        content, digest = one.content, repeat.digest
        if digest is not None:
            alerts = self._since(digest, occurrences.looks_back_to(repeat, until), until)
            if not alerts:
                return None

            def fits(content: Content) -> bool:
                return self._fits(dataclasses.replace(one, content=content))

            content = digests.filled(content, alerts, digest.most, fits)
        return dataclasses.replace(
            one, content=content, repeat=dataclasses.replace(repeat, followed=True)
        )

    def _since(self, digest: Digest, since: float, until: float) -> list[Notification]:
        """Return the alerts of a digest that were sent in a time, the newest first."""
        topics = frozenset(self._store.topics.current(digest.topics))
        found = []
        for one in self._store.notifications.begun(since, until):
            audience = self._store.topics.current_audience(one.audience)
            if digests.belongs(one, topics, frozenset((*audience.topics, *audience.all_topics))):
                found.append(one)
        return found[::-1]
