"""`stoppress import`: readers move in from another service, or from another installation."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console

from service.api.fields import Invalid, read_fields
from service.api.readers.reader_requests import NewSubscription, OutsideFlask
from service.cli import reader_rows
from service.cli.exporting import bar, moving_of
from service.cli.import_file import Survey, TopicNames, column_of, renamed_topics
from service.cli.main import open_runtime
from service.cli.named_key import named_key
from service.cli.terminal import command_line, examples, json_option, printable
from service.cli.written_files import whole_file
from service.domain.operations.moving import EXPORT, CannotMove, Moving
from service.local.reader_files import NotReaders, Row, open_rows
from service.model.subscriptions import SubscriptionRequest
from service.runtime import Runtime
from service.store.readers.arrivals import Arrival
from service.store.readers.subscriptions import Added

_AT_ONCE = 2048  # readers that are stored in one round trip
_SHOWN = 256  # rows between two looks at the bar
NEW, KNOWN, LEFT = (one.value for one in Added)
UNSUBSCRIBED, APP, REFUSED = "unsubscribed", "no_browser", "refused"
DUPLICATE = "duplicate"
_LEAST_FOUND = 0.99  # of the readers that an export had when it began
_SHOWN_NAMES = 20  # of topics that are none of ours
_WORDS = {
    NEW: "imported",
    KNOWN: "here already, and left as they are",
    LEFT: "left since, and stay away",
    UNSUBSCRIBED: "had unsubscribed there, or were gone",
    APP: "are no web browsers (device_type)",
    DUPLICATE: "have a newer row in the file, which counts",
    REFUSED: "refused",
}


@dataclass
class _Import:
    """An import under way."""

    runtime: Runtime
    vapid_key: str
    topics: frozenset[str]  # for readers whose row names no topic of ours
    known_topics: Set[str]
    dry_run: bool
    names: TopicNames | None = None  # None: an export of ours, which has our own slugs
    survey: Survey | None = None
    keeps_ids: bool = False
    moving: Moving | None = None  # what is beside the readers is taken in; None: it is left out
    is_own: bool = False  # an export of ours, whose readers are no more gone than others
    expected: int = 0  # readers that an export of ours says it has
    stopped: bool = False
    without_zone: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    _waiting: list[Arrival] = field(default_factory=list)
    # What rows name, looked up once: VAPID keys of ours, and the running stories.
    _accepted: set[str] = field(default_factory=set)
    _stories: Set[str] | None = None

    def take(self, row: Row) -> str:
        """Store the reader of a row, with others; return why it is refused, or nothing."""
        why = row.why
        try:
            if not why and self.is_own and "kind" in row.whole:
                self._take_line(row.whole)
            elif not why and self.survey is not None and self.survey.is_older(row):
                self.counts[DUPLICATE] += 1
            elif not why and reader_rows.is_app(row.fields):
                self.counts[APP] += 1
            elif not why and reader_rows.is_unsubscribed(row.fields):
                self.counts[UNSUBSCRIBED] += 1
            elif not why:
                self._waiting.append(self._arrival(row.fields))
        except Invalid as error:
            why = "; ".join(f"{_last(one.field)}: {one.detail}" for one in error.errors)
        except OutsideFlask:
            why = "endpoint: Is at no push service that we know (PUSH_SERVICES)."
        except CannotMove as error:
            why = str(error)
        if why:
            self.counts[REFUSED] += 1
            self.reasons[why] += 1
        if len(self._waiting) >= _AT_ONCE:
            self.store()
        return why

    @property
    def is_cut(self) -> bool:
        """Whether an export of ours lacks more readers than can have left while it was written."""
        found = sum(self.counts.values())
        return not self.stopped and found < _LEAST_FOUND * self.expected

    @property
    def took_nobody(self) -> bool:
        """Whether rows were refused, and no reader of the file was or would be taken, or known."""
        return bool(self.counts[REFUSED]) and not any(self.counts[one.value] for one in Added)

    def store(self) -> None:
        """Store the readers that were read since the last call."""
        if self.dry_run:
            self.counts[NEW] += len(self._waiting)
        else:
            taken = self.runtime.subscriptions.take_over(self._waiting, untried=not self.is_own)
            self.counts.update(one.value for one in taken)
            if not self.keeps_ids:  # else they are in the totals that come along
                self.runtime.daily_totals.add_imported(taken.count(Added.NEW))
        self._waiting.clear()

    def note(self) -> None:
        """Add the import to the newsroom's log, if it brought new readers."""
        if self.counts[NEW] and not self.dry_run:
            log = self.runtime.alert_log
            log.note_import(self.counts[NEW], self.counts[KNOWN], command_line())

    def _take_line(self, line: Mapping[str, Any]) -> None:
        if self.moving is not None and line["kind"] != EXPORT:
            self.moving.take(line)
            self._stories = None
            if line["kind"] == "topic":
                self.known_topics = self.runtime.topics.named().keys()

    def can_take(self, row: Row) -> bool:
        """Whether a row is whole: it has a reader that we could store, or says that one left."""
        if row.why or reader_rows.is_app(row.fields) or reader_rows.is_unsubscribed(row.fields):
            return not row.why
        try:
            self._requested(row.fields, reader_rows.document_of(row.fields), [])
        except (Invalid, OutsideFlask, CannotMove):
            return False
        return True

    def _arrival(self, fields: Mapping[str, Any]) -> Arrival:
        document = reader_rows.document_of(fields)
        names = document["topics"] if self.names is None else self.names.of(fields)
        topics = sorted(self.known_topics & {*names})
        chosen = topics if topics or self.is_own else sorted(self.topics)
        asked = self._requested(fields, document, chosen)
        self.without_zone += not asked.zone and not self.is_own
        id = reader_rows.id_of(fields) if self.keeps_ids else None
        return Arrival(asked, id, *reader_rows.days_of(fields))

    def _requested(
        self, fields: Mapping[str, Any], document: dict[str, Any], topics: Sequence[str]
    ) -> SubscriptionRequest:
        """Return what a row asks the store for; `Invalid`, `OutsideFlask` or `CannotMove`."""
        if empty := reader_rows.empty_fields(fields, document):
            raise CannotMove(f"{' and '.join(empty)}: missing")
        document["topics"] = topics
        for name in ("muted_stories", "followed_stories"):
            if name in document:
                document[name] = sorted(self._running() & {*map(str, document[name])})
        key = self._key(document.pop("vapid_public_key", None))
        asked = read_fields(NewSubscription, document, self.runtime).requested(key)
        return asked._replace(must_confirm=fields.get("confirmed") is False)

    def _key(self, named: object) -> str:
        """Return the VAPID key of a reader who may name one; `CannotMove`."""
        if not named:
            return self.vapid_key
        public = str(named)
        if public not in self._accepted:
            if not self.runtime.keys.accepts(public):
                raise CannotMove("vapid_public_key: Is not a key of this installation.")
            self._accepted.add(public)
        return public

    def _running(self) -> Set[str]:
        if self._stories is None:
            self._stories = self.runtime.stories.slugs()
        return self._stories


@click.command(
    "import",
    epilog=examples(
        "import players.csv.gz --topic world --vapid-key old-key.pem --dry-run",
        "import players.csv.gz --topics-from tags --map cricket=sport --vapid-key old-key.pem",
        "import all.jsonl",
    ),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--topic",
    "topics",
    multiple=True,
    metavar="SLUG",
    help="What the readers follow from now on; may be repeated. Without it: all topics that are"
    " ticked beforehand.",
)
@click.option(
    "--topics-from",
    "column",
    default="",
    metavar="COLUMN",
    help="Where the file names what each reader follows, such as tags, or tags.section for the"
    " values of one tag; without it the column topics. A name counts for the topic of ours with"
    " that name or slug. Readers without one follow what --topic says.",
)
@click.option(
    "--map",
    "mapped",
    multiple=True,
    metavar="THEIRS=SLUG",
    help="What the file calls a topic of ours that has another name here; may be repeated.",
)
@click.option(
    "--vapid-key",
    "named",
    metavar="KEY",
    help="The VAPID key with which they subscribed: a file with the private key in any form, or the"
    " public key, or its beginning as `stoppress keys list` shows it. Needed, even if it is the"
    " only key, unless FILE is an export of ours, which names the keys.",
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
    column: str,
    mapped: tuple[str, ...],
    named: str | None,
    refused: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take over the readers in FILE, who need not be asked again.

    FILE is CSV with a header, JSON lines or a JSON array, also compressed by gzip, as OneSignal,
    Pushpad, WonderPush, Perfecty and the web-push libraries write it; or an export of ours, which
    an installation without readers takes in whole. Topics that only the file knows are listed at
    the end, and not made. Of several rows with one endpoint the newest counts. To repeat an
    import, or to go on with one that was stopped, is safe: readers who are here already stay as
    they are, and readers who have left stay away. Exit codes: 0, readers were taken over or known;
    1, rows were refused, and nobody of the rest was; 130, stopped.
    """
    refused = refused or file.with_name(f"{file.name}.refused.jsonl")
    if refused.exists() and refused.samefile(file):
        raise click.UsageError("--refused: this is the file with the readers")
    try:
        with open_rows(file) as (rows, source), whole_file(refused) as written:
            first = next(rows, None)
            under_way = _begun(first, topics, column, mapped, named, dry_run=dry_run)
            try:
                if not under_way.is_own:
                    under_way.survey = _surveyed(file, column_of(column), under_way.can_take)
                for row in _shown(_all(first, rows), source, file.stat().st_size):
                    if why := under_way.take(row):
                        line = {"row": row.number, "why": why, "given": dict(row.fields)}
                        written.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
                under_way.store()
            except KeyboardInterrupt:
                click.echo("Stopped. The same command goes on where it was.", err=True)
                under_way.stopped = True
            finally:
                under_way.note()
    except NotReaders as error:
        raise click.ClickException(str(error)) from None
    finally:
        if refused.is_file() and not refused.stat().st_size:
            refused.unlink()
    _report(under_way, refused, as_json)
    if under_way.stopped:
        sys.exit(130)
    if under_way.took_nobody:
        sys.exit(1)


def _all(first: Row | None, rest: Iterator[Row]) -> Iterator[Row]:
    if first is not None:
        yield first
    yield from rest


def _begun(
    first: Row | None,
    topics: Iterable[str],
    column: str,
    mapped: tuple[str, ...],
    named: str | None,
    *,
    dry_run: bool,
) -> _Import:
    """Return an import of a file that begins with this row."""
    runtime = open_runtime()
    header = first.whole if first is not None and first.whole.get("kind") == EXPORT else None
    if header is not None:
        if column or mapped:
            raise click.UsageError("an export of ours has topics of its own: leave --map away")
        return _begun_of_ours(runtime, header, topics, named, dry_run=dry_run)
    if missing := _missing_columns(first):
        raise click.ClickException(
            f"the file has no column {' and none '.join(missing)}: without the keys of its readers"
            " nobody can write to them (ask OneSignal for extra_fields web_auth and web_p256)"
        )
    chosen = _topics(runtime, topics)
    known = runtime.topics.named()
    try:
        names = TopicNames(column_of(column), renamed_topics(mapped, known), known)
    except ValueError as error:
        raise click.UsageError(f"--map: {error}") from None
    key = named_key(runtime, named)
    return _Import(runtime, key, chosen, known.keys(), dry_run, names)


def _surveyed(file: Path, column: str, can_take: Callable[[Row], bool]) -> Survey:
    """Read a file for the first time."""
    size = file.stat().st_size
    survey = Survey(size, column, can_take)
    with suppress(NotReaders), open_rows(file) as (rows, source):  # the second reading says why
        for row in _shown(rows, source, size, "Checking"):
            survey.look(row)
    if not survey.has_column:
        raise click.ClickException(f"no row of the file has the column {column} (--topics-from)")
    return survey


def _missing_columns(first: Row | None) -> list[str]:
    """Return what a table lacks, of which this is the first row; JSON may have it in other rows."""
    if first is None or first.why or first.whole or not first.fields:
        return []
    return reader_rows.missing_columns(first.fields)


def _begun_of_ours(
    runtime: Runtime,
    header: Mapping[str, Any],
    topics: Iterable[str],
    named: str | None,
    *,
    dry_run: bool,
) -> _Import:
    moving = moving_of(runtime)
    try:
        keeps_ids, is_new_layout = moving.keeps_ids(header), moving.is_new_layout(header)
        if missing := moving.missing_keys(header):
            click.echo(
                f"Missing: the VAPID key {missing[0][:20]}…; its readers are refused. Put its"
                " private half into VAPID_PRIVATE_KEY and start the workers again.",
                err=True,
            )
        if not keeps_ids:
            click.echo(
                "This installation had readers or alerts before: readers of the export get other"
                " ids, and its alerts and totals are left out.",
                err=True,
            )
        elif not moving.knows_tokens(header):
            click.echo(
                "SECRET_KEY is not that of the export: the tokens that its readers hold do not"
                " work. With SECRET_KEY=new,old they do.",
                err=True,
            )
        if keeps_ids and not dry_run:
            moving.begin(header)
            if is_new_layout:
                runtime = open_runtime()
    except CannotMove as error:
        raise click.ClickException(str(error)) from None
    return _Import(
        runtime,
        named_key(runtime, named) if named else runtime.keys.current,
        _topics(runtime, topics) if topics else frozenset(),
        runtime.topics.named().keys(),
        dry_run,
        keeps_ids=keeps_ids,
        moving=moving_of(runtime) if keeps_ids and not dry_run else None,
        is_own=True,
        expected=count if isinstance(count := header.get("readers"), int) else 0,
    )


def _topics(runtime: Runtime, slugs: Iterable[str]) -> frozenset[str]:
    known = runtime.topics.all()
    if unknown := [slug for slug in slugs if slug not in known]:
        names = ", ".join(known) or "there is none"
        raise click.UsageError(f"--topic: {unknown[0]} is no topic ({names})")
    chosen = frozenset(slugs) or frozenset(slug for slug, one in known.items() if one.default)
    if not chosen:
        raise click.UsageError("say with --topic what the readers follow: no topic is a default")
    return chosen


def _shown(
    rows: Iterator[Row], source: IO[bytes], size: int, words: str = "Importing"
) -> Iterator[Row]:
    """Show a bar while rows are read, if stderr is a terminal."""
    with bar(Console(stderr=True)) as progress:
        task = progress.add_task(words, total=size, rows="")
        for row in rows:
            if row.number % _SHOWN == 0:
                rate = row.number / (progress.tasks[task].elapsed or 1)
                said = f"{row.number:,} rows, {rate:,.0f} a second"
                progress.update(task, completed=source.tell(), rows=said)
            yield row


def _report(done: _Import, refused: Path, as_json: bool) -> None:
    counts = {kind: done.counts[kind] for kind in _WORDS}
    if done.is_cut:
        click.echo(
            f"The export began with {done.expected:,} readers, and the file has"
            f" {sum(counts.values()):,} rows: it seems to be cut off.",
            err=True,
        )
    unknown = done.names.unknown.most_common() if done.names is not None else []
    if as_json:
        found = {**counts, "unknown_topics": dict(unknown)}
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for kind, count in counts.items():
            words = "would be imported" if done.dry_run and kind == NEW else _WORDS[kind]
            words += ", at least" * (done.stopped and kind == NEW)
            if count or kind == NEW:
                click.echo(f"{count:>9,} {words}")
        for why, count in done.reasons.most_common(5):
            click.echo(f"{count:>13,} {printable(why)}")
        _report_unknown(unknown)
        if done.without_zone:
            click.echo(
                f"{done.without_zone:,} have no time zone: their quiet hours go by UTC, until a"
                " visit to the site tells the zone"
            )
        if done.counts[REFUSED]:
            click.echo(f"All that was refused: {refused}")


def _report_unknown(names: Sequence[tuple[str, int]]) -> None:
    if not names:
        return
    click.echo("Topics of the file that are none of ours (--map THEIRS=SLUG), with their readers:")
    for name, count in names[:_SHOWN_NAMES]:
        click.echo(f"{count:>13,} {printable(name)}")
    if more := len(names[_SHOWN_NAMES:]):
        click.echo(f"              and {more:,} more, which --json lists")
    if tag := next((name for name, _ in names if name.endswith("=…")), ""):
        click.echo(
            f"Tags with values of their own: --topics-from with {tag[:-2]}, as in tags.section"
        )


def _last(name: str) -> str:
    return name.rpartition(".")[2]
