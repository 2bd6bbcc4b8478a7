"""The page `/privacy`: what is stored about a reader, why, and for how long."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, render_template, request

from service.model.language.languages import (
    LANGUAGES,
    browser_language,
    right_to_left,
    supported_language,
    texts,
)
from service.model.retention import (
    ACCEPTED_KEPT,
    ASKED_KEPT,
    CALLERS_KEPT,
    CLICKED_KEPT,
    COUNTED_KEPT,
    COUNTS_KEPT,
    DAY,
    GONE_KEPT,
    HELD_KEPT,
    IN_VAIN_KEPT,
    LEFT_KEPT,
    NEW_HOSTS_KEPT,
    PAIRED_KEPT,
    RATE_KEPT,
    READERS_TEST_KEPT,
    UNTRIED_KEPT,
    YOUNG_KEPT,
)
from service.model.time.spans import one_of_spans, span
from service.reader.scripts import FIVE_MINUTES, WEB

bp = Blueprint("privacy", __name__, template_folder=str(WEB))


def _readers_language() -> str | None:
    """Return the first of the reader's languages that we have, of whichever region."""
    for name, quality in request.accept_languages:  # the best first
        language = browser_language(name).partition("-")[0]
        if quality and language in LANGUAGES:
            return language
    return None


def _texts(
    language: str, *, keeps_clicks: bool, conversions: bool, retires: bool
) -> dict[str, Any]:
    """Return the texts of the page; those about what the newsroom has switched on only then."""
    found: dict[str, Any] = texts(language)["privacy"]
    if conversions:
        subscribed, browser, counted, *rest = found["sections"]
        browser = {**browser, "text": [*browser["text"], found["conversions"]["browser"]]}
        counted = {**counted, "text": [*counted["text"], found["conversions"]["counted"]]}
        found = {**found, "sections": [subscribed, browser, counted, *rest]}
    if retires:
        *sections, last = found["sections"]
        *text, backups = last["text"]
        last = {**last, "text": [*text, found["retire"], backups]}
        found = {**found, "sections": [*sections, last]}
    if not keeps_clicks:
        return found
    clicks, (*sections, last), rows = found["clicks"], found["sections"], found["rows"]
    return {
        **found,
        "standfirst": clicks["standfirst"],
        "sections": [*sections, clicks, last],
        "rows": [*rows[:2], clicks["row"], *rows[2:]],
    }


@bp.get("/privacy")
def privacy() -> Response:
    """Show what is stored about a reader, for how long, and how to see, change and erase it."""
    config = current_app.config["STOPPRESS"]
    language = request.args.get("lang")
    if language not in LANGUAGES:
        language = _readers_language() or supported_language(config.site_language)
    panel = texts(language)["panel"]
    kept = {
        "accepted": ACCEPTED_KEPT,
        "answer": config.retire_answer_days * DAY,
        "asked": ASKED_KEPT,
        "clicked": CLICKED_KEPT,
        "counted": COUNTS_KEPT,
        "gone": GONE_KEPT,
        "held": HELD_KEPT,
        "included": COUNTED_KEPT,
        "in_vain": IN_VAIN_KEPT,
        "inactive": config.retire_after_days * DAY,
        "left": LEFT_KEPT,
        "paired": PAIRED_KEPT,
        "test": READERS_TEST_KEPT,
        "untried": UNTRIED_KEPT,
        "young": YOUNG_KEPT,
        "receipts": config.receipts_kept_days * DAY,
    }
    page = render_template(
        "reader/privacy.html",
        t=_texts(
            language,
            keeps_clicks=config.click_audiences,
            conversions=bool(config.conversions),
            retires=bool(config.retire_after_days),
        ),
        dir="rtl" if right_to_left(language) else "ltr",
        language=language,
        languages={name: texts(name)["name"] for name in LANGUAGES},
        blanks={
            "site": config.site_name,
            **{name: panel[name] for name in ("download", "later", "leave")},
            **{name: span(seconds, language) for name, seconds in kept.items()},
            "rate": one_of_spans((RATE_KEPT, CALLERS_KEPT, NEW_HOSTS_KEPT), language),
        },
    )
    response = Response(page)
    response.headers["Cache-Control"] = FIVE_MINUTES
    response.headers["Content-Language"] = language
    response.headers["Vary"] = "Accept-Language"
    response.add_etag()
    response.make_conditional(request)
    return response
