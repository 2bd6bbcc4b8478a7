"""`stoppress import` and `export`: readers move in from another service, or out."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console
from rich.progress import Progress

from service.api.fields import Invalid, read_fields
from service.api.reader_requests import NewSubscription, OutsideFlask
from service.cli.main import open_runtime
from service.cli.terminal import date_of, examples, json_option, printable
from service.local.reader_files import NotReaders, Row, open_rows
from service.model import clock
from service.model.keys import b64url
from service.model.languages import browser_language
from service.model.subscriptions import Subscription, SubscriptionRequest
from service.model.times import browser_zone, iso
from service.runtime import Runtime
from service.store.subscriptions import Added

_AT_ONCE = 200  # readers that are looked up in one round trip
NEW, KNOWN, LEFT = (one.value for one in Added)
UNSUBSCRIBED, REFUSED = "unsubscribed", "refused"
_WORDS = {
    NEW: "imported",
    KNOWN: "here already, and left as they are",
    LEFT: "left since, and stay away",
    UNSUBSCRIBED: "had unsubscribed there",
    REFUSED: "refused",
}
# What other services and libraries call the fields; nested objects are joined with dots.
_NAMES = {
    "endpoint": ("endpoint", "identifier", "push_endpoint", "subscription_endpoint", "url"),
    "p256dh": ("p256dh", "web_p256", "key_p256dh", "p256dh_key", "public_key", "publickey"),
    "auth": ("auth", "web_auth", "key_auth", "auth_key", "auth_token", "authtoken", "auth_secret"),
    "locale": ("locale", "language", "lang"),
    "timezone": ("timezone", "time_zone", "timezone_id", "tz"),
    "topics": ("topics",),
}
_PREFIXES = ("", "keys.", "subscription.", "subscription.keys.")
# Further fields of our own exports, which the API takes as they are.
_PREFERENCES = (
    *("vapid_public_key", "quiet_hours", "daily_limit", "allow_breaking", "paused_until"),
    *("receipts", "wording"),
)
# Columns in which another service says that a reader has unsubscribed, or still has not.
_SAYS_NO = ("invalid_identifier", "unsubscribed", "is_unsubscribed", "deleted", "opted_out", "gone")
_SAYS_YES = ("subscribed", "is_subscribed", "is_active", "active", "enabled")
_SAYS_WHEN = ("unsubscribed_at", "deleted_at", "opted_out_at")
_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")


@dataclass
class _Import:
    """An import under way."""

    runtime: Runtime
    vapid_key: str
    topics: frozenset[str]  # of who names none
    known_topics: Set[str]
    dry_run: bool
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    _waiting: list[SubscriptionRequest] = field(default_factory=list)

    def take(self, row: Row) -> str:
        """Store the reader of a row, with others; return why it is refused, or nothing."""
        if not row.why and _is_unsubscribed(row.fields):
            self.counts[UNSUBSCRIBED] += 1
            return ""
        why = row.why
        try:
            if not why:
                self._waiting.append(self._requested(row.fields))
        except Invalid as error:
            why = "; ".join(f"{_last(one.field)}: {one.detail}" for one in error.errors)
        except OutsideFlask:
            why = "endpoint: Is at no push service that we know (PUSH_SERVICES)."
        if why:
            self.counts[REFUSED] += 1
            self.reasons[why] += 1
        if len(self._waiting) >= _AT_ONCE:
            self.store()
        return why

    def store(self) -> None:
        """Store those who wait."""
        if self.dry_run:
            self.counts[NEW] += len(self._waiting)
        else:
            for added in self.runtime.subscriptions.take_over(self._waiting):
                self.counts[added.value] += 1
        self._waiting.clear()

    def _requested(self, fields: Mapping[str, Any]) -> SubscriptionRequest:
        given = {name: _value(fields, names) for name, names in _NAMES.items()}
        keys = {name: given[name] for name in ("p256dh", "auth")}
        document: dict[str, object] = {
            "subscription": {"endpoint": given["endpoint"] or "", "keys": keys},
            "topics": sorted(self.known_topics & {*_slugs(given["topics"])} or self.topics),
            "locale": browser_language(str(given["locale"] or "")) or None,
            "timezone": browser_zone(str(given["timezone"] or "")) or None,
        }
        document |= _as_exported(fields)
        asked = read_fields(NewSubscription, document, self.runtime).requested(self.vapid_key)
        return asked._replace(must_confirm=fields.get("confirmed") is False)


@click.command(
    "import",
    epilog=examples(
        "import players.csv.gz --topic world --dry-run",
        "import readers.jsonl --topic world --vapid-key BPZ5mU0OYw4sVkHFGmPB",
    ),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--topic", "topics", multiple=True, metavar="SLUG", help="What the readers follow from now on."
)
@click.option(
    "--vapid-key",
    "beginning",
    metavar="KEY",
    help="The public VAPID key with which they subscribed, or its beginning, as `stoppress keys"
    " list` shows it. Needed if the installation has several.",
)
@click.option(
    "--refused",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write what is refused; by default FILE.refused.jsonl.",
)
@click.option("--dry-run", is_flag=True, help="Read and check the file, and store nothing.")
@json_option
def import_readers(
    file: Path,
    topics: tuple[str, ...],
    beginning: str | None,
    refused: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take over the readers in FILE, who need not be asked again.

    FILE is CSV with a header, JSON lines or a JSON array, also compressed by gzip, as OneSignal,
    Pushpad, Perfecty and the web-push libraries write it. To repeat an import, or to go on with one
    that was stopped, is safe: readers who are here already stay as they are, and readers who have
    left stay away.
    """
    runtime = open_runtime()
    chosen = _topics(runtime, topics)
    known = runtime.topics.named().keys()
    under_way = _Import(runtime, _vapid_key(runtime, beginning), chosen, known, dry_run)
    refused = refused or file.with_name(f"{file.name}.refused.jsonl")
    try:
        with open_rows(file) as (rows, source), _written(refused) as written:
            for row in _shown(rows, source, file.stat().st_size):
                if why := under_way.take(row):
                    line = {"row": row.number, "why": why, "given": dict(row.fields)}
                    written.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
            under_way.store()
    except NotReaders as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        click.echo("Stopped. The same command goes on where it was.", err=True)
    if not under_way.counts[REFUSED]:
        refused.unlink()
    _report(under_way, refused, as_json)


def _topics(runtime: Runtime, slugs: Iterable[str]) -> frozenset[str]:
    known = runtime.topics.all()
    if unknown := [slug for slug in slugs if slug not in known]:
        names = ", ".join(known) or "there is none"
        raise click.UsageError(f"--topic: {unknown[0]} is no topic ({names})")
    chosen = frozenset(slugs) or frozenset(slug for slug, one in known.items() if one.default)
    if not chosen:
        raise click.UsageError("say with --topic what the readers follow: no topic is a default")
    return chosen


def _vapid_key(runtime: Runtime, beginning: str | None) -> str:
    publics = runtime.keys.publics
    if beginning is None:
        if len(publics) == 1:
            return publics[0]
        raise click.UsageError("this installation has several keys: name theirs with --vapid-key")
    found = [public for public in publics if public.startswith(beginning)]
    if len(found) != 1:
        raise click.UsageError(
            "--vapid-key: no worker has that key. Put its private half second into"
            " VAPID_PRIVATE_KEY and start the workers again; stoppress keys list shows all"
        )
    return found[0]


@contextmanager
def _written(path: Path) -> Iterator[IO[str]]:
    """Open a file that only its owner may read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        yield file


def _shown(rows: Iterator[Row], source: IO[bytes], size: int) -> Iterator[Row]:
    """Show a bar while rows are read, if stderr is a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Importing", total=size)
        for row in rows:
            if row.number % 100 == 0:
                progress.update(task, completed=source.tell())
            yield row


def _report(done: _Import, refused: Path, as_json: bool) -> None:
    counts = {kind: done.counts[kind] for kind in _WORDS}
    if as_json:
        click.echo(json.dumps(counts, indent=2))
    else:
        for kind, count in counts.items():
            words = "would be imported" if done.dry_run and kind == NEW else _WORDS[kind]
            if count or kind == NEW:
                click.echo(f"{count:>9,} {words}")
        for why, count in done.reasons.most_common(5):
            click.echo(f"{count:>13,} {printable(why)}")
        if done.counts[REFUSED]:
            click.echo(f"All that was refused: {refused}")


@click.command("export", epilog=examples("export readers.jsonl", "export - | gzip > readers.gz"))
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
def export_readers(file: Path) -> None:
    """Write all readers to FILE, which only its owner may read; - is standard output.

    Each line is a reader as JSON: `subscription` as browsers and web-push libraries have it, and
    the preferences as the API takes them. `stoppress import` reads them again.
    """
    runtime = open_runtime()
    with _written(file) if str(file) != "-" else nullcontext(sys.stdout) as written:
        total = runtime.subscriptions.count()
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            for one in bar.track(runtime.subscriptions.all(), total, description="Exporting"):
                line = _exported(one.subscription, one.gone)
                written.write(json.dumps(line, ensure_ascii=False) + "\n")


def _exported(one: Subscription, gone: bool) -> dict[str, object]:
    preferences = one.preferences
    row: dict[str, object] = {
        "id": str(one.id),
        "subscription": {
            "endpoint": one.endpoint.url,
            "keys": {"p256dh": b64url(one.p256dh), "auth": b64url(one.auth)},
        },
        "vapid_public_key": one.vapid_key,
        "topics": sorted(one.topics),
        "locale": one.locale or None,
        "timezone": one.zone or None,
        "subscribed_on": date_of(one.created),
        "seen_on": date_of(one.seen),
        "confirmed": preferences.confirmed,
        "gone": gone,
        "wording": one.wording,
        "allow_breaking": preferences.allow_breaking,
        "receipts": preferences.receipts,
        "muted_stories": sorted(one.muted),
        "followed_stories": sorted(one.followed),
    }
    # What is missing is left to the newsroom; null means none.
    if preferences.quiet is not None:
        start, _, end = str(preferences.quiet).partition("-")
        row["quiet_hours"] = {"from": start, "to": end} if start != end else None
    if preferences.daily_limit is not None:
        row["daily_limit"] = preferences.daily_limit or None
    if preferences.paused_until > clock.time():
        row["paused_until"] = iso(preferences.paused_until)
    return row


# What the columns say -----------------------------------------------------------------------------


def _value(fields: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the first of these fields that says something."""
    for prefix in _PREFIXES:
        for name in names:
            if (value := fields.get(f"{prefix}{name}")) not in (None, "", "null", "NULL"):
                return value
    return None


def _as_exported(fields: Mapping[str, Any]) -> dict[str, object]:
    """Return the preferences of a row that `stoppress export` has written."""
    found = {name: fields[name] for name in _PREFERENCES if name in fields}
    if "quiet_hours.from" in fields:
        found["quiet_hours"] = {end: fields[f"quiet_hours.{end}"] for end in ("from", "to")}
    return found if "subscribed_on" in fields else {}


def _is_unsubscribed(fields: Mapping[str, Any]) -> bool:
    def said(names: Iterable[str], words: tuple[str, ...]) -> bool:
        return any(str(fields.get(name, "")).lower() in words for name in names)

    # OneSignal: less than 0, or the 31st bit, means that the reader has unsubscribed.
    types = str(fields.get("notification_types") or "")
    gone = types.lstrip("-").isdigit() and (int(types) < 0 or int(types) & 1 << 31)
    when = any(fields.get(name) not in (None, "", "null", "NULL", "0") for name in _SAYS_WHEN)
    return bool(gone) or when or said(_SAYS_NO, _TRUE) or said(_SAYS_YES, _FALSE)


def _slugs(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(one) for one in value]
    return re.split(r"[\s,;|]+", str(value)) if value else []


def _last(name: str) -> str:
    return name.rpartition(".")[2]
