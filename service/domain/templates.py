"""Templates: forms that editors have saved under a name, to begin new alerts with."""

from __future__ import annotations

import json
import secrets
import unicodedata
from dataclasses import replace
from typing import Any

from service.model import clock
from service.store import Store
from service.store.templates import Template

__all__ = ["MOST_TEMPLATES", "Template", "TemplateRefused", "Templates", "UnknownTemplate"]

MOST_TEMPLATES = 100
LONGEST_NAME = 60  # characters
_LONGEST = 20_000  # characters of the fields, as of an unfinished alert

_REFUSED = {
    "taken": "Another template has this name. Choose another name, or delete that template first.",
    "full": f"There are {MOST_TEMPLATES} templates, which is the most. Delete one first.",
    "changed": "Another editor has changed or deleted this template meanwhile.",
}


class UnknownTemplate(Exception):
    """There is no template with this id."""


class TemplateRefused(Exception):
    """A template that cannot be saved; the message says why."""


class Templates:
    """The templates of one installation, which all editors share."""

    def __init__(self, store: Store) -> None:
        self._rows = store.templates

    def all(self) -> list[Template]:
        """Return all templates, by name."""
        return self._rows.all()

    def get(self, id: str) -> Template:
        """Return a template; `UnknownTemplate`."""
        found = self._rows.get(id)
        if found is None:
            raise UnknownTemplate
        return found

    def add(self, name: str, fields: dict[str, Any], by: str) -> Template:
        """Save a form under a name; saved twice, as by a double click, it is one template.

        `TemplateRefused`.
        """
        if len(json.dumps(fields)) > _LONGEST:
            raise TemplateRefused("This is too long for a template. Shorten it, please.")
        new = Template(secrets.token_urlsafe(9), _checked(name), fields, by, clock.time())
        outcome = self._rows.save(new, MOST_TEMPLATES)
        if outcome == "taken":
            for known in self.all():
                same = json.loads(json.dumps(fields)) == known.fields
                if same and known.name == new.name:
                    return known
        if outcome != "saved":
            raise TemplateRefused(_REFUSED[outcome])
        return new

    def rename(self, id: str, name: str) -> None:
        """Give a template another name; `TemplateRefused`, `UnknownTemplate`."""
        renamed = replace(self.get(id), name=_checked(name))
        outcome = self._rows.save(renamed, MOST_TEMPLATES)
        if outcome != "saved":
            raise TemplateRefused(_REFUSED[outcome])

    def remove(self, id: str) -> None:
        """Delete a template; no effect if it is gone already."""
        self._rows.remove(id)


def _checked(name: str) -> str:
    name = " ".join(name.split())
    if not name:
        raise TemplateRefused("Write a name for the template.")
    if len(name) > LONGEST_NAME:
        raise TemplateRefused(f"The name of a template has at most {LONGEST_NAME} characters.")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise TemplateRefused("The name contains characters that no screen shows.")
    return name
