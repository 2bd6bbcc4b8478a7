"""What editors have set at the desk. In the slot `{g}`.

settings  the document, as JSON: how often it was changed, and each setting with who set it when
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import cast

from redis import Redis

from service.model.stored import known_fields

_SETTINGS = "{g}:settings"
_VERSION = 1

# KEYS: settings. ARGV: revision that was read, new document. Returns 1, or 0 if there is another
# revision by now. The first write allocates.
_SAVE = """
local kept = redis.call('GET', KEYS[1])
local revision = kept and cjson.decode(kept).revision or 0
if revision ~= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class DeskSetting:
    """A setting as an editor has typed it."""

    text: str
    by: str  # the editor's address
    at: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class DeskDocument:
    """All that is set at the desk."""

    revision: int = 0  # how often it was changed
    settings: Mapping[str, DeskSetting] = field(default_factory=dict)  # by name, `site_name`

    @property
    def texts(self) -> dict[str, str]:
        """The texts of the settings, by name."""
        return {name: one.text for name, one in self.settings.items()}


class DeskSettings:
    """The document of an installation."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._save = redis.register_script(_SAVE)

    def read(self) -> DeskDocument:
        """Return the document; it has no settings before the first change."""
        kept = cast("bytes | None", self._redis.get(_SETTINGS))
        if kept is None:
            return DeskDocument()
        given = json.loads(kept)
        rows = given["settings"].items()
        settings = {name: DeskSetting(**known_fields(DeskSetting, row)) for name, row in rows}
        return DeskDocument(given["revision"], settings)

    def save(self, before: int, settings: Mapping[str, DeskSetting]) -> bool:
        """Store these settings in place of revision `before`; False if that is not the last."""
        rows = {name: asdict(one) for name, one in settings.items()}
        row = {"v": _VERSION, "revision": before + 1, "settings": rows}
        return bool(self._save(keys=[_SETTINGS], args=[before, json.dumps(row)]))
