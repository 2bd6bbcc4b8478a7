"""The scripts and texts that readers' browsers load: bundled, minified and compressed."""

from __future__ import annotations

import gzip
import json
import re
from functools import cache, reduce
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, current_app, request, send_from_directory
from rjsmin import jsmin

from service.model.language.languages import LANGUAGES, right_to_left, texts
from service.model.language.links import LinkParameters

WEB = Path(__file__).resolve().parents[2] / "web"

# Publishers' pages load these on every view: a stale copy is better than a late one.
FIVE_MINUTES = "public, max-age=300, stale-while-revalidate=86400"

# What `optin.js` loads where it is needed, beside texts of these sections of a language.
PARTS = (
    *("asking", "converted", "counting", "help", "home", "links", "look", "pair", "panel"),
    *("preferences", "reader", "retire", "story"),
)
SECTIONS = ("faults", "help", "home")

# Scripts of several modules, each module after those that it imports: one request instead of many.
# Pages that have an older `optin.js` in their cache ask for these names.
BUNDLES = {
    "look": ("dom", "bell"),
    "panel": ("dialog", "question", "panel"),
    "preferences": ("topics", "preferences"),
    "reader": ("calls", "browser", "reader"),
}

_IMPORT = re.compile(r'^import \{([^}]+)\} from "\./(\w+)\.js";$', re.M)
_MODULE = re.compile(r'"\./(\w+)\.js"')
# `LANGUAGES` in a script stands for the languages that we have, `EACH_LANGUAGE.links.fewer` for
# that text in each of them.
_TEXTS = re.compile(r"\bLANGUAGES\b|\bEACH_LANGUAGE\.([.\w]+)")

# Commas and semicolons before a closing bracket and line ends after one, which jsmin leaves. An
# expression of ours ends with a semicolon, so that such a line end is none.
_NEEDLESS = re.compile(r",(?=[)\]}])|;(?=})|(?<=})\n")
# A style sheet within a script, and the spaces and semicolons that it can do without.
_STYLE = re.compile(r"`\n[^`]*`")
_SPARE = re.compile(r";?\s*(})\s*|\s*([{;,>])\s*|(:) |\n\s*( )|\b0(?=\.)")

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
    small = _STYLE.sub(lambda style: _SPARE.sub(r"\1\2\3\4", style[0]), small)
    return _TEXTS.sub(_texts_for, small)


def _texts(language: str, section: str) -> str:
    """Return the texts of the panel, or those of a section that few readers see."""
    found = texts(language)[section or "panel"]
    if section:
        return _json(found)
    direction = "rtl" if right_to_left(language) else "ltr"
    return _json({"lang": language, "dir": direction, **found})


@cache
def _file(name: str) -> str:
    """Return a script or a file of texts."""
    stem, _, kind = name.rpartition(".")
    if kind == "js":
        return _script(stem)
    language, _, section = stem.partition("/")
    return _texts(language, section)


@cache
def version() -> str:
    """Return the name of the folder of all parts, which changes with the content of any of them.

    Without it a new `optin.js` would run older parts from a browser's cache for a day.
    """
    names = [f"{name}.js" for name in PARTS]
    for language in LANGUAGES:
        names += [f"{language}.json", *(f"{language}/{section}.json" for section in SECTIONS)]
    return sha256("".join(map(_file, names)).encode()).hexdigest()[:8]


@cache
def _content(
    name: str, encoding: str, site_url: str, parameters: LinkParameters, conversions: bool
) -> bytes:
    text = _file(name)
    if name == "optin.js":
        text = text.replace("SITE_URL", _json(site_url)).replace("VERSION", version())
    elif name == "sw.js":
        text = text.replace("LINK_PARAMETERS", _json(parameters.names))
        text = re.sub(r"\bCONVERSIONS\b", _json(conversions), text)
    return gzip.compress(text.encode(), mtime=0) if encoding == "gzip" else text.encode()


def _public(name: str, cache_control: str) -> Response:
    """Serve a script or texts, which pages and workers of other origins may load."""
    encoding = request.accept_encodings.best_match(("gzip", "identity"), "identity")
    kind = "application/json" if name.endswith(".json") else "text/javascript"
    config = current_app.config["STOPPRESS"]
    values = (config.public_url, config.opened_links, bool(config.conversions))
    content = _content(name, encoding, *values)
    response = Response(content, mimetype=kind)
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


def _part(name: str, folder: str | None) -> Response:
    """Serve a part, under another release's address too, but then not for a browser to keep.

    Hosts are deployed one after the other, and that release's pages would run it beside their own.
    """
    return _public(name, FIVE_MINUTES if folder in (None, version()) else "no-cache")


@bp.get(f"/<any({', '.join(PARTS)}):name>.js")
@bp.get(f"/parts/<folder>/<any({', '.join(PARTS)}):name>.js")
def part(name: str, folder: str | None = None) -> Response:
    """Serve a script that `optin.js` fetches only where it is needed."""
    return _part(f"{name}.js", folder)


@bp.get("/texts/<language>.json")
@bp.get("/parts/<folder>/texts/<language>.json")
def panel_texts(language: str, folder: str | None = None) -> Response:
    """Serve what the panel, the bell and the preferences say in one language."""
    if language not in LANGUAGES:
        abort(404)
    return _part(f"{language}.json", folder)


@bp.get(f"/texts/<language>/<any({', '.join(SECTIONS)}):section>.json")
@bp.get(f"/parts/<folder>/texts/<language>/<any({', '.join(SECTIONS)}):section>.json")
def rare_texts(language: str, section: str, folder: str | None = None) -> Response:
    """Serve what few readers see: why something fails, or no alerts come; the Home Screen."""
    if language not in LANGUAGES:
        abort(404)
    return _part(f"{language}/{section}.json", folder)


@bp.get("/style.css")
def style() -> Response:
    """Serve the style sheet that all our own pages share."""
    return send_from_directory(WEB, "style.css", mimetype="text/css")
