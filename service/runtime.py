"""The parts of one process, and the checks that must hold before it works."""

from __future__ import annotations

from dataclasses import dataclass

from service.config import Config, ConfigError
from service.domain.api_tokens import ApiTokens
from service.domain.editors import Editors
from service.domain.forecast import Forecaster
from service.domain.gone import Gone
from service.domain.history import History
from service.domain.job_queue import JobQueue
from service.domain.keys import KeyLost, Keys
from service.domain.planning import Dispatch
from service.domain.publishing import Publishing
from service.domain.push_services import PushServices
from service.domain.reader_alerts import ReaderAlerts, WelcomeSettings
from service.domain.receipts import Receipts
from service.domain.refused_origins import RefusedOrigins
from service.domain.stories import Stories
from service.domain.subscriptions import Subscriptions
from service.domain.topics import Topics
from service.model.endpoints import EndpointPolicy
from service.model.tokens import Tokens
from service.store import LayoutError, Store, connect


@dataclass(frozen=True)
class Runtime:
    """The parts of one process; opened after a fork, so that processes share no socket."""

    config: Config
    store: Store
    keys: Keys
    job_queue: JobQueue
    dispatch: Dispatch
    publishing: Publishing
    receipts: Receipts
    push_services: PushServices
    gone: Gone
    tokens: Tokens
    endpoints: EndpointPolicy
    editors: Editors
    api_tokens: ApiTokens
    topics: Topics
    stories: Stories
    reader_alerts: ReaderAlerts
    subscriptions: Subscriptions
    history: History
    forecaster: Forecaster
    refused_origins: RefusedOrigins

    @classmethod
    def open(cls, config: Config, *, patient: bool = False) -> Runtime:
        """Connect and check; `ConfigError` says in one line what keeps this process from working.

        A patient runtime, for workers and the clock, waits half a minute while Redis is away.
        """
        config.check_complete()
        queue = connect(config.redis_url, patient=patient)
        stored = connect(config.store_url, patient=patient) if config.store_url else queue
        store = Store(stored, config.store_partitions)
        job_queue = JobQueue(queue)
        dispatch = Dispatch(store, job_queue)
        publishing = Publishing(store, dispatch, job_queue)
        tokens, endpoints = Tokens(config.secret_key), EndpointPolicy(config.push_services)
        welcome = WelcomeSettings(
            mode=config.welcome,
            title=config.welcome_title,
            body=config.welcome_body,
            site_name=config.site_name,
            site_language=config.site_language,
            front_page=config.front_page,
        )
        reader_alerts = ReaderAlerts(store, publishing, tokens, endpoints, welcome)
        runtime = cls(
            config=config,
            store=store,
            keys=Keys(store, config.vapid_private_key, tokens),
            job_queue=job_queue,
            dispatch=dispatch,
            publishing=publishing,
            receipts=Receipts(store),
            push_services=PushServices(store),
            gone=Gone(store),
            tokens=tokens,
            endpoints=endpoints,
            editors=Editors(store, config.public_url),
            api_tokens=ApiTokens(store),
            topics=Topics(store),
            stories=Stories(store),
            reader_alerts=reader_alerts,
            subscriptions=Subscriptions(store, tokens, reader_alerts),
            history=History(store),
            forecaster=Forecaster(store, config.defaults),
            refused_origins=RefusedOrigins(store),
        )
        try:
            # The layout first: keys are read from a store that this code understands.
            store.prepare(config.store_partitions)
            runtime.keys.check()
        except (LayoutError, KeyLost) as error:
            raise ConfigError(str(error)) from None
        return runtime
