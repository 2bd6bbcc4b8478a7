"""Where the text of a setting comes from: a variable, or the file that `NAME_FILE` names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

FROM_FILE = "_FILE"
_LARGEST = 64 * 1024  # bytes of such a file


def path_of(text: str) -> Path:
    """Return a path, in which `~` is the home of a user; `ValueError`."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("begins with ~, and this host knows no home of that user") from None


def text_of(file: str) -> str:
    """Return what a file says, without space around it; `ValueError` says why it cannot be used."""
    path = path_of(file)
    try:
        with path.open("rb") as opened:
            text = opened.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "this is no name of a file"
        raise ValueError(f"the file cannot be read: {why}") from None
    if len(text) > _LARGEST:
        raise ValueError(f"the file has more than {_LARGEST // 1024} kB")
    if not text.strip():
        raise ValueError("the file is empty")
    return text.decode(errors="surrogateescape").strip()


def is_set(environ: Mapping[str, str], name: str) -> bool:
    """Whether the setting has a value, by itself or in a file; an empty variable is not set."""
    return any(environ.get(one, "").strip() for one in (name, name + FROM_FILE))


def variable_of(environ: Mapping[str, str], name: str, others: Iterable[str]) -> str:
    """Return the variable that sets a setting, '' if none does; `ValueError` if two do.

    `others` are variables that count while it is not set itself.
    """
    own = [one for one in (name, name + FROM_FILE) if environ.get(one, "").strip()]
    if len(own) > 1:
        raise ValueError(f"{own[1]} is set too; set one of them")
    return next((one for one in (*own, *others) if environ.get(one, "").strip()), "")


def without(environ: Mapping[str, str], *names: str) -> dict[str, str]:
    """Return the environment without these settings, and without the files that have them."""
    left_out = {one for name in names for one in (name, name + FROM_FILE)}
    return {name: value for name, value in environ.items() if name not in left_out}


def override(kept: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return `kept` settings, overridden by the environment; an empty variable is not set."""
    given = {name: value for name, value in environ.items() if value.strip()}
    names = {name.removesuffix(FROM_FILE) for name in given}
    return {**environ, **without(kept, *names), **given}
