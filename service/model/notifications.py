"""The words of the house: what a subscription, an audience, a notification and a batch are."""

from __future__ import annotations

import struct
from collections.abc import Set
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from service.model.preferences import Preferences, of_six_bytes

# Seconds: "kick-off in ten minutes" must not go out at night because nobody was there at kick-off.
MOST_LATE = 15 * 60.0
# Seconds from the first clock on Earth that says a time to the last, UTC+14 and UTC-12.
ROUND_THE_WORLD = 26 * 3600
MIN_TTL, MAX_TTL = 60, 2_419_200  # seconds: Microsoft refuses 0, Google more than 28 days
DEFAULT_TTL = {"news": 4 * 3600, "breaking": 12 * 3600}  # seconds, by kind of alert
# Bytes. Every push service takes a body of 4,096 (RFC 8030 section 7.2); the header takes 86 of
# them, the delimiter one and the tag 16 (RFC 8291 section 4).
MAX_PLAINTEXT = 3993


class Outcome(str, Enum):
    """What became of one recipient; every recipient ends in exactly one."""

    ACCEPTED = "accepted"
    GONE = "gone"
    REFUSED = "refused"
    EXPIRED = "expired"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


# Why somebody is skipped: quiet hours, as many alerts today as they want, a pause, or what was held
# for them is over.
QUIET, LIMIT, PAUSED, OVER = SKIPPED = ("quiet", "limit", "paused", "over")


class State(str, Enum):
    """What a notification is doing.

    Nothing leaves the last three, but that what is held for some readers can still be cancelled.
    """

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    SENDING = "sending"
    PAUSED = "paused"
    SENT = "sent"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class SubscriptionId(NamedTuple):
    """The public id of a subscription: its partition and its number there, `0-48210`."""

    partition: int
    number: int

    def __str__(self) -> str:
        return f"{self.partition}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> SubscriptionId:
        """Read a public id; `ValueError` for anything that is not one."""
        partition, dash, number = text.partition("-")
        if not (dash and text.isascii() and partition.isdigit() and number.isdigit()):
            raise ValueError("not a subscription id")
        parsed = cls(int(partition), int(number))
        if str(parsed) != text or parsed.number >= 1 << 32 or parsed.partition > 255:
            raise ValueError("not a subscription id")
        return parsed


# Version, base, VAPID key, zone and locale in 12 bits each, day created, day last seen, what was
# chosen, wording, p256dh without its 0x04, auth.
_RECORD = struct.Struct(">BHB3sHH5sB64s16s")
_RECORD_VERSION = 3
# The second version had more bytes for the same, the first neither choice nor wording.
_RECORD_2 = struct.Struct(">BHBHHHH6sB64s16s")
_RECORD_1 = struct.Struct(">BHBHHHH64s16s")
_NO_CHOICE = Preferences().pack()


# A tuple, since one is made for every message: a frozen dataclass takes five times as long.
class Record(NamedTuple):
    """A subscription as it is stored: names are numbers of the store's tables, 0 for none.

    Days are counted from 1970-01-01 UTC. `choice` is a packed `Choice`, `wording` the version of
    the words with which this reader was asked. FCM's endpoints make it 249 bytes; above that, where
    buckets are packed, Redis takes the next size of its allocator (measured: 64 bytes more for each
    subscription).
    """

    base: int
    rest: str
    p256dh: bytes
    auth: bytes
    vapid_key: int
    zone: int
    locale: int
    created: int
    seen: int
    preferences: bytes = _NO_CHOICE
    wording: int = 0

    def pack(self) -> bytes:
        """Return the bytes kept in Redis."""
        return (
            _RECORD.pack(
                _RECORD_VERSION,
                self.base,
                self.vapid_key,
                (self.zone << 12 | self.locale).to_bytes(3, "big"),
                self.created,
                self.seen,
                self.preferences,
                self.wording,
                self.p256dh[1:],
                self.auth,
            )
            + self.rest.encode()
        )

    @classmethod
    def unpack(cls, data: bytes) -> Record:
        """Read a stored record; `ValueError` for one of another version."""
        if data[0] == _RECORD_VERSION:
            _, base, key, names, created, seen, preferences, wording, p256dh, auth = (
                _RECORD.unpack_from(data)
            )
            zone, locale = divmod(int.from_bytes(names, "big"), 1 << 12)
            rest = data[_RECORD.size :]
        elif data[0] == 2:
            _, base, key, zone, locale, created, seen, preferences, wording, p256dh, auth = (
                _RECORD_2.unpack_from(data)
            )
            rest, preferences = data[_RECORD_2.size :], of_six_bytes(preferences)
        elif data[0] == 1:
            _, base, key, zone, locale, created, seen, p256dh, auth = _RECORD_1.unpack_from(data)
            rest, preferences, wording = data[_RECORD_1.size :], _NO_CHOICE, 0
        else:
            raise ValueError(f"a subscription record of version {data[0]}, newer than this code")
        public = b"\x04" + p256dh
        return cls(
            base,
            rest.decode(),
            public,
            auth,
            key,
            zone,
            locale,
            created,
            seen,
            preferences,
            wording,
        )


@dataclass(frozen=True, slots=True)
class Topic:
    """A subject that a reader can follow."""

    slug: str
    name: str
    description: str = ""
    default: bool = False


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom a notification is for.

    Everyone, or any of `topics`; in any of `locales`; none who follows a topic of `exclude`.
    Where it is about a running `story` (a slug), whoever follows that as well, and nobody who
    muted it. `subscription` alone is a test to one browser, `waking` alone are those for whom
    something is held until that quarter hour, counted from 1970.
    """

    everyone: bool = False
    topics: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    locales: tuple[str, ...] = ()
    subscription: SubscriptionId | None = None
    waking: int | None = None
    story: str = ""

    def includes(
        self, topics: Set[str], locale: str, *, followed: Set[str], muted: Set[str]
    ) -> bool:
        """Whether a reader is meant, by what they chose: what `SELECT` in the store says of all.

        `followed` and `muted` are stories.
        """
        if self.subscription is not None or self.waking is not None or self.story in muted:
            return False
        if self.story and self.story in followed:
            return True
        return (
            (self.everyone or not topics.isdisjoint(self.topics))
            and topics.isdisjoint(self.exclude)
            and (not self.locales or any(f"{locale}-".startswith(f"{x}-") for x in self.locales))
        )

    def as_json(self) -> dict[str, Any]:
        """Return the audience as the API says it, which names the story beside it."""
        if self.waking is not None:
            return {"waking": self.waking}
        if self.subscription is not None:
            return {"subscription": str(self.subscription)}
        said: dict[str, Any] = (
            {"everyone": True} if self.everyone else {"topics": list(self.topics)}
        )
        if self.exclude:
            said["exclude"] = list(self.exclude)
        if self.locales:
            said["locales"] = list(self.locales)
        return said

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Audience:
        """Read what `as_json` wrote."""
        subscription = said.get("subscription")
        return cls(
            everyone=said.get("everyone", False),
            topics=tuple(said.get("topics", ())),
            exclude=tuple(said.get("exclude", ())),
            locales=tuple(said.get("locales", ())),
            subscription=SubscriptionId.parse(subscription) if subscription else None,
            waking=said.get("waking"),
            story=said.get("story", ""),
        )


@dataclass(frozen=True, slots=True)
class Action:
    """A button under an alert and where it leads."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Content:
    """What a reader sees, and how the push services are asked to treat it; `ttl` in seconds.

    `lang` is the language in which it is written, a BCP 47 tag, where that is known.
    """

    title: str
    url: str
    body: str = ""
    icon: str | None = None
    image: str | None = None
    actions: tuple[Action, ...] = ()
    kind: str = "news"
    urgency: str = "high"
    ttl: int = 4 * 3600
    lang: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the content as the API says it."""
        return {
            "title": self.title,
            "body": self.body,
            "url": self.url,
            "icon": self.icon,
            "image": self.image,
            "actions": [{"title": a.title, "url": a.url} for a in self.actions],
            "kind": self.kind,
            "urgency": self.urgency,
            "ttl": self.ttl,
            "lang": self.lang,
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Content:
        """Read what `as_json` wrote."""
        actions = tuple(Action(**action) for action in said["actions"])
        return cls(**{**said, "actions": actions})


@dataclass(frozen=True, slots=True)
class SendAt:
    """When an alert is to be sent: `at` in seconds since 1970 UTC, `zone` as it was said or "".

    One that nobody was there to send in time goes out all the same where `however_late`. With
    `wall` each reader gets it when their own clock says so (ISO 8601 without an offset), and `at`
    is when the first clock does.
    """

    at: float
    zone: str = ""
    however_late: bool = False
    wall: str = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """One update that an editor publishes. Times are seconds since 1970 UTC.

    What is planned has been changed `changes` times; `missed` is a draft whose `send_at` passed
    with nobody there to send it. A correction (`corrects` is the notification whose text it
    replaces) goes to those who got that; `text` is what the recipients not yet reached are sent,
    `revision` counts its changes. A browser that shows it reports so with probability `reporting`.
    `waves` are those that are over and brought it to whom it was held for: their ids, and to how
    many alone, to how many together with others.
    """

    id: int
    content: Content
    audience: Audience
    state: State
    created_at: float
    created_by: str
    started_at: float | None = None
    finished_at: float | None = None
    spread_minutes: int = 0
    send_at: SendAt | None = None
    missed: bool = False
    changes: int = 0
    corrects: int | None = None
    revision: int = 0
    corrected: Content | None = None
    corrections: tuple[int, ...] = ()
    reporting: float = 1.0
    waves: tuple[tuple[int, int, int], ...] = ()

    @property
    def story(self) -> str:
        """The running story that it belongs to, whose alerts replace one another, or nothing."""
        return self.audience.story

    @property
    def by_reader(self) -> bool:
        """Whether a reader asked for it, to try their own browser; no editor needs to see it."""
        return self.audience.subscription is not None and not self.created_by

    @property
    def text(self) -> Content:
        """What those are sent who have not been reached yet."""
        return self.corrected or self.content

    @property
    def deadline(self) -> float:
        """The moment after which no push service is asked to keep it."""
        last = ROUND_THE_WORLD if self.wall else 0
        return (self.started_at or self.created_at) + last + self.content.ttl

    @property
    def last_start(self) -> float:
        """The moment after which no message is started: less than `MIN_TTL` would be left.

        One that was published with hardly more than that still has half its time.
        """
        return self.deadline - min(MIN_TTL, self.content.ttl / 2)

    @property
    def wave(self) -> bool:
        """Whether it brings what was held for its readers, instead of something of its own."""
        return self.audience.waking is not None

    @property
    def wall(self) -> str:
        """The time on each reader's own clock at which it is for them, if it is by those."""
        return self.send_at.wall if self.send_at is not None else ""

    @property
    def urgent(self) -> bool:
        """Whether it overtakes what is being sent (decision 4)."""
        return self.content.kind == "breaking"

    @property
    def planned(self) -> bool:
        """Whether nothing of it was sent yet, and all of it can be changed."""
        return self.state in (State.DRAFT, State.SCHEDULED)

    @property
    def over(self) -> bool:
        """Whether nothing more will be sent."""
        return self.state in (State.SENT, State.CANCELLED, State.EXPIRED)


@dataclass(frozen=True, slots=True)
class Batch:
    """A contiguous range of subscription numbers of one partition: one lease, one worker."""

    partition: int
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"

    @classmethod
    def parse(cls, partition: int, text: str) -> Batch:
        """Read what `str` wrote."""
        start, _, end = text.partition("-")
        return cls(partition, int(start), int(end))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a notification has come.

    Outcomes are counted by outcome and by push service, those skipped by why. A wave `brought` the
    alerts with these ids to so many alone, and to so many together with others.
    """

    recipients: int
    outcomes: dict[tuple[Outcome, str], int]
    brought: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """How many recipients have their outcome."""
        return sum(self.outcomes.values())

    def skipped(self, why: str) -> int:
        """How many were passed over for that reason, one of `SKIPPED`."""
        return self.outcomes.get((Outcome.SKIPPED, why), 0)

    def of(self, outcome: Outcome) -> int:
        """How many ended so, at all push services."""
        return sum(n for (one, _), n in self.outcomes.items() if one is outcome)
