"""The demo newspaper, on which a newsroom tries what its readers will see."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from flask import Blueprint, Response, current_app, render_template, url_for

from service.reader.scripts import WEB

bp = Blueprint(
    "demo",
    __name__,
    url_prefix="/demo",
    template_folder=str(WEB),
    static_folder=str(WEB / "demo" / "static"),
    static_url_path="/static",
)


@dataclass(frozen=True)
class Article:
    """A story of the demo newspaper.

    Its text is `articles/<slug>.html`, its picture `static/art/<slug>.svg`.
    """

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


@bp.get("/")
def front() -> str:
    """Show the demo newspaper's front page."""
    return render_template("demo/front.html", articles=articles(), today=datetime.now())


@bp.get("/site.webmanifest")
def manifest() -> Response:
    """Serve the web manifest: an iPhone shows alerts only for a site on its Home Screen."""
    icon = url_for("demo.static", filename="icon.svg")
    content = {
        "id": url_for("demo.front"),
        "name": current_app.config["STOPPRESS"].site_name,
        "start_url": url_for("demo.front"),
        "scope": url_for("demo.front"),
        "display": "standalone",
        "background_color": "#fcfaf5",
        "theme_color": "#fcfaf5",
        "icons": [{"src": icon, "sizes": "any", "type": "image/svg+xml"}],
    }
    return Response(json.dumps(content), mimetype="application/manifest+json")


@bp.get("/<slug>")
def article(slug: str) -> tuple[str, int]:
    """Show one story, or a page that says that there is no such story."""
    story = articles().get(slug)
    page = "demo/article.html" if story else "demo/missing.html"
    status = 200 if story else 404
    return render_template(page, article=story, articles=articles(), today=datetime.now()), status
