"""Templates: forms that editors have saved under a name, to begin new alerts with."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import Any

from service.model.language.texts import has_invisible, is_visible
from service.model.time import clock
from service.store.alerts.templates import Template, TemplateRows

__all__ = ["MOST_TEMPLATES", "Template", "TemplateRefused", "Templates", "UnknownTemplate"]

MOST_TEMPLATES = 100
LONGEST_NAME = 60  # characters
_LONGEST = 20_000  # characters of the fields, as of an unfinished alert

_REFUSED = {
    "taken": "Another {noun} has this name. Choose another name, or delete that {noun} first.",
    "full": "There are {most} {noun}s, which is the most. Delete one first.",
    "changed": "Another editor has changed or deleted this {noun} meanwhile.",
}


class UnknownTemplate(Exception):
    """There is no template with this id."""


class TemplateRefused(Exception):
    """A template that cannot be saved; the message says why."""


class Templates:
    """The templates of one installation, or its saved audiences. All editors share them."""

    def __init__(self, rows: TemplateRows, noun: str) -> None:
        self._rows = rows
        self._noun = noun  # what editors call one

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
            raise TemplateRefused(f"This is too long for one {self._noun}. Shorten it, please.")
        new = Template(secrets.token_urlsafe(9), self._checked(name), fields, by, clock.time())
        outcome = self._rows.save(new, MOST_TEMPLATES)
        if outcome == "taken":
            for known in self.all():
                same = json.loads(json.dumps(fields)) == known.fields
                if same and known.name == new.name:
                    return known
        if outcome != "saved":
            raise TemplateRefused(self._refused(outcome))
        return new

    def rename(self, id: str, name: str) -> None:
        """Give a template another name; `TemplateRefused`, `UnknownTemplate`."""
        renamed = replace(self.get(id), name=self._checked(name))
        outcome = self._rows.save(renamed, MOST_TEMPLATES)
        if outcome != "saved":
            raise TemplateRefused(self._refused(outcome))

    def remove(self, id: str) -> None:
        """Delete a template; no effect if it is gone already."""
        self._rows.remove(id)

    def _refused(self, outcome: str) -> str:
        return _REFUSED[outcome].format(noun=self._noun, most=MOST_TEMPLATES)

    def _checked(self, name: str) -> str:
        name = " ".join(name.split())
        if not is_visible(name):
            raise TemplateRefused(f"Write a name for the {self._noun}.")
        if len(name) > LONGEST_NAME:
            detail = f"The name of a saved {self._noun} has at most {LONGEST_NAME} characters."
            raise TemplateRefused(detail)
        if has_invisible(name):
            raise TemplateRefused("The name contains characters that no screen shows.")
        return name
