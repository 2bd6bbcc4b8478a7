"""The keys that readers depend on: the VAPID keys and `SECRET_KEY`.

A browser subscribes with the public half of one VAPID key, and its push service takes only
messages that the same key has signed. A reader's token is made under `SECRET_KEY`.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.model.keys import VapidKey, b64url
from service.model.time import clock
from service.model.tokens import Tokens
from service.store import Store
from service.store.operations.installation import Backup

KEY_NAME = 20  # characters
# Settings that not all processes may have.
SECRETS = (
    *("SECRET_KEY", "VAPID_PRIVATE_KEY", "OIDC_CLIENT_SECRET"),
    *("ALERT_WEBHOOK", "ALERT_WEBHOOK_SECRET"),  # with the address anybody may write to that chat
)
HIDDEN = (*SECRETS, "SENTRY_DSN")  # settings whose value nothing shows
PRIVATE_KEY_IGNORED = (
    "VAPID_PRIVATE_KEY is set, and ignored. Take it out of the environment of web processes:"
    " they need only the public half. Workers sign."
)

_OTHERS = (
    "the running workers have other keys than this command, which takes them from the environment"
    " or from DATA_DIR/keys.env: set their SECRET_KEY and VAPID_PRIVATE_KEY for it, or start them"
    " again with these"
)


class KeyRefusal(Exception):
    """A VAPID key that cannot be retired; the message is one line that says why."""


class KeyLost(Exception):
    """A key that stored subscriptions need is not set; the message is one line that says which."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A VAPID key and how many readers depend on it."""

    public: str
    place: int | None  # in VAPID_PRIVATE_KEY, from 0, the current one; None: not set
    readers: int
    retired: bool

    @property
    def name(self) -> str:
        """The first characters of the public half: enough to tell keys apart, and fits a line."""
        return self.public[:KEY_NAME]


class Keys:
    """The keys of one installation.

    `vapid` are the private VAPID keys that this process holds, the current one first. Workers sign
    and hold them; all other processes need only `publics`, the public halves. Where no private key
    is held, these are VAPID_PUBLIC_KEY (`given`) and those that a worker has announced in the
    store; `first` are used before any worker has started.
    """

    def __init__(
        self,
        store: Store,
        tokens: Tokens,
        vapid: tuple[VapidKey, ...],
        given: tuple[str, ...],
        first: tuple[str, ...],
    ) -> None:
        self._installation = store.installation
        self._subscriptions = store.subscriptions
        self._fingerprints = tokens.fingerprints  # of SECRET_KEY, and of the previous one
        self.vapid = vapid
        self.publics = [b64url(key.public) for key in vapid]
        self._given, self._first = given, first

    @property
    def current(self) -> str:
        """The public half of the VAPID key with which new readers are subscribed."""
        return self.publics[0]

    def accepts(self, public: str) -> bool:
        """Whether a browser may have subscribed with this VAPID key: it is set, and not retired."""
        if public == self.current:
            return True
        return public in self.publics and public not in self._installation.retired_vapid_keys()

    def announce(self) -> None:
        """Let web processes that start from now on subscribe readers with the keys held here."""
        if self.publics != self._installation.vapid_keys():
            self._installation.announce_vapid_keys(self.publics)

    def uses(self) -> list[KeyUse]:
        """Return the VAPID keys that are set, the current one first, then those that once were."""
        readers = self._subscriptions.count_by_vapid_key()
        retired = self._installation.retired_vapid_keys()
        places = {public: place for place, public in reversed(list(enumerate(self.publics)))}
        return [
            KeyUse(public, places.get(public), readers.get(public, 0), public in retired)
            for public in dict.fromkeys([*self.publics, *sorted({*readers, *retired})])
        ]

    def retire(self, beginning: str) -> KeyUse:
        """Accept a key from no browser any more; `KeyRefusal` while readers depend on it.

        `beginning` is the public half, or at least its first 20 characters.
        """
        found = [use for use in self.uses() if use.public.startswith(beginning)]
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
        self._installation.retire_vapid_key(use.public)
        return use

    def note_backup(self) -> None:
        """Remember that the keys that are set were printed for a backup."""
        self._installation.note_backup(Backup(clock.time(), self._fingerprints[0], self.publics))

    def backed_up_at(self) -> float | None:
        """Return when the present keys were printed for a backup; None if one of them was not."""
        kept = self._installation.backup()
        if kept is None or kept.secret != self._fingerprints[0]:
            return None
        return kept.at if {*self.publics} <= {*kept.vapid} else None

    def check(self, *, as_workers: bool = False) -> None:
        """Raise `KeyLost` if a key that stored subscriptions need is not set.

        Without it those readers are lost: each would have to be asked again. `as_workers`: also if
        the keys are others than those of the workers, which a command must not replace.
        """
        if not self.vapid:
            self._find_publics()
        if self.current in self._installation.retired_vapid_keys():
            raise KeyLost(
                f"VAPID_PRIVATE_KEY: the first key ({self.current[:KEY_NAME]}…) was retired; put"
                " another in front of it"
            )
        if self.vapid:
            self._check_private()
        if as_workers:
            self._check_as_workers()
        self._check_secret()

    def _find_publics(self) -> None:
        announced = self._installation.vapid_keys()
        unknown = [public for public in self._given if announced and public not in announced]
        if unknown:
            raise KeyLost(
                f"VAPID_PUBLIC_KEY: no worker has the private half of {unknown[0]}, so that readers"
                " who subscribe with it would get no alert; start the workers with it first"
            )
        retired = self._installation.retired_vapid_keys()
        found = dict.fromkeys([*self._given, *(announced or self._first)])
        self.publics = [public for public in found if public not in retired]
        if not self.publics:
            raise KeyLost(
                "VAPID_PRIVATE_KEY is not set (`stoppress keys` makes one), and no worker has"
                " announced its public half in the store"
            )

    def _check_private(self) -> None:
        for public, readers in self._subscriptions.count_by_vapid_key().items():
            if readers and public not in self.publics:
                raise KeyLost(
                    f"VAPID_PRIVATE_KEY: {readers:,} subscriptions need the key whose public half"
                    f" is {public}, and it is not among those set; restore it from your backup"
                )

    def _check_as_workers(self) -> None:
        announced = self._installation.vapid_keys()
        differ = self.vapid and announced and not {*announced} & {*self.publics}
        if differ or self._installation.remember_secret(self._fingerprints[0]) not in (
            self._fingerprints
        ):
            raise KeyLost(_OTHERS)

    def _check_secret(self) -> None:
        current = self._fingerprints[0]
        kept = self._installation.remember_secret(current)
        if kept == current:
            return
        readers = 0 if kept in self._fingerprints else self._subscriptions.count()
        if readers:
            raise KeyLost(
                f"SECRET_KEY: the {readers:,} subscriptions of this store were made under another"
                f" one (fingerprint {kept}, this one is {current}); restore it from your backup, or"
                " set both: the new one, a comma and the previous one"
            )
        self._installation.replace_secret(current)
