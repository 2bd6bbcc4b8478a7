"""Templates: forms, or audiences, that editors have saved under a name. In the slot `{g}`.

templates    hash: id -> a template, as JSON
audiences    the same for saved audiences, which have some of the fields
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

TEMPLATES, AUDIENCES = "{g}:templates", "{g}:audiences"
_VERSION = 1

# KEYS: templates or audiences. ARGV: id, its value as it was read or '' for a new one, new value,
# name in lower case, the most there may be. Returns 'changed' if the value is another by now,
# 'taken' if another row has this name, 'full' if there is no room, or 'saved'. The first write
# allocates.
_SAVE = """
local known = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if known ~= ARGV[2] then return 'changed' end
local rows = redis.call('HGETALL', KEYS[1])
for at = 1, #rows, 2 do
  if rows[at] ~= ARGV[1] and cjson.decode(rows[at + 1]).folded == ARGV[4] then return 'taken' end
end
if known == '' and #rows / 2 >= tonumber(ARGV[5]) then return 'full' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 'saved'
"""


@dataclass(frozen=True, slots=True)
class Template:
    """A form that an editor has saved under a name."""

    id: str  # random
    name: str
    fields: dict[str, Any]  # of the form, perhaps as another release wrote them
    by: str  # the editor's address
    at: float  # when it was saved, in seconds since 1970
    stored: str = ""  # its value in Redis, as it was read


class TemplateRows:
    """The templates, or the saved audiences, of all editors."""

    def __init__(self, redis: Redis, key: str) -> None:
        self._redis = redis
        self._key = key
        self._save = redis.register_script(_SAVE)

    def save(self, template: Template, most: int) -> str:
        """Store a new template, or one whose `stored` was read; return what became of it.

        `saved`; or `taken` for the name of another one, `full` if there are `most`, `changed` if it
        was changed or deleted since it was read.
        """
        folded = template.name.casefold()
        row = {
            "v": _VERSION,
            "name": template.name,
            "folded": folded,
            "fields": template.fields,
            "by": template.by,
            "at": template.at,
        }
        args: list[str | int] = [template.id, template.stored, json.dumps(row), folded, most]
        return cast(bytes, self._save(keys=[self._key], args=args)).decode()

    def get(self, id: str) -> Template | None:
        """Return a template, if there is one."""
        found = cast("bytes | None", self._redis.hget(self._key, id))
        return None if found is None else _read(id, found.decode())

    def all(self) -> list[Template]:
        """Return all templates, by name."""
        rows = cast("dict[bytes, bytes]", self._redis.hgetall(self._key))
        found = [_read(id.decode(), row.decode()) for id, row in rows.items()]
        return sorted(found, key=lambda one: (one.name.casefold(), one.id))

    def remove(self, id: str) -> None:
        """Delete a template."""
        self._redis.hdel(self._key, id)


def _read(id: str, text: str) -> Template:
    row = json.loads(text)
    return Template(id, row["name"], row["fields"], row["by"], row["at"], text)
