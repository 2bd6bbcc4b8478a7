"""The VAPID key with which readers subscribed, as `--vapid-key` names it."""

from __future__ import annotations

from pathlib import Path

import click

from service.model.keys import b64url
from service.model.vapid_formats import read_vapid_keys
from service.runtime import Runtime


def named_key(runtime: Runtime, named: str | None) -> str:
    """Return the public half of the key that is named; `UsageError` if no worker has it."""
    publics = runtime.keys.publics
    if not named:
        raise click.UsageError(
            "say with --vapid-key with which key these readers subscribed: the file with the other"
            " service's private key, or the beginning of its public key as `stoppress keys list`"
            " shows it; name our own in the same way if they subscribed with ours"
        )
    beginning = _public_half(Path(named)) if _is_file(named) else named.rstrip("…")
    found = [public for public in publics if public.startswith(beginning)]
    if len(found) != 1:
        raise click.UsageError(
            "--vapid-key: no worker has that key. Put its private half second into"
            " VAPID_PRIVATE_KEY and start the workers again; stoppress keys list shows all"
        )
    return found[0]


def _is_file(name: str) -> bool:
    """Whether a file has this name; a key itself may be too long for one."""
    try:
        return Path(name).is_file()
    except OSError:
        return False


def _public_half(path: Path) -> str:
    """Return the public half of the private key in a file, in whatever form."""
    data = path.read_bytes()
    try:
        text = data.decode()
        if not text.isprintable() and len(data) == 32:
            raise UnicodeError
    except UnicodeError:
        text = b64url(data)
    try:
        keys = read_vapid_keys(text)
    except ValueError as error:
        raise click.UsageError(f"--vapid-key: {path.name}: {error}") from None
    if len(keys) != 1:
        raise click.UsageError(f"--vapid-key: {path.name} has {len(keys)} keys, and one is needed")
    return b64url(keys[0].public)
