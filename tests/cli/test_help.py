"""Every command says what it does, with an example where it has arguments."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from service.cli import main

# `bench` has a help text of its own; the others have no arguments to give an example of.
_WITHOUT_EXAMPLE = {"bench", "clock", "fetch", "up", "web"}


def commands(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*before, name)
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)


@pytest.mark.parametrize("words", [*commands(main)], ids=" ".join)
def test_a_command_has_an_example(words: tuple[str, ...]) -> None:
    if words[0] in _WITHOUT_EXAMPLE:
        return
    text = CliRunner().invoke(main, [*words, "-h"]).output
    assert f"\n    stoppress {words[0]}" in text, text


def test_the_help_lists_every_command_once() -> None:
    text = CliRunner().invoke(main, ["-h"]).output
    assert [name for name in main.commands if text.count(f"\n  {name} ") != 1] == []
