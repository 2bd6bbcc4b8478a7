"""Domain types: topic, audience, notification, batch, outcome, progress."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any

from service.model.stored import known_fields
from service.model.subscriptions import SubscriptionId
from service.model.time.repeats import Repeat
from service.model.two_texts import B, Decision, SecondText

# Seconds by which a scheduled alert may be late: "kick-off in ten minutes" must not go out at night
# because no clock ran at kick-off.
MOST_LATE = 15 * 60.0
# Seconds from the first clock on Earth that shows a time (UTC+14) to the last (UTC-12).
ROUND_THE_WORLD = 26 * 3600
MIN_TTL, MAX_TTL = 60, 2_419_200  # seconds: Microsoft refuses 0, Google more than 28 days
DEFAULT_TTL = {"news": 4 * 3600, "breaking": 12 * 3600}  # seconds, by kind of alert
# Bytes. Every push service takes a body of 4,096 (RFC 8030 section 7.2); the header takes 86 of
# them, the delimiter one and the tag 16 (RFC 8291 section 4).
ENCRYPTION = 86 + 1 + 16
MAX_PLAINTEXT = 4096 - ENCRYPTION


class Outcome(str, Enum):
    """What became of one recipient; each recipient ends with exactly one."""

    ACCEPTED = "accepted"
    GONE = "gone"
    REFUSED = "refused"
    EXPIRED = "expired"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


# Why a recipient is skipped: quiet hours, daily limit, pause; a newer alert of the story came
# first, or in a wave nothing held is left.
QUIET, LIMIT, PAUSED, OVER = SKIPPED = ("quiet", "limit", "paused", "over")


class State(str, Enum):
    """The state of a notification.

    The last three are final, except that a sent alert which is still held for some readers can be
    cancelled.
    """

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    SENDING = "sending"
    PAUSED = "paused"
    SENT = "sent"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Topic:
    """A subject that a reader can follow."""

    slug: str
    name: str
    description: str = ""
    default: bool = False  # ticked beforehand
    hidden: bool = False  # not offered to readers; who follows it goes on


@dataclass(frozen=True, slots=True)
class Audience:
    """The readers of a notification; all conditions apply together."""

    everyone: bool = False  # or followers of `topics`
    topics: tuple[str, ...] = ()  # slugs; followers of any
    exclude: tuple[str, ...] = ()  # slugs; followers of any are left out
    locales: tuple[str, ...] = ()  # readers in any; empty: in all
    subscription: SubscriptionId | None = None  # alone: a test to one browser
    waking: int | None = None  # alone: readers with alerts held until this quarter hour since 1970
    story: str = ""  # slug; its followers are included as well, readers who muted it are left out
    all_topics: tuple[str, ...] = ()  # slugs; only followers of all
    # The conditions below narrow the whole audience, also the followers of `story`.
    followers_of: str = ""  # slug of a running story; only its followers who did not mute it
    new_within_days: int = 0  # only readers who subscribed since that day began (UTC); 0: all
    not_reached_by: tuple[int, ...] = ()  # ids of alerts; readers who got or await one are left out
    clicked: tuple[int, ...] = ()  # ids of alerts; only readers who clicked any
    last_seen_until: str = ""  # a month: only readers whose last visit was in it or before
    # With `subscription`: that is the canary's, which no reader has (decision 119).
    canary: bool = False

    @property
    def narrowed(self) -> bool:
        """Whether it has a condition that earlier releases do not know; see `as_stored`."""
        return bool(
            self.all_topics or self.followers_of or self.of_the_past or self.last_seen_until
        )

    @property
    def leaves_out(self) -> bool:
        """Whether it leaves out some of those who follow its topics, or of everyone."""
        return bool(self.exclude or self.locales or self.narrowed)

    @property
    def of_the_past(self) -> bool:
        """Whether it depends on what readers did or got, which is known for some time only."""
        return bool(self.new_within_days or self.not_reached_by or self.clicked)

    def includes(
        self, topics: Set[str], locale: str, *, followed: Set[str], muted: Set[str]
    ) -> bool:
        """Whether a reader with these topics and stories is in this audience.

        It is the same rule as the store's script `select_audience`, which finds all readers. An
        audience that depends on what readers did or got, or on their last visit, includes none,
        because that is not known here.
        """
        if self.subscription is not None or self.waking is not None or self.story in muted:
            return False
        if self.of_the_past or self.last_seen_until:
            return False
        if self.followers_of and self.followers_of not in followed - muted:
            return False
        if self.story and self.story in followed:
            return True
        return (
            (self.everyone or not topics.isdisjoint(self.topics))
            and topics >= {*self.all_topics}
            and topics.isdisjoint(self.exclude)
            and (not self.locales or any(f"{locale}-".startswith(f"{x}-") for x in self.locales))
        )

    def as_json(self) -> dict[str, Any]:
        """Return the audience as the API shows it, without the story."""
        if self.waking is not None:
            return {"waking": self.waking}
        if self.subscription is not None:
            return {"subscription": str(self.subscription)}
        document: dict[str, Any] = (
            {"everyone": True} if self.everyone else {"topics": list(self.topics)}
        )
        for name in ("exclude", "locales", "all_topics"):
            if slugs := getattr(self, name):
                document[name] = list(slugs)
        for name in ("followers_of", "new_within_days", "last_seen_until"):
            if value := getattr(self, name):
                document[name] = value
        for name in ("not_reached_by", "clicked"):
            if ids := getattr(self, name):
                document[name] = [str(id) for id in ids]
        return document

    def as_stored(self) -> dict[str, Any]:
        """Return the audience as it is stored, without the story.

        A release that does not know the conditions of a narrowed audience would send to too many
        readers. It reads no topics there, and selects none. Nor does it find a canary's reader.
        """
        if self.canary:
            return {"topics": [], "canary": str(self.subscription)}
        document = self.as_json()
        return {"topics": [], "narrowed": document} if self.narrowed else document

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Audience:
        """Read what `as_stored` wrote, and the story beside it."""
        story, document = document.get("story", ""), document.get("narrowed", document)
        canary = document.get("canary")
        subscription = canary or document.get("subscription")
        known = known_fields(cls, document)
        for name in ("topics", "exclude", "locales", "all_topics"):
            known[name] = tuple(document.get(name, ()))
        for name in ("not_reached_by", "clicked"):
            known[name] = tuple(map(int, document.get(name, ())))
        known["subscription"] = SubscriptionId.parse(subscription) if subscription else None
        return cls(**known | {"story": story, "canary": bool(canary)})


@dataclass(frozen=True, slots=True)
class Action:
    """A button under an alert, and where it leads."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Content:
    """What a reader sees, and how push services are asked to treat it."""

    title: str
    url: str
    body: str = ""
    icon: str | None = None
    badge: str | None = None  # a white silhouette, which Android shows in its status bar
    image: str | None = None
    actions: tuple[Action, ...] = ()
    kind: str = "news"
    urgency: str = "high"
    ttl: int = DEFAULT_TTL["news"]  # seconds
    lang: str | None = None  # BCP 47 tag of the language in which it is written; None: unknown

    def changed(self, *, bare: bool = False, **texts: str | None) -> Content:
        """Return it with these texts; None leaves one as it is. `bare`: no picture, no buttons."""
        changes: dict[str, Any] = {name: text for name, text in texts.items() if text is not None}
        if bare:
            changes |= {"image": None, "actions": ()}
        return replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        """Return the content as it is stored, and as the API shows it."""
        return _as_json(self) | {"actions": [_as_json(action) for action in self.actions]}

    def with_text(self, second: SecondText | None) -> Content:
        """Return the content with a second text, if there is one."""
        return replace(self, title=second.title, body=second.body) if second else self

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Content:
        """Read what `as_json` wrote; leave out what only a newer release knows."""
        actions = tuple(Action(**known_fields(Action, action)) for action in document["actions"])
        return cls(**{**known_fields(cls, document), "actions": actions})


def _as_json(one: Action | Content) -> dict[str, Any]:
    return {field.name: getattr(one, field.name) for field in fields(one)}


@dataclass(frozen=True, slots=True)
class SendAt:
    """When an alert is to be sent."""

    at: float  # seconds since 1970 UTC; with `wall`, when the first clock on Earth shows it
    zone: str = ""  # IANA name, as it was given; may be empty
    however_late: bool = False  # send it even if no clock ran at that time; else it becomes a draft
    wall: str = ""  # ISO 8601 without an offset: send it when each reader's own clock shows this
    # When an editor sent it, who can take it back until `at`; None: it was scheduled.
    sent_at: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """That an alert is to be sent once a second person has approved it (decision 94)."""

    by: str  # who asked: an editor's address, or the name of a token
    at: float  # seconds since 1970
    leave: bool = False  # a correction: leave the old text where readers have it
    sent_back_by: str = ""  # an editor who did not approve it; empty: it waits
    word: str = ""  # what that editor said
    # A correction: how often the alert was corrected by then; None: an earlier release asked.
    revision: int | None = None
    handed_in: bool = False  # a writer says that the draft is ready to be sent


@dataclass(frozen=True, slots=True)
class Mends:
    """What a correction that an editor can still take back makes of its alert (decision 113)."""

    revision: int  # how often the alert was corrected before
    leave: bool = False  # leave the old text where readers have it
    then: str = ""  # the alert's state from then on: sending, cancelled; empty: as it is
    paused: tuple[int, ...] = ()  # alert and corrections that were paused until then


@dataclass(frozen=True, slots=True)
class Notification:
    """One update that an editor publishes. Times are seconds since 1970 UTC."""

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
    missed: bool = False  # it became a draft because no clock ran at `send_at`
    changes: int = 0  # how often it was changed before it was sent
    corrects: int | None = None  # a correction: the notification whose text it replaces
    revision: int = 0  # how often its text was corrected
    corrected: Content | None = None  # the latest text, if it was corrected
    corrections: tuple[int, ...] = ()  # ids of its corrections
    reporting: float = 1.0  # share of the browsers that report what they show
    # Finished waves that delivered it: id, to how many readers alone, to how many with others.
    waves: tuple[tuple[int, int, int], ...] = ()
    authors: tuple[str, ...] = ()  # editors who wrote or changed it, or made the token that did
    request: Request | None = None
    was_ready: Request | None = None  # how it was handed in, while sending it can be taken back
    approved_by: str = ""  # the second person
    # The id of the request by which it was last written, approved or sent: logs name it.
    request_id: str = field(default="", compare=False)
    # The span of that request, or of the clock's work: those of workers are within it (traces.py).
    trace: str = field(default="", compare=False)
    second_text: SecondText | None = None  # text B, which is tried on a sample of the audience
    decision: Decision | None = None  # between both texts
    withheld: bool = False  # it ran out of time while it was paused: no wave sends it any more
    repeat: Repeat | None = None  # of one that repeats, or did until the next one was made
    link_parameters: str = ""  # those of its feed, in place of LINK_PARAMETERS
    mends: Mends | None = None  # of a correction that can or could be taken back
    # Of all that is stored of its content and plan, for which an approval holds.
    digest: str = field(default="", compare=False)

    @property
    def version(self) -> str:
        """What tells a planned alert from itself after any change: the API's ETag.

        The count of changes alone does not, where Redis has forgotten its last second.
        """
        return f"{self.changes}-{self.digest[:8]}-{self.state.value}"

    @property
    def has_time(self) -> bool:
        """Whether it is scheduled, or is once a second person approves it, if it repeats."""
        return self.state is State.SCHEDULED or self.repeats is not None

    @property
    def story(self) -> str:
        """Slug of its running story, whose alerts replace one another; may be empty."""
        return self.audience.story

    @property
    def to_one(self) -> bool:
        """Whether it is a test or a welcome to one browser: no list has it, and it is not kept."""
        return self.audience.subscription is not None

    @property
    def text(self) -> Content:
        """What recipients get from now on; while two texts are tried, text A."""
        if self.corrected is None and self.decision is not None and self.decision.text == B:
            return self.text_b
        return self.corrected or self.content

    @property
    def text_b(self) -> Content:
        """The content with the second text, if it has one."""
        return self.content.with_text(self.second_text)

    @property
    def sampling(self) -> bool:
        """Whether only a sample gets it so far, because two texts are tried.

        A correction ends that.
        """
        return self.second_text is not None and self.decision is None and not self.revision

    @property
    def decides_at(self) -> float:
        """When the clock decides between two texts."""
        minutes = self.second_text.decide_after_minutes if self.second_text else 0
        return (self.started_at or self.created_at) + 60 * minutes

    @property
    def deadline(self) -> float:
        """When it expires: no push service is asked to keep it longer.

        Where two texts were tried, its time begins anew when the other readers get it.
        """
        last = ROUND_THE_WORLD if self.wall else 0
        begins = self.decision.at if self.decision else self.started_at or self.created_at
        return begins + last + self.content.ttl

    @property
    def last_start(self) -> float:
        """When the last message may start, so that at least `MIN_TTL` is left for it.

        With a `ttl` of hardly more than that, half of the time is enough.
        """
        return self.deadline - min(MIN_TTL, self.content.ttl / 2)

    @property
    def wave(self) -> bool:
        """Whether it is a wave: it delivers held alerts and has no text of its own."""
        return self.audience.waking is not None

    @property
    def wall(self) -> str:
        """The time on each reader's own clock at which it is sent; may be empty."""
        return self.send_at.wall if self.send_at is not None else ""

    @property
    def urgent(self) -> bool:
        """Whether it overtakes what is being sent (decision 4)."""
        return self.content.kind == "breaking"

    @property
    def planned(self) -> bool:
        """Whether sending has not begun, so that all of it can be changed."""
        return self.state in (State.DRAFT, State.SCHEDULED)

    @property
    def repeats(self) -> Repeat | None:
        """How it repeats, until the next one is made."""
        return None if self.repeat is None or self.repeat.followed else self.repeat

    @property
    def waits_for_undo(self) -> bool:
        """Whether an editor has sent it, and can still take it back."""
        pressed = self.send_at is not None and self.send_at.sent_at is not None
        return pressed and self.state is State.SCHEDULED

    @property
    def waits_for_approval(self) -> bool:
        """Whether a second person has to approve it before it is sent."""
        return self.request is not None and not self.request.sent_back_by

    @property
    def is_ready(self) -> bool:
        """Whether a writer has handed it in."""
        return self.waits_for_approval and self.request is not None and self.request.handed_in

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
    """How far a notification has come."""

    recipients: int
    # How many by outcome and push service; of skipped recipients by the reason.
    outcomes: dict[tuple[Outcome, str], int]
    # A wave: by alert, to how many readers it was delivered alone, and together with others.
    delivered: dict[int, tuple[int, int]] = field(default_factory=dict)
    # Where two texts were tried: by text, how many in the sample accepted it at push services whose
    # browsers report clicks, and at the others.
    tried: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """How many recipients have their outcome."""
        return sum(self.outcomes.values())

    def skipped(self, why: str) -> int:
        """How many were skipped for this reason, one of `SKIPPED`."""
        return self.outcomes.get((Outcome.SKIPPED, why), 0)

    def of(self, outcome: Outcome) -> int:
        """How many have this outcome, at all push services."""
        return sum(n for (one, _), n in self.outcomes.items() if one is outcome)
