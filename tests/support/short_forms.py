"""Parameters of a test, of which `make test` takes a few and `make soak` the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pytest


def cases(named: Mapping[str, object], most: int) -> list[Any]:
    """Return parameters by name, of which the first `most` are the short form."""
    names = [*named][:most]
    return [pytest.param(case, id=name, marks=_marks(name, names)) for name, case in named.items()]


def some(values: Iterable[str], short: Collection[str]) -> list[Any]:
    """Return these parameters, of which those in `short` are the short form."""
    return [pytest.param(value, marks=_marks(value, short)) for value in values]


def _marks(name: str, short: Collection[str]) -> Any:
    return () if name in short else pytest.mark.soak
