"""The parts of one process, and the checks that must hold before it works."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from redis import BusyLoadingError, Redis, RedisError

from service.config import Config, ConfigError
from service.domain.alerts.alert_list import AlertList
from service.domain.alerts.alert_log import AlertLog
from service.domain.alerts.alert_search import AlertSearch
from service.domain.alerts.approvals import Approvals
from service.domain.alerts.corrections import Corrections
from service.domain.alerts.figures import AlertFigures
from service.domain.alerts.forecast import Forecaster
from service.domain.alerts.gate import Gate, TwoPersonRule
from service.domain.alerts.headlines import Headlines
from service.domain.alerts.mending import Mending
from service.domain.alerts.publishing import Publishing
from service.domain.alerts.stops import Stops
from service.domain.alerts.stories import Stories
from service.domain.alerts.templates import Templates
from service.domain.alerts.text_choice import TextChoice
from service.domain.alerts.topics import Topics
from service.domain.alerts.unfinished import UnfinishedAlerts
from service.domain.counting import Counting
from service.domain.keys import KEY_NAME, KeyLost, Keys
from service.domain.newsroom.articles import Articles
from service.domain.newsroom.feed_alerts import FeedAlerts, FeedSettings
from service.domain.newsroom.feed_clock import FeedClock
from service.domain.newsroom.feed_hubs import FeedHubs
from service.domain.newsroom.feeds import Feeds
from service.domain.newsroom.publish_hooks import PublishHooks
from service.domain.newsroom.webhook_calls import WebhookCalls
from service.domain.newsroom.webhook_events import WebhookEvents
from service.domain.newsroom.webhooks import Seals, Webhooks
from service.domain.operations.canary import Canary
from service.domain.operations.capacity import Capacity
from service.domain.operations.causes import Causes
from service.domain.operations.daily_totals import DailyTotals
from service.domain.operations.operations import Operations
from service.domain.operations.pretend_readers import PretendReaders
from service.domain.operations.promises import Promises
from service.domain.operations.under_way import UnderWay
from service.domain.operations.unknown_values import UnknownValues
from service.domain.people.api_tokens import ApiTokens
from service.domain.people.editors import Editors
from service.domain.people.paired_browsers import PairedBrowsers
from service.domain.people.passkeys import Passkeys
from service.domain.people.provider import Provider
from service.domain.people.two_step import TwoStep
from service.domain.readers.alert_history import AlertHistory
from service.domain.readers.questions import Questions
from service.domain.readers.reader_alerts import ReaderAlerts, WelcomeSettings
from service.domain.readers.refused_origins import RefusedOrigins
from service.domain.readers.retiring import Retiring
from service.domain.readers.seen_origins import SeenOrigins
from service.domain.readers.subscriptions import Subscriptions
from service.domain.sending.gone import Gone
from service.domain.sending.job_queue import FetchQueue, JobQueue
from service.domain.sending.planning import Planning
from service.domain.sending.push_hosts import PushHosts
from service.domain.sending.push_services import PushServices
from service.domain.sending.receipts import Receipts
from service.domain.sending.screens import Screens
from service.domain.store_errors import (
    Loading,
    Unreachable,
    cause_of,
    in_one_line,
    may_pass,
    why_unreachable,
)
from service.live_settings import LiveSettings
from service.model.inactive import InactivePolicy
from service.model.keys import b64url
from service.model.network.endpoints import EndpointPolicy
from service.model.notifications import MAX_PLAINTEXT
from service.model.operations.process_log import say
from service.model.payload import Payload
from service.model.retention import DAY
from service.model.tokens import Tokens
from service.shared_settings import shared_settings
from service.store import COMMAND, BeingConverted, LayoutError, Patience, Store, connect
from service.store.redis_servers.connection import knock

T = TypeVar("T")

_TRY_AGAIN = 0.5  # seconds between two attempts to reach a Redis that is not there yet
_SAY_AGAIN = 60.0  # seconds


class StoreRefused(ConfigError):
    """A store that this release cannot use, or not with these settings."""


class KeysUnfit(ConfigError):
    """Keys that do not fit the store."""


class Runtime:
    """The parts of one process; opened after a fork, so that processes share no socket."""

    def __init__(
        self, config: Config, store: Store, queue: Redis, ignored_keys: tuple[str, ...] = ()
    ) -> None:
        """Make all parts, the later ones of earlier ones.

        `ignored_keys`: the public halves of the private VAPID keys that a web process ignores.
        """
        self.settings = LiveSettings(config, store.desk_settings)
        self.store = store
        self.job_queue, self.fetch_queue = JobQueue(queue), FetchQueue(queue)
        self.counting = Counting()
        self.tokens = Tokens(*config.secret_key)
        self.keys = Keys(
            store, self.tokens, config.vapid_private_key, config.vapid_public_key, ignored_keys
        )
        own = config.public_url if config.canary_minutes else ""
        self.endpoints = EndpointPolicy(config.push_services, own)
        self.provider: Provider | None = None  # with which editors may sign in; of web processes
        self._make_sending(config)
        self._make_for_readers(config)
        self._make_for_editors(config)
        self._make_for_programs(config)
        self._make_reports(config)

    def _make_sending(self, config: Config) -> None:
        store = self.store
        self.promises = Promises(store, config.promise, self.counting)
        self.planning = Planning(store, self.job_queue, self.promises.count_ended)
        self.stops = Stops(store)
        rule = TwoPersonRule(config.two_person_above, config.two_person_breaking)
        gate = Gate(self.stops, rule)
        self.corrections = Corrections(store, self.planning, gate)
        self.publishing = Publishing(
            store,
            self.planning,
            gate,
            self.corrections,
            keeps_clicks=config.click_audiences,
            fits=lambda one: (
                Payload(one, config.public_url, config.opened_links).size <= MAX_PLAINTEXT
            ),
        )
        self.approvals = Approvals(store, self.publishing, self.corrections, rule)
        self.mending = Mending(self.publishing, self.corrections)
        self.text_choice = TextChoice(self.publishing, self.planning.two_texts, self.job_queue)
        self.push_services = PushServices(store)
        self.push_hosts = PushHosts(store, self.endpoints)
        self.gone = Gone(store)
        self.canary = Canary(
            store,
            self.publishing,
            self.stops,
            self.tokens.canary_keys,
            lambda: self.keys.current,
            minutes=config.canary_minutes,
            public_url=config.public_url,
        )

    def _make_for_readers(self, config: Config) -> None:
        store = self.store
        self.topics = Topics(store)
        self.stories = Stories(store)
        self.reader_alerts = ReaderAlerts(
            store,
            self.publishing,
            self.stops,
            self.tokens,
            self.endpoints,
            _of_settings(self.settings, _welcome),
        )
        self.screens = Screens(store, config.promise, self.counting)
        self.receipts = Receipts(
            store,
            self.endpoints,
            self.screens,
            config.receipts_kept_days * DAY,
            conversions=config.conversions,
            keeps_clicks=config.click_audiences,
            notes_visits=bool(config.retire_after_days),
        )
        self.subscriptions = Subscriptions(store, self.tokens, self.reader_alerts, self.receipts)
        self.paired_browsers = PairedBrowsers(store, self.reader_alerts, self.stops)
        self.alert_history = AlertHistory(store)
        self.retiring = Retiring(
            store, self.publishing, self.stops, _of_settings(self.settings, inactive_policy)
        )
        self.questions = Questions(store)
        self.pretend_readers = PretendReaders(store)
        self.refused_origins = RefusedOrigins(store)
        self.seen_origins = SeenOrigins(store)

    def _make_for_editors(self, config: Config) -> None:
        store = self.store
        two_step = TwoStep(store, self.tokens.two_step_keys)
        self.editors = Editors(store, two_step, config.public_url, self.tokens.address_key)
        self.passkeys = Passkeys(store, config.public_url)
        self.unfinished = UnfinishedAlerts(store)
        self.templates = Templates(store.templates, "template")
        self.saved_audiences = Templates(store.saved_audiences, "audience")
        self.forecaster = Forecaster(store, lambda: self.config.defaults)
        self.headlines = Headlines(store)
        self.alert_log = AlertLog(store, config.alert_log_kept_days * DAY)
        self.alert_search = AlertSearch(store)
        self.alert_list = AlertList(store, config.receipts_kept_days * DAY)

    def _make_for_programs(self, config: Config) -> None:
        """Make what programs of the newsroom use, and what fetch processes do."""
        store = self.store
        self.api_tokens = ApiTokens(store)
        self.articles = Articles(store, self.fetch_queue)
        for_feeds = _of_settings(self.settings, _for_feeds)
        hubs = FeedHubs(store, self.fetch_queue, lambda: for_feeds().callbacks)
        self.feeds = Feeds(store, self.fetch_queue, hubs)
        feed_alerts = FeedAlerts(self.publishing, self.stops, for_feeds)
        self.feed_clock = FeedClock(store, self.fetch_queue, feed_alerts, hubs)
        seals = Seals(self.tokens.webhook_keys)
        self.webhooks = Webhooks(store, seals, config.fetch_origins)
        self.webhook_events = WebhookEvents(store)
        self.webhook_calls = WebhookCalls(store, self.fetch_queue, seals)
        self.publish_hooks = PublishHooks(store, seals)

    def _make_reports(self, config: Config) -> None:
        """Make what reports on alerts, and on the installation itself."""
        store = self.store
        self.figures = AlertFigures(store, self.endpoints)
        self.daily_totals = DailyTotals(store, self.figures)
        self.unknown_values = UnknownValues(store)
        self.capacity = Capacity(store, self.job_queue, config.promise, config.push_window)
        self.under_way = UnderWay(store, self.promises)
        self.causes = Causes(
            store,
            self.job_queue,
            self.fetch_queue,
            self.keys,
            self.endpoints,
            self.canary,
            self.capacity,
            self.under_way,
            lambda: self.shared,
        )
        self.operations = Operations(
            store,
            self.job_queue,
            self.fetch_queue,
            self.endpoints,
            self.canary,
            self.capacity,
            self.causes,
            self.under_way,
            self.promises,
            self.push_services,
            self.alert_list,
            config.push_window,
        )

    @classmethod
    def start(
        cls,
        config: Config,
        process: str,
        patience: Patience,
        wait_for: type[RedisError] = RedisError,
    ) -> Runtime:
        """Open as soon as Redis answers; see `as_soon_as_redis_answers`."""

        def opened() -> Runtime:
            runtime = cls.open(
                config,
                patience,
                without_private_keys=process == "web",
                as_workers=process == "stoppress",
            )
            runtime.store.processes.set_clock()
            return runtime

        return as_soon_as_redis_answers(process, opened, wait_for)

    @classmethod
    def open(
        cls,
        config: Config,
        patience: Patience = COMMAND,
        *,
        without_private_keys: bool = False,
        as_workers: bool = False,
    ) -> Runtime:
        """Connect and check; `ConfigError` says in one line what keeps this process from working.

        With `as_workers`, as in commands, the keys must be those of the workers.
        `Unreachable` says the same of a Redis that is not there, or not yet.
        """
        first: tuple[str, ...] = ()
        if without_private_keys:
            first = tuple(b64url(key.public) for key in config.vapid_private_key)
            config = replace(config, vapid_private_key=())
        config.check_complete()
        check_redis(config)
        queue = connect(config.redis_url, patience)
        stored = connect(config.store_url, patience) if config.store_url else queue
        try:
            store = Store(stored, config.store_partitions, config.store_wait_replicas)
        except LayoutError as error:
            raise StoreRefused(str(error)) from None
        runtime = cls(config, store, queue, first)
        if without_private_keys:
            runtime.provider = provider_of(config)
        try:
            store.convert()
            runtime.keys.check(as_workers=as_workers)
        except BeingConverted as error:
            raise Loading(str(error)) from None
        except KeyLost as error:
            raise KeysUnfit(str(error)) from None
        return runtime

    @property
    def config(self) -> Config:
        """The settings as they hold now; what is set at the desk may be another a moment later."""
        return self.settings.config

    @property
    def shared(self) -> dict[str, str]:
        """The settings that must agree in all processes; VAPID keys by their public halves.

        They are those of the environment: all processes follow what is set at the desk.
        """
        publics = " ".join(public[:KEY_NAME] for public in self.keys.publics)
        return {**shared_settings(self.settings.environment), "VAPID_PRIVATE_KEY": publics}


def _of_settings(settings: LiveSettings, make: Callable[[Config], T]) -> Callable[[], T]:
    """Return what makes something of the settings as they are now, and again when they change."""
    last = settings.config, make(settings.config)

    def made() -> T:
        nonlocal last
        if (now := settings.config) is not last[0]:
            last = now, make(now)
        return last[1]

    return made


def _welcome(config: Config) -> WelcomeSettings:
    return WelcomeSettings(
        mode=config.welcome,
        title=config.welcome_title,
        body=config.welcome_body,
        site_name=config.site_name,
        site_icon=config.site_icon,
        site_language=config.site_language,
        front_page=config.front_page,
    )


def inactive_policy(config: Config) -> InactivePolicy:
    """Return what the settings say of readers who do not visit."""
    return InactivePolicy(
        after_days=config.retire_after_days,
        answer_days=config.retire_answer_days,
        site_name=config.site_name,
        site_icon=config.site_icon,
        language=config.site_language,
        front_page=config.front_page,
    )


def _for_feeds(config: Config) -> FeedSettings:
    return FeedSettings(
        public_url=config.public_url,
        language=config.site_language,
        icon=config.site_icon,
        parameters=config.opened_links,
        callbacks=config.public_url if config.site_url else "",
    )


def as_soon_as_redis_answers(
    process: str, do: Callable[[], T], wait_for: type[RedisError] = RedisError
) -> T:
    """Call `do` until it succeeds. Meanwhile the log of this `process` says why it waits.

    Only an error of the kind `wait_for` is waited out; any other is raised.
    """
    said, said_at = "", 0.0
    while True:
        try:
            return do()
        except wait_for as error:
            why = in_one_line(error)
            if why != said or time.monotonic() - said_at >= _SAY_AGAIN:
                said, said_at = why, time.monotonic()
                say(process, f"waiting, because {why}")
        time.sleep(_TRY_AGAIN)


def provider_of(config: Config) -> Provider | None:
    """Return the provider that the settings name; `ConfigError` if they are not complete."""
    config.check_provider()
    if not config.oidc_issuer:
        return None
    back = f"{config.public_url}/desk/sign-in/provider/back"
    known_as = (config.oidc_client_id, config.oidc_client_secret)
    return Provider(config.oidc_name, config.oidc_issuer, known_as, back)


def check_redis(config: Config) -> None:
    """Check that each Redis answers and is one that we can use; `ConfigError`, `Unreachable`."""
    for setting, url in config.addresses.items():
        _check_one(setting, url)


def _check_one(setting: str, url: str) -> None:
    try:
        knock(url)
    except RedisError as error:
        why = f"{setting}: Redis {why_unreachable(error)}"
        if isinstance(cause_of(error), BusyLoadingError):
            raise Loading(why) from None
        if may_pass(error):
            raise Unreachable(why) from None
        raise ConfigError(why) from None
