"""The forecast of an alert: how many browsers would get it at once, later, or not at all.

Readers are judged by the same rules as when a worker sends. Of a large audience only a sample is
judged, drawn at random.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from service.model.delivery_rules import DeliveryRules
from service.model.notifications import (
    LIMIT,
    MOST_LATE,
    PAUSED,
    QUIET,
    Audience,
    Content,
    Notification,
    Outcome,
    SendAt,
    State,
)
from service.model.preferences import NewsroomDefaults
from service.model.time.clocks import moment
from service.store import Store

# Browsers in a sample: then a share has a standard error of at most 2.2 percentage points, which
# the desk calls “about”. It is drawn at each choice of an audience: twice as many take 10 ms more.
SAMPLE = 500


@dataclass(frozen=True, slots=True)
class Forecast:
    """How many browsers of the sample would not get an alert at once, by reason."""

    recipients: int  # browsers in the audience
    sampled: int  # browsers in the sample
    held: int  # until their quiet hours end
    paused: int
    full: int  # they have had as many alerts today as they want
    late: int  # the alert's local time passed too long ago by their clock
    # Whether any reader may be late, also one whom the sample leaves out: whether the time passed
    # too long ago in a zone that readers of the installation have.
    some_late: bool = False

    @property
    def exact(self) -> bool:
        """Whether the whole audience was judged."""
        return self.sampled == self.recipients


class Forecaster:
    """Forecasts under the newsroom's defaults."""

    def __init__(self, store: Store, defaults: Callable[[], NewsroomDefaults]) -> None:
        self._store = store
        self._defaults = defaults

    def forecast(
        self, content: Content, audience: Audience, send_at: SendAt | None, now: float
    ) -> Forecast:
        """Return what would become of an alert sent now, or at its time, to its audience as of now.

        `now` is in seconds since 1970.
        """
        store = self._store
        recipients, drawn = store.audiences.draw(audience, SAMPLE)
        began = max(now, send_at.at) if send_at else now
        alert = Notification(
            0, content, audience, State.SENDING, began, "", started_at=began, send_at=send_at
        )
        zones = store.names.zones
        rules = DeliveryRules(alert, self._defaults(), zones.name)
        found: Counter[str] = Counter()
        limits: defaultdict[tuple[int, int], dict[int, int]] = defaultdict(dict)
        for id, record in store.records.of(drawn):
            if record is None:
                continue
            zone = zones.name(record.zone)
            at = max(began, moment(zone, alert.wall)) if alert.wall else began
            ruling = rules.of(record, at)
            found["late" if ruling.outcome is Outcome.EXPIRED else ruling.why] += 1
            # Further alerts of a story do not count against the limit. Whether today's first one
            # was sent already is not looked up, so none is forecast as over the limit.
            if ruling.limit and not audience.story:
                limits[id.partition, ruling.day][id.number] = ruling.limit
        had = store.daily_counts.had({place: list(most) for place, most in limits.items()})
        for place, wanted in limits.items():
            counts = zip(had[place], wanted.values(), strict=True)
            found[LIMIT] += sum(n >= most for n, most in counts)
        some_late = found["late"] > 0 or (
            len(drawn) < recipients and self._is_late_somewhere(send_at, began)
        )
        return Forecast(
            recipients,
            len(drawn),
            found[QUIET],
            found[PAUSED],
            found[LIMIT],
            found["late"],
            some_late,
        )

    def _is_late_somewhere(self, send_at: SendAt | None, began: float) -> bool:
        """Whether a local time passed too long ago in a zone that a reader has had."""
        if send_at is None or not send_at.wall or send_at.however_late:
            return False
        zones = {"", *self._store.names.zones.all()}
        return any(moment(zone, send_at.wall) < began - MOST_LATE for zone in zones)
