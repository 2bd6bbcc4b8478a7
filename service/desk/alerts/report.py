"""An alert as the desk's pages show it: its numbers and its state."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from service.desk.words import OUTCOMES, outcome_words
from service.domain.sending.push_services import SlowService
from service.domain.sending.receipts import Estimate
from service.domain.sending.waves import HeldSummary
from service.model.notifications import QUIET, Notification, Outcome, Progress, State
from service.model.retention import DAY
from service.model.time.times import last_clock

_LATE = 5.0  # seconds after which an alert should have started

STATES = {
    State.DRAFT: "draft",
    State.SCHEDULED: "scheduled",
    State.SENDING: "sending",
    State.PAUSED: "paused",
    State.SENT: "sent",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "ran out of time",
}


@dataclass(frozen=True, slots=True)
class Report:
    """An alert as the pages show it. Times are seconds since 1970 UTC."""

    notification: Notification
    audience: str
    progress: Progress
    receipts: dict[str, Estimate]
    now: float
    slowing: list[SlowService] = field(default_factory=list)
    held: HeldSummary = field(default_factory=HeldSummary)
    stopped: bool = False  # everything is, by an editor

    @property
    def live(self) -> bool:
        """Whether its numbers still change."""
        return self.notification.finished_at is None

    @property
    def changing(self) -> bool:
        """Whether its page is still refreshed: while it is sent, and while it is held."""
        return self.live or self.held.waiting > 0

    @property
    def stopping(self) -> bool:
        """Whether it was stopped and its last results are still being counted."""
        return self.live and self.notification.over

    @property
    def paused(self) -> bool:
        """Whether an editor has paused it."""
        return self.notification.state is State.PAUSED

    @property
    def stage(self) -> str:
        """A text that changes when more than the numbers has changed."""
        one = self.notification
        chosen = one.decision.text if one.decision else ""
        return f"{one.state.value}.{one.revision}.{one.changes}.{int(self.stopped)}{chosen}"

    @property
    def scheduled(self) -> bool:
        """Whether it is scheduled for later."""
        return self.notification.state is State.SCHEDULED

    @property
    def due_in(self) -> float:
        """Seconds until its time, below 0 after it; 0 for an alert without one."""
        send_at = self.notification.send_at
        return send_at.at - self.now if send_at else 0.0

    @property
    def began(self) -> float:
        """When sending started, or else when it was written."""
        return self.notification.started_at or self.notification.created_at

    def receipts_kept(self, days: int) -> bool:
        """Whether receipts, which are kept for so many days, may still come or are still kept."""
        return self.now - self.began <= days * DAY

    @property
    def correctable(self) -> bool:
        """Whether a correction could reach a browser."""
        one = self.notification
        if one.audience.subscription is not None or one.planned or one.wave:
            return False
        reached = self.handed_over or self.held.waiting
        return not one.over or one.corrects is not None or reached > 0

    @property
    def leaves(self) -> bool:
        """Whether it is a correction that leaves the old text where readers already have it."""
        one = self.notification
        return one.corrects is not None and one.finished_at == one.created_at

    @property
    def complete(self) -> bool:
        """Whether it was sent to the whole audience."""
        return self.notification.state is State.SENT

    @property
    def state(self) -> str:
        """Its state in a word or two."""
        if self.withdrawn:
            return "withdrawn"
        if self.waits:
            return "waits"
        if self.notification.is_ready:
            return "ready"
        if self.notification.request is not None:
            waits = self.notification.waits_for_approval
            return "waits for a second person" if waits else "sent back"
        if self.notification.sampling and self.notification.state is State.SENDING:
            return "trying two texts"
        if self.awaits_clocks:
            return "waits for the readers’ clocks"
        return "stopping" if self.stopping else STATES[self.notification.state]

    @property
    def handed_over(self) -> int:
        """For how many browsers a push service took it, also after their quiet hours."""
        by_waves = sum(alone + together for _, alone, together in self.notification.waves)
        return self.progress.of(Outcome.ACCEPTED) + max(by_waves, self.held.by_wave)

    @property
    def held_back(self) -> int:
        """How many browsers were in quiet hours when it was sent."""
        return 0 if self.notification.wave else self.progress.skipped(QUIET)

    @property
    def held_in_vain(self) -> int:
        """How many of those never got it, and no longer wait."""
        return max(0, self.held_back - self.held.waiting - self.held.by_wave)

    @property
    def withdrawn(self) -> bool:
        """Whether it was sent, and then cancelled for the browsers that it was held for."""
        stopped = self.notification.state is State.CANCELLED and not self.live
        return stopped and self.held_back > 0 and not self.progress.of(Outcome.CANCELLED)

    @property
    def percent(self) -> int:
        """How much of the work is done, rounded down, so that 100 means all of it."""
        return 100 * self.progress.done // max(1, self.progress.recipients)

    @property
    def seconds(self) -> float:
        """How long it has taken so far, or took."""
        return max(0.0, (self.notification.finished_at or self.now) - self.began)

    @property
    def waits(self) -> bool:
        """Whether it would be sent now if everything were not stopped."""
        due = self.scheduled and self.due_in <= 0
        return self.stopped and (due or self.notification.state is State.SENDING)

    @property
    def last_clock(self) -> float:
        """When the last clock on Earth shows the alert's local time; 0 for other alerts."""
        return last_clock(self.notification.wall) if self.notification.wall else 0.0

    @property
    def awaits_clocks(self) -> bool:
        """Whether it is being sent at a local time that has not come yet for most readers."""
        if self.notification.state is not State.SENDING or self.waits or not self.live:
            return False
        return self.now < self.last_clock and 2 * self.progress.done < self.progress.recipients

    @property
    def late(self) -> bool:
        """Whether it should have started by now."""
        if self.stopped:
            return False
        if self.scheduled:
            return self.due_in < -_LATE
        sending = self.notification.state is State.SENDING
        return sending and not self.progress.recipients and self.seconds > _LATE

    @property
    def rows(self) -> list[tuple[Outcome, str, int]]:
        """Each outcome that occurred, in words, in an order that stays while the numbers change."""
        counts: Counter[tuple[Outcome, str]] = Counter()
        for (outcome, service), n in self.progress.outcomes.items():
            counts[outcome, outcome_words(outcome, service)] += n
        order = list(OUTCOMES)
        kinds = sorted(counts, key=lambda kind: (order.index(kind[0]), kind[1]))
        return [(outcome, words, counts[outcome, words]) for outcome, words in kinds]
