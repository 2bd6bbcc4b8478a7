"""When an alert leaves: at once, later, once a second person approves it, or after a stop.

All that is sent passes here, whether an editor, a tool or the clock's plan sends it (decisions 93
and 94).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from service.domain.alerts.stops import WAITS, EverythingStopped, Stops
from service.model.alert_log import ToolName
from service.model.notifications import Audience, Content, Notification, Request, SendAt, State
from service.model.time import clock

# The warning that belongs to an alert which waits for a second person.
NEEDED = "Another editor has to approve this at the desk before it is sent."
NOBODY = "Nobody gets this alert: no reader is in its audience now."

Warnings = tuple[tuple[str, str], ...]  # field and sentence of each


@dataclass(frozen=True, slots=True)
class Leaving:
    """How an alert is stored once it is sent, scheduled or kept as a draft."""

    state: State
    send_at: SendAt | None
    warnings: Warnings = ()
    request: Request | None = None  # for a second person


@dataclass(frozen=True, slots=True)
class TwoPersonRule:
    """The settings `TWO_PERSON_ABOVE` and `TWO_PERSON_BREAKING`."""

    above: int = 0  # browsers; 0: no alert needs a second person
    breaking: bool = True  # whether breaking alerts do

    def applies(self, content: Content, browsers: int) -> bool:
        """Whether an alert to so many browsers needs a second person."""
        many = 0 < self.above < browsers
        return many and (self.breaking or content.kind != "breaking")


class Gate:
    """Decides when alerts leave."""

    def __init__(self, stops: Stops, two_persons: TwoPersonRule) -> None:
        self.stops = stops
        self._two_persons = two_persons

    def leaves(
        self,
        content: Content,
        audience: Audience,
        browsers: int,
        send_at: SendAt | None,
        *,
        draft: bool,
        by: str,
    ) -> Leaving:
        """Return when an alert leaves that `by` sends, schedules or keeps as a draft.

        `EverythingStopped` for an editor's test to one browser. A wave needs no second person,
        because each alert in it had one; nor does what the operator's policy asks of readers.
        """
        if draft:
            return Leaving(State.DRAFT, send_at)
        by_itself = audience.waking is not None or audience.last_seen_until
        if not by_itself and self._two_persons.applies(content, browsers):
            # An alert that was to be sent now is sent when it is approved.
            pressed = send_at is not None and send_at.sent_at is not None
            request = Request(by, now_in_ms())
            at = None if pressed else send_at
            return Leaving(State.DRAFT, at, (("status", NEEDED),), request)
        return self.leaves_now(audience, send_at, by)

    def leaves_now(self, audience: Audience, send_at: SendAt | None, by: str) -> Leaving:
        """Return the same of an alert that needs no second person, or has one."""
        if send_at is not None:
            return Leaving(State.SCHEDULED, send_at)
        if not self._must_wait(audience, by):
            return Leaving(State.SENDING, None)
        now = now_in_ms()
        return Leaving(State.SCHEDULED, SendAt(now, sent_at=now), (("status", WAITS),))

    def asked_to_correct(
        self, correction: Notification, revision: int, browsers: int
    ) -> Notification | None:
        """Return a correction as the draft that waits for a second person; None if it needs none.

        `revision` is how often the alert was corrected before. `browsers` have the alert, or would
        get its text.
        """
        if not self._two_persons.applies(correction.content, browsers):
            return None
        leave = correction.state is State.SENT
        by, at = correction.created_by, correction.created_at
        request = Request(by, at, leave, revision=revision)
        return dataclasses.replace(correction, state=State.DRAFT, request=request)

    def _must_wait(self, audience: Audience, by: str) -> bool:
        """Whether an alert that is to leave now has to wait until everything is released.

        It is stored as a scheduled one, so that the clock makes a draft of it if that takes long.
        An editor's test to one browser is refused instead; a welcome expires soon by itself.
        """
        is_welcome = audience.subscription is not None and not by
        if is_welcome or audience.waking is not None or not self.stops.holds():
            return False
        if audience.subscription is not None:
            raise EverythingStopped
        return True


def nobody(leaves: Leaving, audience: Audience, browsers: int) -> Warnings:
    """Return the warning for an alert that leaves now, and for no browser."""
    is_newsroom = audience.subscription is None and audience.waking is None
    empty = leaves.state is State.SENDING and not browsers and is_newsroom
    return (("audience", NOBODY),) if empty else ()


def authors_of(by: str, before: Notification | None = None) -> tuple[str, ...]:
    """Return who has written an alert once `by` has: editors, and those who made such tokens."""
    person = by.made_by if isinstance(by, ToolName) else by
    known = before.authors if before else ()
    return known if not person or person in known else (*known, person)


def remembering_hand_in(before: Notification, after: Notification) -> Notification:
    """Return an alert with how it was handed in, if just that is sent and can be taken back."""
    same = dataclasses.replace(
        before,
        content=after.content,
        audience=after.audience,
        spread_minutes=after.spread_minutes,
        second_text=after.second_text,
    )
    keeps = before.is_ready and after.waits_for_undo and same == before
    return dataclasses.replace(after, was_ready=before.request if keeps else None)


def now_in_ms() -> float:
    """Return the time to the millisecond, rounded down, as it is stored and shown."""
    return int(clock.time() * 1000) / 1000
