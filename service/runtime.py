"""What every process is put together from, and the checks that must hold before it works."""

from __future__ import annotations

import time
from dataclasses import dataclass

from service.config import Config, ConfigError
from service.domain.editors import Editors
from service.domain.gone import Gone
from service.domain.planning import Dispatch
from service.domain.publishing import Publishing
from service.domain.welcome import Welcome, WelcomeSettings
from service.model.endpoints import EndpointPolicy
from service.model.keys import VapidKey, b64url
from service.model.tokens import Tokens
from service.store import LayoutError, Store, connect
from service.store.installation import Backup

KEY_NAME = 20  # characters


class KeyRefusal(Exception):
    """A VAPID key that cannot be retired; the message is one line that says why."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A VAPID key and what depends on it.

    `place` is where it stands in VAPID_PRIVATE_KEY, from 0, the current one; None: it is not set.
    """

    public: str
    place: int | None
    readers: int
    retired: bool

    @property
    def name(self) -> str:
        """What tells it from all others, and fits a line: how its public half begins."""
        return self.public[:KEY_NAME]


@dataclass(frozen=True)
class Runtime:
    """The parts of one process; made after it was forked, so that no socket is shared."""

    config: Config
    store: Store
    dispatch: Dispatch
    publishing: Publishing
    gone: Gone
    tokens: Tokens
    endpoints: EndpointPolicy
    editors: Editors
    welcome: Welcome

    @classmethod
    def open(cls, config: Config, *, patient: bool = False) -> Runtime:
        """Connect and check; `ConfigError` says in one line what keeps this process from working.

        A patient runtime, for workers and the clock, waits half a minute for a Redis that is away.
        """
        if not config.redis_url:
            raise ConfigError("REDIS_URL is not set (`stoppress up` brings a Redis of its own)")
        if not config.secret_key:
            raise ConfigError("SECRET_KEY is not set (`stoppress up` makes one)")
        if len(config.secret_key) < 32:
            raise ConfigError("SECRET_KEY: must have at least 32 characters")
        if not config.vapid_private_key:
            raise ConfigError("VAPID_PRIVATE_KEY is not set (`stoppress keys` makes one)")
        queue = connect(config.redis_url, patient=patient)
        stored = connect(config.store_url, patient=patient) if config.store_url else queue
        store = Store(stored, config.store_partitions)
        dispatch = Dispatch(store, queue)
        publishing = Publishing(store, dispatch)
        tokens, endpoints = Tokens(config.secret_key), EndpointPolicy(config.push_services)
        welcome = WelcomeSettings(
            mode=config.welcome,
            title=config.welcome_title,
            body=config.welcome_body,
            site_name=config.site_name,
            site_language=config.site_language,
            front_page=config.front_page,
        )
        runtime = cls(
            config=config,
            store=store,
            dispatch=dispatch,
            publishing=publishing,
            gone=Gone(store),
            tokens=tokens,
            endpoints=endpoints,
            editors=Editors(store, config.public_url),
            welcome=Welcome(store, publishing, tokens, endpoints, welcome),
        )
        try:
            store.prepare(config.store_partitions)
        except LayoutError as error:
            raise ConfigError(str(error)) from None
        runtime.check_keys()
        return runtime

    @property
    def vapid_keys(self) -> tuple[VapidKey, ...]:
        """The VAPID keys that are set, the current one first."""
        return self.config.vapid_private_key

    @property
    def vapid_public_key(self) -> str:
        """The key with which new subscriptions are made."""
        return b64url(self.vapid_keys[0].public)

    def takes_key(self, public: str) -> bool:
        """Whether a browser may have subscribed with this VAPID key: it is set, and not retired."""
        if public == self.vapid_public_key:
            return True
        ours = {b64url(key.public) for key in self.vapid_keys}
        return public in ours and public not in self.store.installation.retired_vapid_keys()

    @property
    def vapid_subject(self) -> str:
        """VAPID's `sub`: the newsroom's own, else the address of this service."""
        return self.config.vapid_subject or f"mailto:push@{self._domain}"

    @property
    def _domain(self) -> str:
        host = self.config.public_url.partition("://")[2].partition(":")[0]
        # Mozilla and Google take a reserved domain; Apple needs VAPID_SUBJECT to be set.
        return host if "." in host and not host.replace(".", "").isdigit() else "example.com"

    def key_uses(self) -> list[KeyUse]:
        """Return the VAPID keys that are set, the current one first, then those that once were."""
        readers = self.store.subscriptions.count_by_vapid_key()
        retired = self.store.installation.retired_vapid_keys()
        set_ = [b64url(key.public) for key in self.vapid_keys]
        places = {public: place for place, public in reversed(list(enumerate(set_)))}
        return [
            KeyUse(public, places.get(public), readers.get(public, 0), public in retired)
            for public in dict.fromkeys([*set_, *sorted({*readers, *retired})])
        ]

    def retire_key(self, beginning: str) -> KeyUse:
        """Let no reader be subscribed with a key any more; `KeyRefusal` while any depends on it.

        `beginning` is how its public half begins, or all of it.
        """
        found = [use for use in self.key_uses() if use.public.startswith(beginning)]
        if len(found) != 1 or len(beginning) < KEY_NAME:
            raise KeyRefusal("no such key: stoppress keys list shows them")
        use = found[0]
        if use.place == 0:
            raise KeyRefusal(
                "new readers are subscribed with it; first put another key in front of it in"
                " VAPID_PRIVATE_KEY and start everything again"
            )
        if use.readers:
            raise KeyRefusal(
                f"{use.readers:,} readers depend on it; each moves to the current key on the next"
                " visit to the site"
            )
        self.store.installation.retire_vapid_key(use.public)
        return use

    def note_backup(self) -> None:
        """Remember that the keys of this process were written down."""
        publics = [b64url(key.public) for key in self.vapid_keys]
        self.store.installation.note_backup(Backup(time.time(), self.tokens.fingerprint, publics))

    def backed_up_at(self) -> float | None:
        """Return when all keys of this process were written down; None: some never were."""
        kept = self.store.installation.backup()
        ours = {b64url(key.public) for key in self.vapid_keys}
        if kept is None or kept.secret != self.tokens.fingerprint or not ours <= {*kept.vapid}:
            return None
        return kept.at

    def check_keys(self) -> None:
        """Refuse to work without a key that stored subscriptions need; `ConfigError` says which.

        Readers lost with a key come back only one by one, by asking each of them again.
        """
        if self.vapid_public_key in self.store.installation.retired_vapid_keys():
            raise ConfigError(
                f"VAPID_PRIVATE_KEY: the first key ({self.vapid_public_key[:KEY_NAME]}…) was"
                " retired; put another in front of it"
            )
        ours = {b64url(key.public) for key in self.vapid_keys}
        for public, readers in self.store.subscriptions.count_by_vapid_key().items():
            if readers and public not in ours:
                raise ConfigError(
                    f"VAPID_PRIVATE_KEY: {readers:,} subscriptions need the key whose public half"
                    f" is {public}, and it is not among those set; restore it from your backup"
                )
        fingerprint = self.tokens.fingerprint
        kept = self.store.installation.remember_secret(fingerprint)
        if kept != fingerprint:
            readers = self.store.subscriptions.count()
            if readers:
                raise ConfigError(
                    f"SECRET_KEY: the {readers:,} subscriptions of this store were made under"
                    f" another one (fingerprint {kept}, this one is {fingerprint});"
                    " restore it from your backup"
                )
            self.store.installation.replace_secret(fingerprint)
