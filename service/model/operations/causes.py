"""What is wrong with an installation, for the person on call, and which of it was reported.

A cause is reported once when it begins and once when it is over. One that comes and goes is not
reported again for a while (`QUIET`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from service.model.newsroom.webhooks import Health
from service.model.stored import known_fields

_VERSION = 1  # of what is stored
URGENT, WARNING = "page", "warning"  # worth waking a person; for the morning
QUIET = 900.0  # seconds between two posts about a cause that comes and goes
AWAY = 60.0  # seconds without a cause after which it is over


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that is wrong now."""

    name: str  # the same as long as it lasts, such as `no-workers`
    severity: str  # `URGENT` or `WARNING`
    says: str  # what is wrong, and what it costs
    do: str  # what to do about it
    lasts: float = 60.0  # seconds before it is reported: a restart is no cause

    @property
    def is_urgent(self) -> bool:
        """Whether it is worth waking a person; else it is for the morning."""
        return self.severity == URGENT


class Post(NamedTuple):
    """That a cause began, or is over."""

    cause: Cause
    since: float
    over_at: float  # 0: it began


@dataclass(frozen=True, slots=True)
class Known:
    """A cause that is there, or was reported lately; times in seconds since 1970, 0 is never."""

    cause: Cause  # in the words in which it began
    since: float = 0.0  # 0: it is not there, and nobody has to hear that it is over
    gone_at: float = 0.0  # when it was first not there any more
    is_reported: bool = False  # that it began
    quiet_until: float = 0.0  # from the last post on
    comes_and_goes: bool = False  # it began again before that, or soon after

    def after(self, cause: Cause | None, now: float) -> Known | None:
        """Return it after a look that found this cause, or none; None: forget it."""
        if cause is not None:
            return (
                replace(self, gone_at=0.0) if self.since else replace(self, cause=cause, since=now)
            )
        if self.is_reported:
            return self if self.gone_at else replace(self, gone_at=now)
        return replace(self, since=0.0) if now < self.quiet_until + QUIET else None

    def post(self, now: float) -> Post | None:
        """Return the report that is due now; None if none is."""
        if self.is_reported:
            waits = self.comes_and_goes and now < self.quiet_until
            if self.gone_at and now - self.gone_at >= AWAY and not waits:
                return Post(self.cause, self.since, self.gone_at)
            return None
        lasts = self.since and now - self.since >= self.cause.lasts
        return Post(self.cause, self.since, 0.0) if lasts and now >= self.quiet_until else None

    def reported(self, now: float) -> Known:
        """Return the cause as it is once its report (`post`) was made."""
        quiet = now + QUIET
        if self.is_reported:
            return Known(self.cause, quiet_until=quiet)
        again = self.since < self.quiet_until + QUIET
        return replace(self, is_reported=True, quiet_until=quiet, comes_and_goes=again)


@dataclass(frozen=True, slots=True)
class Reported:
    """Which causes were reported, and how the address does to which they are."""

    known: dict[str, Known] = field(default_factory=dict)  # by the name of the cause
    health: Health = field(default_factory=Health)
    calling_until: float = 0.0  # until then the call of a clock is under way

    def after(self, causes: Iterable[Cause], now: float) -> Reported:
        """Return it after a look that found these causes."""
        found = {one.name: one for one in causes}
        known = {}
        for name in {**self.known, **found}:
            before = self.known.get(name) or Known(found[name])
            if (after := before.after(found.get(name), now)) is not None:
                known[name] = after
        return replace(self, known=known)

    def posts(self, now: float) -> list[Post]:
        """Return the reports that are due now, the urgent ones first."""
        found = [post for one in self.known.values() if (post := one.post(now))]
        return sorted(found, key=lambda post: (not post.cause.is_urgent, post.since))

    def reported(self, post: Post, now: float) -> Reported:
        """Return it after this was reported."""
        name = post.cause.name
        return replace(self, known={**self.known, name: self.known[name].reported(now)})

    def as_json(self) -> str:
        """Return it as it is stored."""
        known = {name: asdict(one) for name, one in self.known.items()}
        health, until = json.loads(self.health.as_json()), self.calling_until
        return json.dumps(
            {"version": _VERSION, "known": known, "health": health, "calling_until": until}
        )

    @classmethod
    def from_json(cls, text: bytes | None) -> Reported:
        """Read what is stored."""
        if text is None:
            return cls()
        given = json.loads(text)
        return cls(
            {name: _known(row) for name, row in given["known"].items()},
            Health.from_json(json.dumps(given["health"]).encode()),
            given["calling_until"],
        )


def _known(row: dict[str, Any]) -> Known:
    given = known_fields(Known, row)
    return Known(**given | {"cause": Cause(**known_fields(Cause, row["cause"]))})
