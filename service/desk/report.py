"""An alert as the desk's pages show it: its numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from service.desk.words import OUTCOMES, outcome_words
from service.domain.push_services import Limit
from service.domain.receipts import Estimate
from service.domain.waves import Held
from service.model.notifications import QUIET, Notification, Outcome, Progress, State

_LATE = 5.0  # seconds after which an alert that has not begun needs somebody's attention

_STATES = {
    State.DRAFT: "draft",
    State.SCHEDULED: "scheduled",
    State.SENDING: "being sent",
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
    limits: list[Limit] = field(default_factory=list)
    held: Held = field(default_factory=Held)

    @property
    def live(self) -> bool:
        """Whether its numbers still change."""
        return self.notification.finished_at is None

    @property
    def changing(self) -> bool:
        """Whether its page has more to show by itself: once it is sent, readers may still wake."""
        return self.live or self.held.waiting > 0

    @property
    def stopping(self) -> bool:
        """Whether it was stopped and what was under way is being counted."""
        return self.live and self.notification.over

    @property
    def paused(self) -> bool:
        """Whether it waits for somebody to let it go on."""
        return self.notification.state is State.PAUSED

    @property
    def stage(self) -> str:
        """What is another when more than the numbers has changed."""
        one = self.notification
        return f"{one.state.value}.{one.revision}.{one.changes}"

    @property
    def scheduled(self) -> bool:
        """Whether it waits for its time."""
        return self.notification.state is State.SCHEDULED

    @property
    def due_in(self) -> float:
        """Seconds until it is to be sent, below 0 where that has passed; 0 without a time."""
        send_at = self.notification.send_at
        return send_at.at - self.now if send_at else 0.0

    @property
    def began(self) -> float:
        """When the first of it could be sent, or else when it was written."""
        return self.notification.started_at or self.notification.created_at

    @property
    def correctable(self) -> bool:
        """Whether there may be somebody whom a correction of it reaches."""
        one = self.notification
        if one.audience.subscription is not None or one.planned or one.wave:
            return False
        reached = self.handed_over or self.held.waiting
        return not one.over or one.corrects is not None or reached > 0

    @property
    def leaves(self) -> bool:
        """Whether it is a correction that was not sent to those who have what it corrects."""
        one = self.notification
        return one.corrects is not None and one.finished_at == one.created_at

    @property
    def complete(self) -> bool:
        """Whether it went out as it was meant to."""
        return self.notification.state is State.SENT

    @property
    def state(self) -> str:
        """What it is doing, in a word or two."""
        if self.withdrawn:
            return "withdrawn"
        return "being stopped" if self.stopping else _STATES[self.notification.state]

    @property
    def handed_over(self) -> int:
        """How many browsers' push services took it, also after its readers' quiet hours."""
        since = sum(alone + together for _, alone, together in self.notification.waves)
        return self.progress.of(Outcome.ACCEPTED) + max(since, self.held.brought)

    @property
    def held_back(self) -> int:
        """For how many browsers it was held, since they had quiet hours when it was sent."""
        return 0 if self.notification.wave else self.progress.skipped(QUIET)

    @property
    def held_in_vain(self) -> int:
        """How many of those never got it, and wait no more."""
        return max(0, self.held_back - self.held.waiting - self.held.brought)

    @property
    def withdrawn(self) -> bool:
        """Whether it was sent, and then cancelled for those for whom it was held."""
        stopped = self.notification.state is State.CANCELLED and not self.live
        return stopped and self.held_back > 0 and not self.progress.of(Outcome.CANCELLED)

    @property
    def percent(self) -> int:
        """How much of the work is done, rounded down: 100 is all of it."""
        return 100 * self.progress.done // max(1, self.progress.recipients)

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return max(0.0, (self.notification.finished_at or self.now) - self.began)

    @property
    def rate(self) -> int:
        """Browsers dealt with a second, on average since it was published."""
        return round(self.progress.done / max(1.0, self.seconds))

    @property
    def late(self) -> bool:
        """Whether it should have begun by now."""
        if self.scheduled:
            return self.due_in < -_LATE
        sending = self.notification.state is State.SENDING
        return sending and not self.progress.recipients and self.seconds > _LATE

    @property
    def rows(self) -> list[tuple[Outcome, str, int]]:
        """Every outcome that occurred, in words; in an order that holds while numbers change."""
        counts: Counter[tuple[Outcome, str]] = Counter()
        for (outcome, service), n in self.progress.outcomes.items():
            counts[outcome, outcome_words(outcome, service)] += n
        order = list(OUTCOMES)
        kinds = sorted(counts, key=lambda kind: (order.index(kind[0]), kind[1]))
        return [(outcome, words, counts[outcome, words]) for outcome, words in kinds]
