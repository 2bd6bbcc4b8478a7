"""What editors are writing and have neither sent nor saved as a draft. In the slot `{g}`.

unfinished:<key>           hash: a form as it was typed, its writer and its revision; ends by itself
unfinished:by:<digest>     sorted set: keys of an editor's forms, scored with the last change (ms)
unfinished:at:<id>         sorted set: who changes this planned alert, scored in the same way
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from service.model.retention import UNFINISHED_KEPT, WRITERS_SEEN
from service.store.alerts.notifications import idempotency_key
from service.store.redis_servers.scripts import NOW, lua

_MOST = 50  # forms of one editor that are listed


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A form as it was typed."""

    key: str  # random; also the form's nonce
    by: str  # the editor's address
    fields: dict[str, Any]
    revision: int  # how often it was saved
    at: float  # seconds since 1970
    alert: int | None  # the planned alert that it changes
    changes: int  # how often that had been changed when the form was opened


class UnfinishedForms:
    """The forms of all editors."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._save = redis.register_script(NOW + lua(__file__, "save_unfinished"))

    def save(self, form: Unfinished, idempotency: str) -> int | str:
        """Keep a form whose page knows `form.revision`; return the next revision.

        Otherwise `sent` if it was sent itself, or `changed` if another window has saved it since.
        `idempotency` is the digest under which the response to the sent form is kept.
        """
        alert = "" if form.alert is None else str(form.alert)
        keys = [_key(form.key), _forms_of(form.by), idempotency_key(idempotency)]
        keys.append(_writers_of(alert))
        args: list[str | int] = [form.key, form.by, form.revision, json.dumps(form.fields)]
        args += [alert, form.changes, UNFINISHED_KEPT, WRITERS_SEEN, _MOST]
        result = cast("int | bytes", self._save(keys=keys, args=args))
        return result.decode() if isinstance(result, bytes) else result

    def get(self, key: str) -> Unfinished | None:
        """Return a form, if there is one."""
        if ":" in key:  # it comes from an address, and would name another key than that of a form
            return None
        return _read(key, cast("dict[bytes, bytes]", self._redis.hgetall(_key(key))))

    def of(self, by: str) -> list[Unfinished]:
        """Return the forms of an editor, the last changed first."""
        keys = cast("list[bytes]", self._redis.zrevrange(_forms_of(by), 0, _MOST - 1))
        names = [key.decode() for key in keys]
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(_key(name))
            rows = pipe.execute()
        found = [_read(name, row) for name, row in zip(names, rows, strict=True)]
        return [form for form in found if form is not None]

    def writers(self, alert: int, since: float) -> list[str]:
        """Return the editors who changed the form of a planned alert since then (ms)."""
        found = cast("list[bytes]", self._redis.zrangebyscore(_writers_of(alert), since, "+inf"))
        return [by.decode() for by in found]

    def remove(self, form: Unfinished) -> None:
        """Forget a form."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.delete(_key(form.key))
            pipe.zrem(_forms_of(form.by), form.key)
            if form.alert is not None:
                pipe.zrem(_writers_of(form.alert), form.by)
            pipe.execute()


def _key(key: str) -> str:
    return f"{{g}}:unfinished:{key}"


def _forms_of(by: str) -> str:
    return f"{{g}}:unfinished:by:{hashlib.sha256(by.encode()).hexdigest()[:16]}"


def _writers_of(alert: int | str) -> str:
    return f"{{g}}:unfinished:at:{alert}"


def _read(key: str, row: dict[bytes, bytes]) -> Unfinished | None:
    if not row:
        return None
    return Unfinished(
        key=key,
        by=row[b"by"].decode(),
        fields=json.loads(row[b"fields"]),
        revision=int(row[b"revision"]),
        at=float(row[b"at"]) / 1000,
        alert=int(row[b"alert"]) if row[b"alert"] else None,
        changes=int(row[b"changes"]),
    )
