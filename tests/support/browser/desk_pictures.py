"""The desk's pictures for the docs, taken of an installation that sends nothing.

`python -m tests.support.browser.desk_pictures docs/images`
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from math import comb
from pathlib import Path
from random import Random
from typing import Any

from argon2 import PasswordHasher
from flask import Flask
from playwright.sync_api import Page

from service.app import create_app
from service.config import Config
from service.domain.alerts.requests import Published
from service.domain.operations.daily_totals import today
from service.domain.sending.receipts import Report, step
from service.local import pretend_readers
from service.model.keys import VapidKey
from service.model.notifications import Audience, Content, Outcome, SendAt, Topic
from service.model.preferences import UNLIMITED, Quiet
from service.model.retention import DAY
from service.model.subscriptions import SubscriptionId
from service.model.time import clock
from service.model.time.clocks import QUARTER
from service.model.two_texts import SecondText, text_of
from service.runtime import Runtime
from service.store.alerts.notifications import STARTED, alert_key
from service.store.alerts.outcomes import Result
from service.store.alerts.receipt_counts import ReceiptRow, Tally
from service.store.layout.bitmaps import bitmap_key
from service.store.sending.batches import part_key
from tests.support.browser.screenshots import open_chromium
from tests.support.browser.served import Served
from tests.support.redis_servers.server import RedisServer

EMAIL, PASSWORD = "ada@paper.example", "three quiet words"
READERS = 48_000
TOPICS = ("World", "Sport", "Culture", "Science", "Breaking")
LANGUAGES = {7: "de", 9: "pl"}  # of eleven readers; the others read English
SERVICES = ("google", "apple", "google", "mozilla", "google", "google", "apple")  # of 7 readers
ORIGINS = {
    "google": "https://fcm.googleapis.com",
    "apple": "https://web.push.apple.com",
    "mozilla": "https://updates.push.services.mozilla.com",
}
FERRY = {
    "title": "Night ferry feared lost comes home with eleven more than it left with",
    "body": "The Halcyon came in singing at twenty to seven. Everybody stayed for breakfast.",
    "url": "https://paper.example/night-ferry",
}


def is_asleep(number: int) -> bool:
    """Whether a pretend reader is in quiet hours now."""
    return number % 13 in (3, 7, 11)


def app_with(redis_url: str, **more: str) -> Flask:
    """Make an application with these settings."""
    settings = {
        "REDIS_URL": redis_url,
        "SECRET_KEY": "a secret of at least 32 characters",
        "VAPID_PRIVATE_KEY": VapidKey.generate().text,
        "SITE_NAME": "The Daily Example",
        "STORE_PARTITIONS": "1",
        "PROMISE": "90% in 60s",
        **more,
    }
    return create_app(Config.read(settings))


def make_app(redis_url: str) -> Flask:
    """Make an application with an editor, topics and pretend readers."""
    app = app_with(redis_url)
    runtime: Runtime = app.extensions["stoppress"]
    runtime.store.access.add_editor(EMAIL, PasswordHasher().hash(PASSWORD))
    for name in TOPICS:
        runtime.topics.add(Topic(name.lower(), name))
    quarter = int(time.time()) // QUARTER
    asleep = Quiet((quarter - 8) % 96, (quarter + 20) % 96)
    awake = Quiet((quarter + 40) % 96, (quarter + 60) % 96)
    seeding = pretend_readers.seed(
        runtime.store,
        READERS,
        origins=[ORIGINS[service] for service in SERVICES],
        vapid_key=runtime.keys.current,
        topics=[name.lower() for name in TOPICS],
        choose=lambda number: (
            "UTC",
            {"quiet": asleep if is_asleep(number) else awake, "daily_limit": UNLIMITED},
        ),
    )
    list(seeding)
    runtime.store.installation.unmark_synthetic()  # the pictures show a newsroom's own desk
    set_languages(runtime)
    return app


def set_languages(runtime: Runtime) -> None:
    """Let readers have the languages in which they report; all pretend readers have English."""
    locales, redis = runtime.store.names.locales, runtime.store.redis
    english = bitmap_key(0, "locale", locales.number("en-GB"))
    for place, language in LANGUAGES.items():
        bits = bytearray(READERS // 8)
        for number in range(place, READERS, 11):
            bits[number // 8] |= 0x80 >> number % 8
        key = bitmap_key(0, "locale", locales.number(language))
        redis.set(key, bytes(bits))
        redis.bitop("AND", "scratch", english, key)
        redis.bitop("XOR", english, english, "scratch")
    redis.delete("scratch")


def send(runtime: Runtime, id: int, share: float = 1.0) -> None:
    """Record results for a share of an alert's audience, as workers do."""
    sending, wakes = runtime.store.batches, int(time.time()) // QUARTER + 20
    runtime.planning.plan(one := runtime.publishing.get(id))
    percent = one.second_text.sample_percent if one.second_text else 0
    while (progress := runtime.publishing.progress(id)).done < share * progress.recipients:
        claim = sending.claim(id, 0, "a picture", 600_000)
        if claim is None and one.sampling:
            break
        assert claim is not None
        results: dict[Result, list[int]] = {}
        for number in claim.pending:
            service = SERVICES[number % len(SERVICES)]
            text = text_of(id, 0, number, percent) if percent else ""
            result = Result(Outcome.ACCEPTED, service, 1, 0, text=text, silent=service == "apple")
            if is_asleep(number):
                result = Result(Outcome.SKIPPED, "quiet", 0, wakes=wakes, is_held=True)
            elif number % 97 == 0:
                result = Result(Outcome.SKIPPED, "paused", 0)
            elif number % 131 == 0:
                result = Result(Outcome.GONE, service, 1)
            results.setdefault(result, []).append(number)
        runtime.store.outcomes.record(id, claim.batch, "a picture", 600_000, results)
        sending.release(id, claim.batch, "a picture", wait_ms=None)
    runtime.planning.advance(id)


def take(runtime: Runtime, page: Page, address: str, folder: Path) -> None:
    """Write, send and list alerts, and take a picture of each step."""

    def picture(name: str, *, width: int = 1280, height: int = 800, full: bool = False) -> None:
        page.set_viewport_size({"width": width, "height": height})
        page.screenshot(path=folder / f"desk-{name}.png", full_page=full)

    history(runtime)
    # No fetch process reads articles for a picture.
    page.route("**/desk/articles", lambda route: route.fulfill(json={}))
    page.route("**/desk/articles/check**", lambda route: route.fulfill(body=""))
    page.goto(f"{address}/desk/new")
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_label("Title", exact=True).fill(FERRY["title"])
    page.get_by_label("Text (optional)").fill(FERRY["body"])
    page.get_by_label("Link to the story").fill(FERRY["url"])
    page.get_by_label("World", exact=True).check()
    story = page.locator(".fold:has(#story) summary")
    story.click()
    page.get_by_label("start a new story").fill("Night ferry")
    story.click()
    page.locator("[data-fold=story]", has_text="starts").wait_for()
    page.locator("#reach strong").wait_for()
    page.evaluate("scrollTo(0, 0)")
    picture("new-1280")
    picture("new-390", width=390)
    narrow = page.locator(".fold:has(#new_within_days) summary")
    page.set_viewport_size({"width": 1280, "height": 800})
    narrow.click()
    page.get_by_label("Only readers who subscribed in the last").fill("30")
    page.get_by_label("Save this audience as").focus()
    page.locator("[data-fold=exceptions]", has_text="30 days").wait_for()
    picture("narrow-1280")
    page.get_by_label("Only readers who subscribed in the last").fill("")
    page.get_by_label("Save this audience as").focus()
    page.locator("[data-fold=exceptions]", has_text="no").wait_for()
    narrow.click()
    page.get_by_role("button", name="Review").click()
    page.locator("h1", has_text="Notify").wait_for()
    picture("confirm-1280", height=860)
    page.get_by_role("button", name="Notify").click()
    page.get_by_role("button", name="Take it back").wait_for()
    picture("undo-1280")
    page.get_by_role("button", name="Send now").click()
    page.locator(".state").wait_for()
    (ferry,) = runtime.publishing.latest(1)
    send(runtime, ferry.id, 0.6)
    page.reload()
    picture("sending-1280", height=980)
    picture("sending-390", width=390, height=980)
    page.emulate_media(color_scheme="dark")
    picture("sending-1280-dark", height=980)
    page.emulate_media(color_scheme="light")
    page.get_by_role("button", name="Something’s wrong").click()
    page.get_by_role("heading", name="Handed over").wait_for()
    picture("wrong-1280")
    picture("wrong-390", width=390, full=True)
    page.get_by_role("link", name="retraction").click()
    picture("retract-1280")
    page.go_back()
    page.get_by_role("button", name="Go on").click()
    page.locator(".state").wait_for()
    page.goto("about:blank")  # else the page loads itself again
    send(runtime, ferry.id)
    report(runtime, ferry.id, 5000, 0.12)
    now = clock.time
    clock.time = lambda: now() + 5000
    page.goto(f"{address}/desk/alerts/{ferry.id}")
    picture("sent-1280", full=True)
    picture("sent-390", width=390, full=True)
    clock.time = now
    for title, kind, topic in (
        ("Council votes to keep the tram", "news", "culture"),
        ("Harbour bridge closed in high wind", "breaking", "sport"),
    ):
        send(runtime, publish(runtime, title, topic, kind=kind).id)
    publish(runtime, "Election night: all results", "world", send_at=SendAt(time.time() + 8000))
    publish(runtime, "Museum of unfinished novels opens", "culture", draft=True)
    page.goto(f"{address}/desk/")
    picture("list-1280", height=900)
    page.goto(f"{address}/desk/topics")
    picture("topics-1280")
    page.goto(f"{address}/desk/settings")
    page.get_by_role("button", name="Show the question").click()
    page.get_by_label("Question", exact=True).fill("Shall we wake you for the news?")
    page.get_by_role("heading", name="Shall we wake you").wait_for()
    page.get_by_label("Sites").scroll_into_view_if_needed()
    picture("settings-1280")
    page.goto(f"{address}/desk/overview")
    picture("overview-1280", full=True)
    page.goto(f"{address}/desk/alerts/{waiting(runtime.config.redis_url)}")
    picture("approve-1280", height=980)
    picture("approve-390", width=390, full=True)


def waiting(redis_url: str) -> int:
    """Publish an alert that waits for a second person, as a colleague does."""
    strict: Runtime = app_with(redis_url, TWO_PERSON_ABOVE="20000").extensions["stoppress"]
    content = Content(FERRY["title"], FERRY["url"], FERRY["body"], kind="breaking")
    published = strict.publishing.publish(content, Audience(everyone=True), by="ben@paper.example")
    return published.id


def take_two_texts(runtime: Runtime, page: Page, address: str, folder: Path) -> None:
    """Take a picture of an alert that tries two texts."""
    second = SecondText("Swifts are back: where to look up tonight", "", 20, 15)
    one = publish(runtime, "The swifts are back in town", "world", second_text=second)
    send(runtime, one.id)
    readers = [SubscriptionId(0, number) for number in range(READERS)]
    for text, every in (("A", 140), ("B", 85)):
        tried = [reader for reader in readers if text_of(one.id, *reader, 20) == text]
        clicks = [Report(one.id, reader, "clicked") for reader in tried[::every]]
        runtime.receipts.count(clicks)
    page.set_viewport_size({"width": 1280, "height": 980})
    page.goto(f"{address}/desk/alerts/{one.id}")
    page.screenshot(path=folder / "desk-two-texts-1280.png")


def take_repeated(page: Page, address: str, folder: Path) -> None:
    """Take a picture of the part of the form in which an alert repeats."""
    page.set_viewport_size({"width": 1280, "height": 860})
    page.goto(f"{address}/desk/new")
    page.wait_for_load_state()
    page.get_by_label("Title", exact=True).fill("The morning in {count} stories")
    page.get_by_label("Link to the story").fill("https://paper.example/")
    page.get_by_label("World", exact=True).check()
    page.locator(".fold:has(#when) > summary").click()
    page.locator("#at").fill(f"{datetime.now() + timedelta(days=1):%Y-%m-%d}T07:00")
    for name in ("Mon", "Tue", "Wed", "Thu", "Fri"):
        page.locator("#repeat").get_by_label(name).check()
    page.get_by_label("Make the text from the alerts").check()
    page.locator("[data-fold=when]", has_text="Friday").wait_for()
    page.locator("#when").evaluate("(part) => part.closest('details').scrollIntoView()")
    page.screenshot(path=folder / "desk-repeat-1280.png")


def age(runtime: Runtime, id: int, ago: float) -> None:
    """Let an alert have begun so long ago."""
    redis, began = runtime.store.redis, time.time() - ago
    redis.hset(alert_key(id), "started_at", f"{began:.3f}")
    redis.hset(alert_key(id), "finished_at", f"{began + 21.4:.3f}")
    redis.zadd(STARTED, {str(id): round(began * 1000)})


def report(runtime: Runtime, id: int, until: float, share: float) -> None:
    """Let browsers report an alert until it is so old, this share of them a click."""
    random, began = Random(id), runtime.publishing.get(id).started_at or 0.0
    rows, accepted = [], runtime.store.redis.get(part_key(0, id, "accepted:0"))
    for number in range(8 * len(accepted)):
        service = SERVICES[number % len(SERVICES)]
        has_it = accepted[number // 8] & 0x80 >> number % 8
        # Apple's browsers report nothing, and some others never show it.
        if not has_it or service == "apple" or random.random() < 0.03:
            continue
        kinds = {"service": service, "language": LANGUAGES.get(number % 11, "en")}
        after = random.expovariate(1 / 4000)
        events = [("shown", kinds)]
        if random.random() < share and after < until:
            there = datetime.fromtimestamp(began + after, timezone.utc).hour
            events.append(("clicked", kinds | {"hour": str(there), "after": str(step(after))}))
        elif random.random() < 0.04:
            events.append(("dismissed", {"service": service}))
        rows += [
            ReceiptRow(id, event, f"0-{number}", [Tally(event, *one) for one in given.items()])
            for event, given in events
        ]
    runtime.store.receipt_counts.count(rows, DAY)


def history(runtime: Runtime) -> None:
    """Let the overview have eight weeks, and the topic World three earlier alerts."""
    store, random, ended = runtime.store, Random(8), Counter[str]()
    for ago in range(56, -1, -1):
        day = int(f"{today() - timedelta(ago):%Y%m%d}")
        ended.update(left=random.randrange(40), lost=random.randrange(5), gone=random.randrange(60))
        readers = READERS - 70 * ago + (random.randrange(40) if ago else 0)
        given = {"readers": readers, "unconfirmed": 0, "ended": dict(ended)}
        store.daily_totals.put_readers(day, given)
        if ago < 2:
            continue
        # Each alert went to a topic, whose followers are a fourth of the readers.
        chosen = random.sample(range(5, 23), random.randrange(3, 9))
        sent = [[1, 9_000, round(9_000 * random.uniform(0.02, 0.07))] for _ in chosen]
        hours = dict(zip(map(str, chosen), sent, strict=True))
        topics: dict[str, list[int]] = {}
        for clicks in sent:
            before = topics.setdefault(random.choice(TOPICS).lower(), [0, 0, 0])
            before[:] = [sum(both) for both in zip(before, clicks, strict=True)]
        total = [sum(column) for column in zip(*sent, strict=True)]
        # Of so many alerts, a reader got each with one chance in four.
        got = [
            round(READERS * comb(total[0], n) * 0.25**n * 0.75 ** (total[0] - n)) for n in range(7)
        ]
        alerts = {"all": total, "handed_over": 12_000 * total[0], "hours": hours, "topics": topics}
        store.daily_totals.put_alerts(day, {**alerts, "had": got + [0] * 9})
    steps = {"shown": 1, "yes": 8, "granted": 9, "subscribed": 10, "confirmed": 11}
    # Most of those who have joined in four weeks were asked.
    for path, times in (("/", 12_000), ("/world", 8_000), ("/sport", 5_200), ("/culture", 1_100)):
        for asked, every in steps.items():
            store.redis.hincrby(f"{{g}}:questions:{day}", f"{asked} {path}", times // every)
    for ago, title in enumerate(("Tram line opens", "Frost in May", "Bridge repaired early"), 1):
        id = publish(runtime, title, "world").id
        send(runtime, id)
        age(runtime, id, ago * 1.3 * DAY)
        report(runtime, id, DAY, 0.08)


def publish(runtime: Runtime, title: str, topic: str, **options: Any) -> Published:
    """Publish an alert, or plan it, as a CMS does."""
    content = Content(title, "https://paper.example/story", kind=options.pop("kind", "news"))
    return runtime.publishing.publish(content, Audience(topics=(topic,)), by="cms", **options)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Take the pictures of the desk for the docs.")
    parser.add_argument("folder", type=Path, help="where to write the PNGs")
    folder = parser.parse_args().folder
    with RedisServer() as redis:
        app = make_app(redis.url)
        with Served(app) as served, open_chromium() as browser:
            context = browser.new_context(
                locale="en-GB", timezone_id="Europe/London", reduced_motion="reduce"
            )
            address = f"http://localhost:{served.port}"
            runtime, page = app.extensions["stoppress"], context.new_page()
            take(runtime, page, address, folder)
            take_two_texts(runtime, page, address, folder)
            take_repeated(page, address, folder)


if __name__ == "__main__":
    _main()
