"""Settings that an editor who manages can change at the desk, and those that are only shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.config import desk_settings
from service.current import runtime
from service.desk.blueprint import bp
from service.desk.people.editors import note
from service.desk.permissions import allowed
from service.desk.session import signed_in
from service.live_settings import ChangedMeanwhile, DeskSetting, WrongSettings
from service.model.language.languages import texts
from service.model.preferences import NO_QUIET, UNLIMITED, Quiet
from service.model.roles import Role

_LINES = Path(__file__).resolve().parents[3] / "web" / "desk" / "lines"
_OURS = "https://push.example"  # what stands for SITE_URL in these lines, as in docs/site.md
_A_TOPIC = ' data-topic="world"'  # which is only for the pages of one section
# The settings on the page, by part; each with a hint.
PARTS = {
    "The newspaper": {
        "site_name": "As readers see it.",
        "site_origins": "The addresses of your pages, such as https://www.paper.example, with"
        " spaces between them. The front page is on the first. Browsers on any other page are"
        " refused.",
        "site_icon": "The address of a PNG, best of 192 by 192 pixels, for alerts without an icon"
        " of their own.",
    },
    "The question to readers": {
        "ask_question": "Empty: our own words, in the language of the page, or those that the page"
        " has. Leave it and the two buttons empty on a site in several languages.",
        "ask_yes": "",
        "ask_later": "",
        "ask_page_views": "With 2, nobody is asked on the first page that they see.",
        "ask_seconds": "After the page has loaded, so that readers can begin to read.",
    },
    "Readers who have chosen nothing": {
        "quiet_hours": "By the reader's own clock, in quarter hours, such as 22:00-07:00; or none.",
        "daily_limit": "Alerts a day, up to 14; or none. Breaking news does not count.",
    },
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting as the page shows it."""

    name: str
    hint: str
    text: str  # in the field, or as the environment sets it
    default: str
    given: bool  # by the environment
    now: str | None = None  # what is set, where another editor has changed it and that differs
    by: str = ""  # the editor who has set it
    at: float = 0.0


def lines(name: str) -> str:
    """Return the lines of docs/site.md, with the address of this service."""
    text = (_LINES / name).read_text(encoding="utf-8").replace(_A_TOPIC, "")
    return text.replace(_OURS, runtime().config.public_url)


@bp.get("/settings")
@allowed(Role.MANAGES)
def settings() -> ResponseReturnValue:
    """Show the settings."""
    return _page()


@bp.post("/settings")
@allowed(Role.MANAGES)
def change_settings() -> ResponseReturnValue:
    """Change what differs from what is set; all of it, or nothing if something is wrong."""
    names = [row.name for row in desk_settings()]
    given = {name: request.form[name] for name in names if name in request.form}
    revision = request.form.get("revision", -1, type=int)
    try:
        changed = runtime().settings.change(given, revision, by=signed_in().email)
    except WrongSettings as wrong:
        return _page(given, errors=wrong.errors, revision=revision), 422
    except ChangedMeanwhile:
        return _page(given, meanwhile=True), 409
    now = runtime().settings.document().texts
    for name in changed:
        note(f"set {name.upper()} to {now.get(name, '')!a}")
    return redirect(url_for("desk.settings", saved="yes"), 303)


def _page(
    given: dict[str, str] | None = None,
    *,
    errors: Any = None,
    revision: int | None = None,
    meanwhile: bool = False,
) -> str:
    """Show the page; a form with a mistake keeps the `revision` on which it was typed."""
    keys = runtime().keys
    document = runtime().settings.document()
    parts = _parts(given or {}, document.settings, meanwhile=meanwhile)
    return render_template(
        "desk/settings.html",
        parts=parts,
        differing=[one.name for some in parts.values() for one in some if one.now is not None],
        revision=document.revision if revision is None else revision,
        errors=errors or {},
        meanwhile=meanwhile,
        saved=not given and "saved" in request.args,
        page_lines=lines("page.html"),
        worker_lines=lines("sw.js"),
        keys=keys.uses(),
        secret=runtime().tokens.fingerprints[0],
        backed_up_at=keys.backed_up_at(),
    )


def _parts(
    given: Mapping[str, str], set_here: Mapping[str, DeskSetting], *, meanwhile: bool
) -> dict[str, list[Shown]]:
    environment = runtime().settings.environment
    rows = {row.name: row for row in desk_settings()}
    found: dict[str, list[Shown]] = {}
    for part, names in PARTS.items():
        for name, hint in names.items():
            here, fixed = set_here.get(name), name in environment.given
            now = here.text if here else ""
            text = given.get(name, now)
            differs = meanwhile and not fixed and text.strip() != now
            one = Shown(
                name,
                hint,
                in_words(getattr(environment, name)) if fixed else text,
                _default(name, rows[name].metadata["default"]),
                fixed,
                now if differs else None,
                here.by if here else "",
                here.at if here else 0.0,
            )
            found.setdefault(part, []).append(one)
    return found


def in_words(value: Any) -> str:
    """Return the value of a setting as it is typed."""
    if value in (NO_QUIET, UNLIMITED):
        return "none"
    several = isinstance(value, tuple) and not isinstance(value, Quiet)
    return " ".join(value) if several else str(value)


def _default(name: str, default: str) -> str:
    ours = texts("en")["panel"]
    words = {"ask_question": ours["line"], "ask_yes": ours["yes"], "ask_later": ours["later"]}
    return str(words.get(name, default))
