"""The parts of one process, and the checks that must hold before it works."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from redis import BusyLoadingError, RedisError

from service.config import Config, ConfigError
from service.domain.alert_history import AlertHistory
from service.domain.alert_list import AlertList
from service.domain.alert_log import AlertLog
from service.domain.alert_search import AlertSearch
from service.domain.api_tokens import ApiTokens
from service.domain.approvals import Approvals
from service.domain.articles import Articles
from service.domain.canary import Canary
from service.domain.capacity import Capacity
from service.domain.causes import Causes
from service.domain.corrections import Corrections
from service.domain.counting import Counting
from service.domain.daily_totals import DailyTotals
from service.domain.editors import Editors
from service.domain.feed_alerts import FeedAlerts, FeedSettings
from service.domain.feed_clock import FeedClock
from service.domain.feed_hubs import FeedHubs
from service.domain.feeds import Feeds
from service.domain.figures import AlertFigures
from service.domain.forecast import Forecaster
from service.domain.gate import Gate, TwoPersonRule
from service.domain.gone import Gone
from service.domain.headlines import Headlines
from service.domain.job_queue import FetchQueue, JobQueue
from service.domain.keys import KEY_NAME, KeyLost, Keys
from service.domain.mending import Mending
from service.domain.operations import Operations
from service.domain.paired_browsers import PairedBrowsers
from service.domain.passkeys import Passkeys
from service.domain.planning import Planning
from service.domain.pretend_readers import PretendReaders
from service.domain.promises import Promises
from service.domain.provider import Provider
from service.domain.publish_hooks import PublishHooks
from service.domain.publishing import Publishing
from service.domain.push_hosts import PushHosts
from service.domain.push_services import PushServices
from service.domain.questions import Questions
from service.domain.reader_alerts import ReaderAlerts, WelcomeSettings
from service.domain.receipts import Receipts
from service.domain.refused_origins import RefusedOrigins
from service.domain.retiring import Retiring
from service.domain.screens import Screens
from service.domain.seen_origins import SeenOrigins
from service.domain.stops import Stops
from service.domain.store_errors import Loading, Unreachable, in_one_line, may_pass, why_unreachable
from service.domain.stories import Stories
from service.domain.subscriptions import Subscriptions
from service.domain.templates import Templates
from service.domain.text_choice import TextChoice
from service.domain.topics import Topics
from service.domain.two_step import TwoStep
from service.domain.under_way import UnderWay
from service.domain.unfinished import UnfinishedAlerts
from service.domain.unknown_values import UnknownValues
from service.domain.webhook_calls import WebhookCalls
from service.domain.webhook_events import WebhookEvents
from service.domain.webhooks import Seals, Webhooks
from service.live_settings import LiveSettings
from service.model.endpoints import EndpointPolicy
from service.model.inactive import InactivePolicy
from service.model.keys import b64url
from service.model.notifications import MAX_PLAINTEXT
from service.model.payload import Payload
from service.model.process_log import say
from service.model.retention import DAY
from service.model.tokens import Tokens
from service.shared_settings import shared_settings
from service.store import COMMAND, BeingConverted, LayoutError, Patience, Store, connect
from service.store.connection import knock

T = TypeVar("T")

_TRY_AGAIN = 0.5  # seconds between two attempts to reach a Redis that is not there yet
_SAY_AGAIN = 60.0  # seconds


class StoreRefused(ConfigError):
    """A store that this release cannot use, or not with these settings."""


class KeysUnfit(ConfigError):
    """Keys that do not fit the store."""


@dataclass(frozen=True)
class Runtime:
    """The parts of one process; opened after a fork, so that processes share no socket."""

    settings: LiveSettings
    store: Store
    keys: Keys
    job_queue: JobQueue
    fetch_queue: FetchQueue
    planning: Planning
    publishing: Publishing
    corrections: Corrections
    stops: Stops
    approvals: Approvals
    mending: Mending
    promises: Promises
    screens: Screens
    canary: Canary
    retiring: Retiring
    counting: Counting
    capacity: Capacity
    under_way: UnderWay
    causes: Causes
    operations: Operations
    text_choice: TextChoice
    receipts: Receipts
    questions: Questions
    push_services: PushServices
    push_hosts: PushHosts
    gone: Gone
    tokens: Tokens
    endpoints: EndpointPolicy
    editors: Editors
    passkeys: Passkeys
    provider: Provider | None  # with which editors may sign in; only in a web process
    api_tokens: ApiTokens
    topics: Topics
    stories: Stories
    reader_alerts: ReaderAlerts
    subscriptions: Subscriptions
    paired_browsers: PairedBrowsers
    alert_history: AlertHistory
    alert_list: AlertList
    figures: AlertFigures
    daily_totals: DailyTotals
    alert_log: AlertLog
    alert_search: AlertSearch
    unfinished: UnfinishedAlerts
    articles: Articles
    feeds: Feeds
    feed_clock: FeedClock
    templates: Templates
    saved_audiences: Templates
    forecaster: Forecaster
    headlines: Headlines
    refused_origins: RefusedOrigins
    seen_origins: SeenOrigins
    pretend_readers: PretendReaders
    unknown_values: UnknownValues
    webhooks: Webhooks
    publish_hooks: PublishHooks
    webhook_events: WebhookEvents
    webhook_calls: WebhookCalls

    @classmethod
    def start(
        cls,
        config: Config,
        process: str,
        patience: Patience,
        wait_for: type[RedisError] = RedisError,
    ) -> Runtime:
        """Open as soon as Redis answers, and say meanwhile what this `process` waits for.

        Errors other than `wait_for` are raised.
        """

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
        job_queue, fetch_queue = JobQueue(queue), FetchQueue(queue)
        counting = Counting()
        promises = Promises(store, config.promise, counting)
        planning = Planning(store, job_queue, promises.count_ended)
        stops = Stops(store)
        rule = TwoPersonRule(config.two_person_above, config.two_person_breaking)
        gate = Gate(stops, rule)
        corrections = Corrections(store, planning, gate)
        publishing = Publishing(
            store,
            planning,
            gate,
            corrections,
            keeps_clicks=config.click_audiences,
            fits=lambda one: (
                Payload(one, config.public_url, config.opened_links).size <= MAX_PLAINTEXT
            ),
        )
        tokens = Tokens(*config.secret_key)
        own = config.public_url if config.canary_minutes else ""
        endpoints = EndpointPolicy(config.push_services, own)
        seals = Seals(tokens.webhook_keys)
        settings = LiveSettings(config, store.desk_settings)

        welcome = _of_settings(settings, _welcome)
        for_feeds = _of_settings(settings, _for_feeds)
        hubs = FeedHubs(store, fetch_queue, lambda: for_feeds().callbacks)
        feed_alerts = FeedAlerts(publishing, stops, for_feeds)
        reader_alerts = ReaderAlerts(store, publishing, stops, tokens, endpoints, welcome)
        figures = AlertFigures(store, endpoints)
        keeps_clicks, kept = config.click_audiences, config.receipts_kept_days * DAY
        screens = Screens(store, config.promise, counting)
        receipts = Receipts(
            store,
            endpoints,
            screens,
            kept,
            conversions=config.conversions,
            keeps_clicks=keeps_clicks,
            notes_visits=bool(config.retire_after_days),
        )
        keys = Keys(store, tokens, config.vapid_private_key, config.vapid_public_key, first)
        canary = Canary(
            store,
            publishing,
            stops,
            tokens.canary_keys,
            lambda: keys.current,
            minutes=config.canary_minutes,
            public_url=config.public_url,
        )
        capacity = Capacity(store, job_queue, config.promise, config.push_window)
        under_way = UnderWay(store, promises)
        causes = Causes(
            store,
            job_queue,
            fetch_queue,
            keys,
            endpoints,
            canary,
            capacity,
            under_way,
            lambda: _shared(settings, keys),
        )
        push_services, alert_list = PushServices(store), AlertList(store, kept)
        runtime = cls(
            settings=settings,
            store=store,
            keys=keys,
            job_queue=job_queue,
            fetch_queue=fetch_queue,
            planning=planning,
            publishing=publishing,
            corrections=corrections,
            stops=stops,
            approvals=Approvals(store, publishing, corrections, rule),
            mending=Mending(publishing, corrections),
            canary=canary,
            retiring=Retiring(store, publishing, stops, _of_settings(settings, inactive_policy)),
            promises=promises,
            screens=screens,
            counting=counting,
            capacity=capacity,
            under_way=under_way,
            causes=causes,
            operations=Operations(
                store,
                job_queue,
                fetch_queue,
                endpoints,
                canary,
                capacity,
                causes,
                under_way,
                promises,
                push_services,
                alert_list,
                config.push_window,
            ),
            text_choice=TextChoice(publishing, planning.two_texts, job_queue),
            receipts=receipts,
            questions=Questions(store),
            push_services=push_services,
            push_hosts=PushHosts(store, endpoints),
            gone=Gone(store),
            tokens=tokens,
            endpoints=endpoints,
            editors=Editors(
                store,
                TwoStep(store, tokens.two_step_keys),
                config.public_url,
                tokens.address_key,
            ),
            passkeys=Passkeys(store, config.public_url),
            provider=provider_of(config) if without_private_keys else None,
            api_tokens=ApiTokens(store),
            topics=Topics(store),
            stories=Stories(store),
            reader_alerts=reader_alerts,
            subscriptions=Subscriptions(store, tokens, reader_alerts, receipts),
            paired_browsers=PairedBrowsers(store, reader_alerts, stops),
            alert_history=AlertHistory(store),
            alert_list=alert_list,
            figures=figures,
            daily_totals=DailyTotals(store, figures),
            alert_log=AlertLog(store, config.alert_log_kept_days * DAY),
            alert_search=AlertSearch(store),
            unfinished=UnfinishedAlerts(store),
            articles=Articles(store, fetch_queue),
            feeds=Feeds(store, fetch_queue, hubs),
            feed_clock=FeedClock(store, fetch_queue, feed_alerts, hubs),
            templates=Templates(store.templates, "template"),
            saved_audiences=Templates(store.saved_audiences, "audience"),
            forecaster=Forecaster(store, lambda: settings.config.defaults),
            headlines=Headlines(store),
            refused_origins=RefusedOrigins(store),
            seen_origins=SeenOrigins(store),
            pretend_readers=PretendReaders(store),
            unknown_values=UnknownValues(store),
            webhooks=Webhooks(store, seals, config.fetch_origins),
            publish_hooks=PublishHooks(store, seals),
            webhook_events=WebhookEvents(store),
            webhook_calls=WebhookCalls(store, fetch_queue, seals),
        )
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
        return _shared(self.settings, self.keys)


def _shared(settings: LiveSettings, keys: Keys) -> dict[str, str]:
    publics = " ".join(public[:KEY_NAME] for public in keys.publics)
    return {**shared_settings(settings.environment), "VAPID_PRIVATE_KEY": publics}


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
    """Do something as soon as Redis answers, and say meanwhile what this `process` waits for.

    Errors other than `wait_for` are raised.
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
        if isinstance(error, BusyLoadingError):
            raise Loading(why) from None
        if may_pass(error):
            raise Unreachable(why) from None
        raise ConfigError(why) from None
