"""Two-step sign-in: a code after the password (TOTP, RFC 6238). Editors switch it on themselves."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

import pyotp
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from service.model.keys import b64url
from service.model.time import clock
from service.model.tokens import digest
from service.store import Store
from service.store.people.two_step import Begun, TwoStepRow

_STEP = 30  # seconds for which an app shows a code
_LATE = (0, -1, 1)  # a code of these steps is accepted: clocks differ, and people type slowly
_EACH = range(8)  # recovery codes
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without letters that look like others
_CODE_LENGTH = 16  # 79 bits, so that a digest without salt is enough


class TwoStep:
    """The second step of signing in, of all editors."""

    def __init__(self, store: Store, keys: Sequence[bytes]) -> None:
        """Secrets are sealed under the first of the `keys`, and opened with any."""
        self._rows = store.two_step
        self._seals = MultiFernet([Fernet(b64url(key) + "=") for key in keys])

    def on(self) -> set[str]:
        """Return the editors who have switched it on."""
        return self._rows.emails()

    def is_on(self, email: str) -> bool:
        """Whether this editor needs a code."""
        return self._rows.find(email) is not None

    def begin(self, email: str) -> None:
        """Make a secret, which counts once the editor has entered a code of it; not if it is on."""
        if not self.is_on(email):
            codes = ["".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH)) for _ in _EACH]
            self._rows.begin(
                email, Begun(self._seal(pyotp.random_base32()), self._seal(" ".join(codes)))
            )

    def begun(self, email: str) -> str | None:
        """Return a secret of which no code was entered yet; None if there is none."""
        begun = self._rows.begun(email)
        return self._open(begun.secret) if begun else None

    def accepts_first(self, email: str, code: str) -> bool:
        """Whether a code is right that is to switch it on; it changes nothing."""
        begun = self._rows.begun(email)
        return begun is not None and self._step(begun.secret, code) > 0

    def switch_on(self, email: str, code: str) -> list[str] | None:
        """Switch it on and return the recovery codes; None if the code is wrong.

        The same code once more returns the same: of two clicks a browser shows the second answer.
        """
        begun = self._rows.begun(email)
        if begun is None or not (step := self._step(begun.secret, code)):
            return None
        codes = (self._open(begun.codes) or "").split()
        if not self._rows.add(email, TwoStepRow(begun.secret, step, tuple(map(digest, codes)))):
            return None
        return ["-".join(re.findall("....", one)) for one in codes]

    def accept(self, email: str, code: str) -> bool:
        """Whether a code of the app, or a recovery code, is right; each counts once."""
        row = self._rows.find(email)
        if row is None:
            return False
        sealed = self._sealed_anew(row.secret)
        if step := self._step(row.secret, code):
            return self._rows.use_code(email, step, sealed)
        plain = re.sub(r"[\s-]", "", code.lower())
        return self._rows.use_recovery_code(email, digest(plain), sealed)

    def switch_off(self, email: str) -> None:
        """Let a password be enough from now on."""
        self._rows.remove(email)

    def _sealed_anew(self, sealed: str) -> str:
        """Return a secret under the current key, so that the previous one can be taken out."""
        try:
            return self._seals.rotate(sealed.encode()).decode()
        except InvalidToken:  # recovery codes count all the same
            return sealed

    def _seal(self, text: str) -> str:
        return self._seals.encrypt(text.encode()).decode()

    def _open(self, sealed: str) -> str | None:
        try:
            return self._seals.decrypt(sealed.encode()).decode()
        except InvalidToken:  # sealed under a SECRET_KEY that this installation has no more
            return None

    def _step(self, sealed: str, code: str) -> int:
        """Return the half minute whose code this is; 0: it is none."""
        secret, given = self._open(sealed), re.sub(r"\s", "", code)
        if secret is None or not re.fullmatch("[0-9]{6}", given):
            return 0
        now = int(clock.time()) // _STEP
        codes = {now + late: pyotp.TOTP(secret).generate_otp(now + late) for late in _LATE}
        return next((at for at, one in codes.items() if secrets.compare_digest(one, given)), 0)
