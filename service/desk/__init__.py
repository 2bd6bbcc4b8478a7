"""The desk: the pages on which editors write alerts, watch them go out, stop and correct them."""

from __future__ import annotations

from flask import Flask

from service.desk import permissions, rehearsal, shortcuts, start
from service.desk.alerts import (
    alert_list,
    approving,
    correcting,
    figures,
    log,
    mending,
    one_alert,
    searching,
    stopping,
    stories,
    two_texts,
)
from service.desk.blueprint import bp
from service.desk.newsroom import (
    feeds,
    hooks,
    operations,
    overview,
    settings,
    topics,
    webhooks,
)
from service.desk.people import (
    editors,
    paired_browsers,
    passkeys,
    provider,
    sign_in,
    tokens,
    two_step,
)
from service.desk.writing import (
    articles,
    compose,
    editing,
    saved_audiences,
    templates,
    unfinished,
)

# A module of pages adds its routes to `bp` when it is imported: a new one is named here.
PAGES = (
    *(alert_list, one_alert, figures, searching, two_texts, mending, correcting, approving),
    *(stopping, stories, log, compose, unfinished, editing, templates, saved_audiences, articles),
    *(sign_in, editors, two_step, paired_browsers, passkeys, provider, tokens),
    *(overview, settings, topics, feeds, webhooks, hooks, operations, rehearsal, shortcuts),
)


def init_app(app: Flask) -> None:
    """Give an application the desk and the start page."""
    app.register_blueprint(bp)
    app.register_blueprint(start.bp)
    permissions.init_app(app)
