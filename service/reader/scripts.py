"""The scripts and texts that readers' browsers load: bundled, minified and compressed."""

from __future__ import annotations

import gzip
import json
import re
from functools import cache, reduce
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, current_app, request, send_from_directory
from rjsmin import jsmin

from service.model.languages import LANGUAGES, right_to_left, texts

WEB = Path(__file__).resolve().parents[2] / "web"

# Publishers' pages load these on every view: a stale copy is better than a late one.
FIVE_MINUTES = "public, max-age=300, stale-while-revalidate=86400"

# Scripts of several modules, each module after those that it imports: one request instead of many.
# Pages that have an older `optin.js` in their cache ask for these names.
BUNDLES = {
    "look": ("dom", "bell"),
    "panel": ("dialog", "question", "panel"),
    "preferences": ("topics", "preferences"),
    "reader": ("calls", "reader"),
}

_IMPORT = re.compile(r'^import \{([^}]+)\} from "\./(\w+)\.js";$', re.M)
_MODULE = re.compile(r'"\./(\w+)\.js"')
# `LANGUAGES` in a script stands for the languages that we have, `EACH_LANGUAGE.links.fewer` for
# that text in each of them.
_TEXTS = re.compile(r"\bLANGUAGES\b|\bEACH_LANGUAGE\.([.\w]+)")

# Commas and semicolons before a closing bracket, which jsmin leaves.
_NEEDLESS = re.compile(r",(?=[)\]}])|;(?=})")
# A style sheet within a script, and the spaces and semicolons that it can do without.
_STYLE = re.compile(r"`\n[^`]*`")
_SPARE = re.compile(r";?\s*(})\s*|\s*([{;,>])\s*|(:) |\b0(?=\.)")

bp = Blueprint("reader", __name__)


def _script_of(module: str) -> str:
    """Return in which script a module is served."""
    return next((name for name, modules in BUNDLES.items() if module in modules), module)


def _bundled(name: str) -> str:
    """Return the modules of a script as one, which imports from other scripts only."""
    modules = BUNDLES.get(name, (name,))
    imported: dict[str, set[str]] = {}
    parts = []
    for module in modules:
        text = (WEB / "reader" / f"{module}.js").read_text(encoding="utf-8")
        for names, source in _IMPORT.findall(text):
            if source not in modules:
                found = imported.setdefault(_script_of(source), set())
                found |= {one.strip() for one in names.split(",") if one.strip()}
        parts.append(_IMPORT.sub("", text))
    imports = [
        f'import {{ {", ".join(sorted(names))} }} from "./{source}.js";\n'
        for source, names in sorted(imported.items())
    ]
    return _MODULE.sub(lambda found: f'"./{_script_of(found[1])}.js"', "".join(imports + parts))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _texts_for(found: re.Match[str]) -> str:
    if not found[1]:
        return _json(LANGUAGES)
    names = found[1].split(".")
    return _json({one: reduce(dict.__getitem__, names, texts(one)) for one in LANGUAGES})


def _script(name: str) -> str:
    """Return a script without comments and spaces, because page views pay for them."""
    small = _NEEDLESS.sub("", jsmin(_bundled(name)))
    small = _STYLE.sub(lambda style: _SPARE.sub(r"\1\2\3", style[0]), small)
    return _TEXTS.sub(_texts_for, small)


def _texts(language: str, section: str) -> str:
    """Return the texts of the panel, or those of a section that few readers see."""
    found = texts(language)[section or "panel"]
    if section:
        return _json(found)
    direction = "rtl" if right_to_left(language) else "ltr"
    return _json({"lang": language, "dir": direction, **found})


@cache
def _content(name: str, encoding: str, site_url: str = "") -> bytes:
    stem, _, kind = name.rpartition(".")
    if kind == "js":
        text = _script(stem).replace("SITE_URL", _json(site_url))
    else:
        language, _, section = stem.partition("/")
        text = _texts(language, section)
    return gzip.compress(text.encode(), mtime=0) if encoding == "gzip" else text.encode()


def _public(name: str, cache_control: str) -> Response:
    """Serve a script or texts, which pages and workers of other origins may load."""
    encoding = request.accept_encodings.best_match(("gzip", "identity"), "identity")
    kind = "application/json" if name.endswith(".json") else "text/javascript"
    site_url = current_app.config["STOPPRESS"].public_url
    response = Response(_content(name, encoding, site_url), mimetype=kind)
    if encoding == "gzip":
        response.headers["Content-Encoding"] = encoding
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = cache_control
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.add_etag()
    response.make_conditional(request)
    return response


@bp.after_request
def _let_any_header_come(response: Response) -> Response:
    """Let pages load scripts whose monitoring adds headers of its own to all of their requests."""
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Allow-Headers"] = "*"
    return response


@bp.get("/sw.js")
def service_worker() -> Response:
    """Serve the service worker, always fresh; it may control the whole site."""
    response = _public("sw.js", "no-cache")
    response.headers["Service-Worker-Allowed"] = "/"
    return response


@bp.get("/optin.js")
def opt_in() -> Response:
    """Serve the script that publishers' pages load."""
    return _public("optin.js", FIVE_MINUTES)


@bp.get(
    "/<any(asking, help, home, links, look, panel, preferences, reader, retire, story):name>.js"
)
def part(name: str) -> Response:
    """Serve a script that `optin.js` fetches only where it is needed."""
    return _public(f"{name}.js", FIVE_MINUTES)


@bp.get("/texts/<language>.json")
def panel_texts(language: str) -> Response:
    """Serve what the panel, the bell and the preferences say in one language."""
    if language not in LANGUAGES:
        abort(404)
    return _public(f"{language}.json", FIVE_MINUTES)


@bp.get("/texts/<language>/<any(faults, help, home):section>.json")
def rare_texts(language: str, section: str) -> Response:
    """Serve what few readers see: why something fails, or no alerts come; the Home Screen."""
    if language not in LANGUAGES:
        abort(404)
    return _public(f"{language}/{section}.json", FIVE_MINUTES)


@bp.get("/style.css")
def style() -> Response:
    """Serve the style sheet that all our own pages share."""
    return send_from_directory(WEB, "style.css", mimetype="text/css")
