"""The article behind an alert's link: the form is filled in from it, and faults of it are said.

`web/desk/static/article.js` calls the first two routes while an alert is written. The confirmation
shows the third as a part of its page.
"""

from __future__ import annotations

from flask import abort, jsonify, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.permissions import ANY_EDITOR, allowed
from service.domain.newsroom.articles import NOBODY, NotALink
from service.model.notifications import Notification

_NO_LINK = "This is no link to a page."
_MOST_LOOKS = 12  # of a confirmation at a page that is still being read


@bp.app_template_filter("opened")
def opened(link: str, one: Notification | None) -> str:
    """Return the link of an alert, which may be a new one, as readers open it."""
    links = runtime().config.opened_links.or_own(one.link_parameters if one else "")
    return links.added_to(link, (one.corrects or one.id) if one else None)


@bp.post("/articles")
@allowed(ANY_EDITOR)
def read_article() -> ResponseReturnValue:
    """Have the page behind a link read; say where the result will be."""
    try:
        asked = runtime().articles.ask(request.form.get("url", ""))
    except NotALink:
        return jsonify(problems=[_NO_LINK]), 422
    found = runtime().articles.result(asked.id)
    if found is None:  # nobody would read it
        title = request.form.get("title", "")
        return jsonify(problems=runtime().articles.link_check(asked.link, title) or [NOBODY])
    return jsonify(result=url_for("desk.article", id=asked.id)), 202


@bp.get("/articles/<id>")
@allowed(ANY_EDITOR)
def article(id: str) -> ResponseReturnValue:
    """Return what the page says of itself, and what is wrong with the link; 202: not yet read."""
    found = runtime().articles.result(id)
    if found is None:
        abort(404)
    if found.reading is None:
        return jsonify(), 202
    page = found.article
    return jsonify(
        # By the names of the form's fields.
        fields={
            "title": page.title,
            "body": page.text,
            "image": page.picture,
            "lang": page.language,
        },
        only_http_picture=page.only_http_picture,
        section=page.section,
        for_subscribers=page.for_subscribers,
        problems=list(found.problems(request.args.get("title", ""))),
    )


@bp.get("/articles/check")
@allowed(ANY_EDITOR)
def check_link() -> ResponseReturnValue:
    """Return the part of the confirmation that says what is wrong with the alert's link."""
    url, title = request.args.get("url", ""), request.args.get("title", "")
    looks = request.args.get("looks", 0, type=int)
    return render_template(
        "desk/link_check.html",
        url=url,
        title=title,
        looks=looks + 1,
        waits=looks < _MOST_LOOKS and runtime().articles.is_being_read(url),
        problems=runtime().articles.link_check(url, title),
    )
