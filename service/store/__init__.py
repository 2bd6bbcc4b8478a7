"""Everything kept in Redis: every key and every Lua script is in this folder.

Three rules hold for all of them:

**One slot a script.** Keys of one partition share a hash tag (`{10}`, `{3}`…: partitions.py), all
others share `{g}`. A script gets keys of one tag, and all of them in KEYS, so that a Redis Cluster
runs it too. The comments of this folder leave the tag of a partition out: `live` is `{10}:live`….

**The first write frees, or allocates.** When `maxmemory` is reached, Redis refuses a script at its
first write if that command may need memory, but lets every command pass after a write that needs
none. So a script that carries on what has begun (records outcomes, stops an alert, removes a
reader) begins with a write that frees, and then runs to its end; where it has nothing to free, it
removes an empty name that is never there. A script that begins something new (publishes,
subscribes) begins with a write that allocates, and is refused as a whole.

**Look again.** A script that changes what its caller has read is given the value that was read, and
writes nothing if it finds another; the caller then reads again.
"""

from __future__ import annotations

from redis import Redis

from service.model.notifications import Progress
from service.store.alerts.alert_log import AlertLog
from service.store.alerts.alert_rows import AlertRows
from service.store.alerts.alert_search import SearchRows
from service.store.alerts.audiences import Audiences
from service.store.alerts.notifications import Notifications
from service.store.alerts.outcomes import Outcomes
from service.store.alerts.planned import Planned
from service.store.alerts.promises import PromiseRows
from service.store.alerts.receipt_counts import ReceiptCounts
from service.store.alerts.recipients import Recipients
from service.store.alerts.stops import Stops
from service.store.alerts.templates import AUDIENCES, TEMPLATES, TemplateRows
from service.store.alerts.two_texts import TwoTextRows
from service.store.alerts.unfinished import UnfinishedForms
from service.store.layout.departures import Departures
from service.store.layout.joined import Joined
from service.store.layout.names import Names
from service.store.layout.partitions import VERSION, Partitions, spread
from service.store.layout.records import Records
from service.store.newsroom.articles import Articles
from service.store.newsroom.calls import Calls
from service.store.newsroom.desk_settings import DeskSettings
from service.store.newsroom.feeds import Feeds
from service.store.newsroom.publish_hooks import PublishHooks
from service.store.newsroom.webhooks import Webhooks
from service.store.operations.canary import CanaryRows
from service.store.operations.causes import CauseRows
from service.store.operations.conversion import CONVERSION, BeingConverted, convert
from service.store.operations.counted import Counted
from service.store.operations.daily_totals import DailyTotals
from service.store.operations.installation import Installation, LayoutError
from service.store.operations.losses import lost_partitions
from service.store.operations.moving import MovingRows
from service.store.operations.processes import Processes
from service.store.people.access import Access
from service.store.people.paired_browsers import PairedBrowsers
from service.store.people.passkeys import PasskeyRows
from service.store.people.two_step import TwoStepRows
from service.store.readers.all_readers import AllReaders
from service.store.readers.arrivals import Arrivals
from service.store.readers.host_readers import HostReaders
from service.store.readers.questions import QuestionCounts
from service.store.readers.retiring import RetiringRows
from service.store.readers.seeds import Seeds
from service.store.readers.stories import Stories
from service.store.readers.subscriptions import Subscriptions
from service.store.readers.topics import Topics
from service.store.readers.unknown_values import UnknownValues
from service.store.redis_servers.connection import COMMAND, COUNTER, PAGE, WORKER, Patience, connect
from service.store.redis_servers.memory import (
    Following,
    Memory,
    following,
    is_kept_on_disk,
    memory_of,
)
from service.store.redis_servers.replicas import Replicas
from service.store.sending.batches import Batches
from service.store.sending.clicks import Clicks
from service.store.sending.daily_counts import DailyCounts
from service.store.sending.gone import GoneRows
from service.store.sending.held_alerts import HeldAlerts
from service.store.sending.prepared_keys import PreparedKeys
from service.store.sending.push_services import PushServices
from service.store.sending.retries import WaitingRetries

__all__ = [
    "COMMAND",
    "COUNTER",
    "PAGE",
    "WORKER",
    "BeingConverted",
    "LayoutError",
    "Patience",
    "Store",
    "connect",
]

NEW_PARTITIONS = 12  # of a new store, if STORE_PARTITIONS is not set; decision 81


class Store:
    """The store, one part for each concern; made once in each process, after it was forked.

    A new store is divided into as many `partitions` as asked for. A known one keeps those that it
    has: `LayoutError` if another number is asked for, or if a later release has made it.
    """

    def __init__(self, redis: Redis, partitions: int | None = None, wait_replicas: int = 0) -> None:
        self.redis = redis
        self._replicas = Replicas(redis, wait_replicas)
        self.installation = Installation(redis)
        self.partitions = self._partitions(partitions)
        self.processes = Processes(redis)
        self.access = Access(redis)
        self.two_step = TwoStepRows(redis)
        self.passkeys = PasskeyRows(redis)
        self.paired_browsers = PairedBrowsers(redis)
        self.unfinished = UnfinishedForms(redis)
        self.templates = TemplateRows(redis, TEMPLATES)
        self.saved_audiences = TemplateRows(redis, AUDIENCES)
        self.desk_settings = DeskSettings(redis)
        self.articles = Articles(redis)
        self.feeds = Feeds(redis)
        self.calls = Calls(redis)
        self.webhooks = Webhooks(redis)
        self.publish_hooks = PublishHooks(redis)
        self.causes = CauseRows(redis)
        self.counted = Counted(redis)
        self.unknown_values = UnknownValues(redis)
        self.moving = MovingRows(redis, self.partitions)
        self._make_readers(redis)
        self._make_alerts(redis)
        self._make_sending(redis)

    def _make_readers(self, redis: Redis) -> None:
        self.names = Names(redis)
        self.topics = Topics(redis, self.partitions)
        self.stories = Stories(redis, self.partitions)
        self.records = Records(redis)
        self.departures = Departures(redis, self.partitions)
        self.subscriptions = Subscriptions(
            redis,
            self.partitions,
            self.names,
            self.topics,
            self.stories,
            self.departures,
            self._replicas,
        )
        self.all_readers = AllReaders(
            redis, self.partitions, self.names, self.records, self.topics, self.stories
        )
        self.arrivals = Arrivals(
            redis,
            self.partitions,
            self.names,
            self.topics,
            self.records,
            self.subscriptions,
            self._replicas,
        )
        self.host_readers = HostReaders(redis, self.partitions, self.records)
        self.seeds = Seeds(redis, self.partitions, self.names, self.subscriptions)
        self.retiring = RetiringRows(redis, self.partitions, self.records)
        self.prepared_keys = PreparedKeys(redis, self.partitions)
        self.questions = QuestionCounts(redis)

    def _make_alerts(self, redis: Redis) -> None:
        self.notifications = Notifications(redis, self._replicas)
        self.planned = Planned(redis)
        self.joined = Joined(redis, self.partitions)
        self.clicks = Clicks(redis, self.partitions)
        self.held_alerts = HeldAlerts(redis, self.partitions)
        self.audiences = Audiences(
            redis,
            self.partitions,
            self.names,
            self.topics,
            self.notifications,
            self.held_alerts,
            self.joined,
            self.clicks,
        )
        self.promises = PromiseRows(redis)
        self.receipt_counts = ReceiptCounts(redis)
        self.alert_log = AlertLog(redis)
        self.alert_rows = AlertRows(redis)
        self.search_rows = SearchRows(redis, self.notifications)
        self.stops = Stops(redis, self._replicas)

    def _make_sending(self, redis: Redis) -> None:
        self.push_services = PushServices(redis)
        self.canary = CanaryRows(redis, self.partitions)
        self.gone = GoneRows(redis, self.partitions)
        self.recipients = Recipients(redis, self.partitions, self.audiences)
        self.batches = Batches(redis, self.partitions)
        self.retries = WaitingRetries(redis, self.partitions)
        self.outcomes = Outcomes(redis, self.partitions)
        self.two_texts = TwoTextRows(redis, self.partitions)
        self.daily_counts = DailyCounts(redis)
        self.daily_totals = DailyTotals(redis)

    def progress(self, id: int) -> Progress:
        """Return how far a notification has come: its final report, or what is counted so far."""
        return self.outcomes.report(id) or self.outcomes.progress(id)

    def memory(self) -> Memory | None:
        """Return the memory that Redis uses and may use; None if it does not tell."""
        return memory_of(self.redis)

    def is_kept_on_disk(self) -> bool | None:
        """Whether Redis appends every write to a file; None if it does not tell."""
        return is_kept_on_disk(self.redis)

    def following(self) -> Following | None:
        """Return the replicas of Redis; None if it does not tell."""
        return following(self.redis)

    def lost_partitions(self) -> list[int]:
        """Return the partitions whose data seem to be lost."""
        return lost_partitions(self.redis, self.partitions)

    def check_writable(self) -> None:
        """Raise `RedisError` if Redis takes no new data, by a write that allocates."""
        self.redis.set("{g}:writable", "", px=1)

    def _partitions(self, wanted: int | None) -> Partitions:
        kept, needs = self.installation.remember_layout(spread(wanted or NEW_PARTITIONS))
        if kept.version > VERSION or needs > CONVERSION:
            raise LayoutError(
                "a later release of Stop Press has written this store (version"
                f" {kept.version}.{needs}, this one reads up to {VERSION}.{CONVERSION}). Install"
                " that release again, or restore a copy of the store from before the update"
            )
        if wanted not in (None, len(kept)):
            raise LayoutError(
                f"STORE_PARTITIONS: the store was made with {len(kept)} and cannot be changed"
            )
        return kept

    def convert(self) -> None:
        """Bring the data of earlier releases up to date; `BeingConverted` if another does."""
        convert(self.redis, self.partitions)
        self.joined.remember()
