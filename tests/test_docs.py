"""The docs tell the truth: links, commands, settings, files and pictures that they name exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
from markdown_it import MarkdownIt
from markdown_it.token import Token

from service.cli import main
from service.config import settings
from service.model.operations.measures import MEASURES
from tests.support import ROOT

DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SETTINGS = {row.name.upper() for row in settings()}
# Names in capitals that are no settings: of HTTP, Redis, Lua and this project's own scripts.
OTHER_NAMES = {"NAME", "HTTPS_PROXY", "REQUESTS_CA_BUNDLE", "SENTRY_ENVIRONMENT"}
# What OpenTelemetry's library reads.
OTHER_NAMES |= {"OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED"}
OTHER_NAMES |= {"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}
OTHER_NAMES |= {"OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    """Everything a page is made of, what stands within a line included."""
    parsed = MarkdownIt().enable("table").parse(page.read_text())
    return tuple(one for token in parsed for one in (token, *(token.children or ())))


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = tokens(page)
    titles = [found[at + 1].content for at, one in enumerate(found) if one.type == "heading_open"]
    words = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {word.replace(" ", "-") for word in words}


def code(page: Path) -> Iterator[str]:
    """Each piece of code on a page: what is in backticks, and each line of a block."""
    for token in tokens(page):
        if token.type == "code_inline":
            yield token.content
        elif token.type == "fence":
            yield from token.content.replace("\\\n", " ").splitlines()


def test_every_link_leads_somewhere() -> None:
    for page in DOCS:
        for one in tokens(page):
            target = str(one.attrs.get("href") or one.attrs.get("src") or "")
            if not target or re.match(r"https?:|mailto:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), (page, target)
            assert not anchor or anchor in anchors(file), (page, target)


def test_every_row_is_in_a_table() -> None:
    for page in DOCS:
        lines = [one.content for one in tokens(page) if one.type == "inline"]
        rows = [line for line in lines if line.startswith("|")]
        assert rows == [], f"{page}: an empty line above them ends the table"


def test_every_command_exists() -> None:
    for page in DOCS:
        for line in code(page):
            for command in re.findall(r"(?:^|[\s(/])stoppress ([a-z][^|&;)]*)", line):
                check_command(command)


def check_command(line: str) -> None:
    """Ask click for each word of a `stoppress` command line; stops where arguments begin."""
    command: click.Command = main
    for word in shlex.split(line.split("#")[0].replace("[", " ").replace("]", " ")):
        if word.startswith("-"):
            known = {name for one in command.params for name in one.opts + one.secondary_opts}
            passed_on = command.context_settings.get("ignore_unknown_options")
            assert passed_on or word in known, f"stoppress {line}: {word}"
        elif isinstance(command, click.Group) and word in command.commands:
            command = command.commands[word]
        else:
            assert command is not main, f"stoppress {line}"


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in DOCS:
        for line in code(page):
            named = set(re.findall(r"^(?:\$ )?make ([a-z]+)", line))
            assert named <= targets, (page, line)


def test_every_setting_exists() -> None:
    for page in DOCS:
        for piece in code(page):
            if named := re.fullmatch(r"([A-Z]+(?:_[A-Z]+)+)(?:=\S*)?", piece):
                assert named[1].removesuffix("_FILE") in SETTINGS | OTHER_NAMES, (page, piece)


def test_every_file_named_exists() -> None:
    for page in DOCS:
        for piece in code(page):
            if re.fullmatch(r"(?:service|workers|web|tests|docs)/[\w./-]*", piece):
                assert (ROOT / piece).exists(), (page, piece)


def test_reliability_names_every_promise_and_no_test_that_is_gone() -> None:
    tests = ROOT / "tests"
    page = ROOT / "docs" / "reliability.md"
    named = {piece for piece in code(page) if piece.endswith(".py")}
    assert [name for name in named if not (tests / name).exists()] == []
    assert {f"promises/{one.name}" for one in tests.glob("promises/test_*.py")} - named == set()


def test_every_picture_is_shown() -> None:
    shown = {
        (page.parent / str(one.attrs.get("src") or one.attrs.get("href"))).resolve()
        for page in DOCS
        for one in tokens(page)
        if one.attrs.get("src") or one.attrs.get("href")
    }
    assert set((ROOT / "docs" / "images").iterdir()) - shown == set()


def test_operations_has_every_setting_with_its_default_and_meaning() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*) \|$", text, re.M) == [
        (
            row.name.upper(),
            f"`{row.metadata['default']}`" if row.metadata["default"] else "",
            row.metadata["meaning"],
        )
        for row in settings()
    ], "give docs/operations.md the rows of service/config.py, in the same order"


def test_operations_has_every_command() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert isinstance(main, click.Group)
    missing = [name for name in main.commands if f"`stoppress {name}" not in text]
    assert missing == [], "give the table of commands in docs/operations.md a row for each"


def test_operations_has_every_measure() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    named = set(re.findall(r"`stoppress_(\w+?)(?:_total)?[`{]", text))
    missing = [name for name in MEASURES if name not in named]
    assert missing == [], "give the table of figures in docs/operations.md a row for each"


def test_operations_has_every_cause() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    code = (ROOT / "service/domain/operations/causes.py").read_text()
    found = re.findall(r"yield Cause\(\s*f?\"([a-z-]+)", code)
    assert len(found) == code.count("yield Cause(")
    missing = [name for name in found if not re.search(rf"^\|.*`{name}[ `]", text, re.M)]
    assert missing == [], "give the table of causes in docs/operations.md a row for each"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
