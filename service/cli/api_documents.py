"""What commands take from the API: its checks, said in options, and its documents as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click
from pydantic import BaseModel

from service.api.fields import Invalid
from service.cli.terminal import printable

# What the API says in the words of its own fields, and what that means here.
_WORDS = {
    "Must have either": "give one of them.",
    "Names a topic that": "there is no such topic; stoppress topics lists them.",
}


@contextmanager
def as_options(names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Say what is wrong with a field by the option or argument that stands for it."""
    try:
        yield
    except Invalid as error:
        options = names or {}
        found = [
            f"{options.get(one.field) or _option(one.field)}: {_said(one.detail, options)}"
            for one in error.errors
        ]
        raise click.UsageError(printable("\n".join(found))) from None


def _said(why: str, options: Mapping[str, str]) -> str:
    for field, option in options.items():
        why = why.replace(f"`{field}`", option)
    return next((words for begins, words in _WORDS.items() if why.startswith(begins)), why)


def _option(field: str) -> str:
    return f"--{field.partition('.')[0].replace('_', '-')}"


def print_json(document: BaseModel) -> None:
    """Print a document as the API sends it."""
    click.echo(document.model_dump_json(indent=2, by_alias=True, exclude_unset=True))
