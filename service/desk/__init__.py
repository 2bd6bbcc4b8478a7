"""The desk: the pages on which editors write alerts, watch them go out, stop and correct them."""

from __future__ import annotations

from flask import Flask

from service.desk import (
    alert_figures,
    alert_list,
    alerts,
    approving,
    articles,
    compose,
    correcting,
    editing,
    log,
    mending,
    overview,
    paired_browsers,
    passkeys,
    people,
    permissions,
    provider,
    rehearsal,
    saved_audiences,
    searching,
    settings,
    shortcuts,
    sign_in,
    start,
    stopping,
    stories,
    templates,
    tokens,
    topics,
    two_step,
    two_texts,
    writing,
)
from service.desk.blueprint import bp

# A module of pages adds its routes to `bp` when it is imported: a new one is named here.
PAGES = (
    *(sign_in, alert_list, searching, alerts, compose, writing, editing, articles, correcting),
    *(stopping, approving, templates, saved_audiences, stories, log, people, two_step),
    *(paired_browsers, tokens, settings, topics, rehearsal, shortcuts, mending),
    *(alert_figures, overview, provider, passkeys, two_texts),
)


def init_app(app: Flask) -> None:
    """Give an application the desk and the start page."""
    app.register_blueprint(bp)
    app.register_blueprint(start.bp)
    permissions.init_app(app)
