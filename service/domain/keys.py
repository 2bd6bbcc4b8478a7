"""The keys that readers depend on: the VAPID keys and `SECRET_KEY`.

A browser subscribes with the public half of one VAPID key, and its push service takes only
messages that the same key has signed. A reader's token is made under `SECRET_KEY`.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.model import clock
from service.model.keys import VapidKey, b64url
from service.model.tokens import Tokens
from service.store import Store
from service.store.installation import Backup

KEY_NAME = 20  # characters


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
    """The keys of one installation; `vapid` are those that are set, the current one first."""

    def __init__(self, store: Store, vapid: tuple[VapidKey, ...], tokens: Tokens) -> None:
        self._installation = store.installation
        self._subscriptions = store.subscriptions
        self._fingerprints = tokens.fingerprints  # of SECRET_KEY, and of the previous one
        self.vapid = vapid
        self._publics = [b64url(key.public) for key in vapid]

    @property
    def current(self) -> str:
        """The public half of the VAPID key with which new readers are subscribed."""
        return self._publics[0]

    def accepts(self, public: str) -> bool:
        """Whether a browser may have subscribed with this VAPID key: it is set, and not retired."""
        if public == self.current:
            return True
        return public in self._publics and public not in self._installation.retired_vapid_keys()

    def uses(self) -> list[KeyUse]:
        """Return the VAPID keys that are set, the current one first, then those that once were."""
        readers = self._subscriptions.count_by_vapid_key()
        retired = self._installation.retired_vapid_keys()
        places = {public: place for place, public in reversed(list(enumerate(self._publics)))}
        return [
            KeyUse(public, places.get(public), readers.get(public, 0), public in retired)
            for public in dict.fromkeys([*self._publics, *sorted({*readers, *retired})])
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
        self._installation.note_backup(Backup(clock.time(), self._fingerprints[0], self._publics))

    def backed_up_at(self) -> float | None:
        """Return when all keys that are set were printed for a backup; None if not all were."""
        kept = self._installation.backup()
        if kept is None or kept.secret != self._fingerprints[0]:
            return None
        return kept.at if {*self._publics} <= {*kept.vapid} else None

    def check(self) -> None:
        """Raise `KeyLost` if a key that stored subscriptions need is not set.

        Without it those readers are lost: each would have to be asked again.
        """
        if self.current in self._installation.retired_vapid_keys():
            raise KeyLost(
                f"VAPID_PRIVATE_KEY: the first key ({self.current[:KEY_NAME]}…) was retired; put"
                " another in front of it"
            )
        for public, readers in self._subscriptions.count_by_vapid_key().items():
            if readers and public not in self._publics:
                raise KeyLost(
                    f"VAPID_PRIVATE_KEY: {readers:,} subscriptions need the key whose public half"
                    f" is {public}, and it is not among those set; restore it from your backup"
                )
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
