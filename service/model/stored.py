"""What is stored as JSON, under the names of its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar


class Stored:
    """A dataclass that is stored as JSON."""

    __slots__ = ()
    VERSION: ClassVar = 1  # of what is stored

    def as_json(self) -> str:
        """Return it as it is stored."""
        return json.dumps({"version": self.VERSION, **asdict(self)})  # type: ignore[call-overload]


def known_fields(kind: type[Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that this release knows; a newer one may have stored others.

    `kind` is a dataclass or a `NamedTuple`.
    """
    names = getattr(kind, "_fields", None) or {one.name for one in fields(kind)}
    return {name: value for name, value in document.items() if name in names}
