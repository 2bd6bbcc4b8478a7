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
        rows = [(one.field, one.detail) for one in error.errors]
        options = [(names or {}).get(field) or _option(field) for field, _ in rows]
        found = [f"{name}: {_said(why)}" for name, (_, why) in zip(options, rows, strict=True)]
        raise click.UsageError(printable("\n".join(found))) from None


def _said(why: str) -> str:
    return next((words for begins, words in _WORDS.items() if why.startswith(begins)), why)


def _option(field: str) -> str:
    return f"--{field.partition('.')[0].replace('_', '-')}"


def print_json(document: BaseModel) -> None:
    """Print a document as the API sends it."""
    click.echo(document.model_dump_json(indent=2, by_alias=True, exclude_unset=True))
