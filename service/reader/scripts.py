"""What a reader's browser fetches from us: the scripts, the styles, and the demo newspaper."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from flask import (
    Blueprint,
    Response,
    current_app,
    render_template,
    request,
    send_from_directory,
    url_for,
)
from rjsmin import jsmin

from service.model.languages import TEST, days, ours
from service.store.daily_counts import COUNTS_KEPT
from service.store.held_alerts import HELD_KEPT
from service.store.outcomes import ACCEPTED_KEPT
from service.store.subscriptions import LEFT_MEMORY

WEB = Path(__file__).resolve().parents[2] / "web"

# A publisher's page loads these on every view: stale is better than late (design, section 5).
_FIVE_MINUTES = "public, max-age=300, stale-while-revalidate=86400"

# A style sheet within a script, and what it can do without.
_STYLE = re.compile(r"`\n[^`]*`")
_SPARE = re.compile(r";?\s*(})\s*|\s*([{;,>])\s*|(:) |\b0(?=\.)")

bp = Blueprint(
    "reader",
    __name__,
    template_folder=str(WEB),
    static_folder=str(WEB / "demo" / "static"),
    static_url_path="/demo/static",
)


@dataclass(frozen=True)
class Article:
    """One story of the demo newspaper; its text is `articles/<slug>.html`, its art `art/…svg`."""

    slug: str
    topic: str
    section: str
    headline: str
    standfirst: str
    byline: str
    caption: str


@cache
def articles() -> dict[str, Article]:
    """Return the demo's stories by slug, the lead first."""
    rows = json.loads((WEB / "demo" / "articles.json").read_text(encoding="utf-8"))
    return {row["slug"]: Article(**row) for row in rows}


@cache
def _minified(name: str, encoding: str) -> bytes:
    """Return a file without comments and spaces, as it is or compressed: page views pay for it."""
    whole = (WEB / "reader" / name).read_text(encoding="utf-8")
    if name.endswith(".json"):
        text = json.dumps(json.loads(whole), ensure_ascii=False, separators=(",", ":"))
    else:
        text = _STYLE.sub(lambda style: _SPARE.sub(r"\1\2\3", style[0]), jsmin(whole))
    return gzip.compress(text.encode(), mtime=0) if encoding == "gzip" else text.encode()


def _public(name: str, cache_control: str) -> Response:
    """Serve a script, or its texts, that pages and workers of other origins may load."""
    encoding = request.accept_encodings.best_match(("gzip", "identity"), "identity")
    kind = "application/json" if name.endswith(".json") else "text/javascript"
    response = Response(_minified(name, encoding), mimetype=kind)
    if encoding == "gzip":
        response.headers["Content-Encoding"] = encoding
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = cache_control
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.add_etag()
    response.make_conditional(request)
    return response


@cache
def _words(folder: str, language: str) -> dict[str, Any]:
    found = (WEB / "reader" / folder / f"{language}.json").read_text(encoding="utf-8")
    return dict(json.loads(found))


@bp.get("/privacy")
def privacy() -> Response:
    """Say what is stored about a reader, for how long, and how to see, change and erase it."""
    config = current_app.config["STOPPRESS"]
    language = request.args.get("lang")
    if language not in TEST:
        language = request.accept_languages.best_match(TEST, ours(config.site_language))
    panel = _words("texts", language)
    kept = {
        "accepted": ACCEPTED_KEPT // 86_400,
        "counted": COUNTS_KEPT // 86_400,
        "held": HELD_KEPT // 86_400,
        "left": LEFT_MEMORY // 86_400,
        "receipts": config.receipts_kept_days,
    }
    page = render_template(
        "reader/privacy.html",
        t=_words("privacy", language),
        dir=panel["dir"],
        language=language,
        languages={name: _words("privacy", name)["name"] for name in TEST},
        blanks={
            "site": config.site_name,
            "download": panel["download"],
            "leave": panel["leave"],
            **{name: days(number, language) for name, number in kept.items()},
        },
    )
    response = Response(page)
    response.headers["Cache-Control"] = _FIVE_MINUTES
    response.headers["Content-Language"] = language
    response.headers["Vary"] = "Accept-Language"
    response.add_etag()
    response.make_conditional(request)
    return response


@bp.get("/sw.js")
def service_worker() -> Response:
    """Serve the service worker, always fresh; it may control the whole site."""
    response = _public("sw.js", "no-cache")
    response.headers["Service-Worker-Allowed"] = "/"
    return response


@bp.get("/optin.js")
def opt_in() -> Response:
    """Serve the script of the publisher's pages."""
    return _public("optin.js", _FIVE_MINUTES)


@bp.get("/<any(home, links, look, panel, retire, story):part>.js")
def needed(part: str) -> Response:
    """Serve what `optin.js` fetches only where it is needed."""
    return _public(f"{part}.js", _FIVE_MINUTES)


@bp.get("/texts/<any(ar, de, en, es, fr, ru):language>.json")
def texts(language: str) -> Response:
    """Serve all that readers are told in one language."""
    return _public(f"texts/{language}.json", _FIVE_MINUTES)


@bp.get("/style.css")
def style() -> Response:
    """Serve the look that all our own pages share."""
    return send_from_directory(WEB, "style.css", mimetype="text/css")


@bp.app_context_processor
def _masthead() -> dict[str, Any]:
    return {"site_name": current_app.config["STOPPRESS"].site_name}


@bp.get("/demo/")
def front() -> str:
    """Show the demo newspaper's front page."""
    return render_template("demo/front.html", articles=articles(), today=datetime.now())


@bp.get("/demo/site.webmanifest")
def manifest() -> Response:
    """Let the paper be put on a Home Screen: only there an iPhone shows alerts."""
    icon = url_for("reader.static", filename="icon.svg")
    said = {
        "id": url_for("reader.front"),
        "name": current_app.config["STOPPRESS"].site_name,
        "start_url": url_for("reader.front"),
        "scope": url_for("reader.front"),
        "display": "standalone",
        "background_color": "#fcfaf5",
        "theme_color": "#fcfaf5",
        "icons": [{"src": icon, "sizes": "any", "type": "image/svg+xml"}],
    }
    return Response(json.dumps(said), mimetype="application/manifest+json")


@bp.get("/demo/<slug>")
def article(slug: str) -> tuple[str, int]:
    """Show one story; for an unknown one, the paper's own apology."""
    story = articles().get(slug)
    page = "demo/article.html" if story else "demo/missing.html"
    status = 200 if story else 404
    return render_template(page, article=story, articles=articles(), today=datetime.now()), status
