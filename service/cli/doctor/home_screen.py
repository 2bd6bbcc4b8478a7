"""The doctor's checks of what an iPhone needs: a web manifest, and icons for the Home Screen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from service.cli.doctor.fetching import SHOWN, CannotFetch, Fetching
from service.cli.doctor.findings import Finding, ok, warn
from service.cli.doctor.page import Page
from service.model.language.graphemes import cut
from service.model.language.links import Origin, web_address

_WHAT = "Home Screen"
_NO_PUSH = "so iPhones and iPads get no alerts"


def home_screen(fetching: Fetching, page: Page, origin: str) -> Iterator[Finding]:
    """Check the manifest, and that the site has an icon that can be loaded."""
    address = page.linked("manifest")
    if not address:
        says = (
            f'The page links no web manifest, {_NO_PUSH}: add <link rel="manifest"'
            ' href="/site.webmanifest"> and the file of docs/site.md.'
        )
        yield warn(_WHAT, says)
        return
    try:
        found = fetching.get(address, by=origin)
        if found.redirects_to:
            found = fetching.get(found.redirects_to, by=str(Origin.of(found.address)))
    except CannotFetch as error:
        yield warn(_WHAT, f"{address} cannot be read ({error}), {_NO_PUSH}.")
        return
    document = _json(found.body) if found.status == 200 else None
    if document is None:
        says = f"{address} gives {found.status} and no JSON object, {_NO_PUSH}: mend that file."
        yield warn(_WHAT, says)
        return
    faults = [*_faults(document, address, origin)]
    icon = page.linked("apple-touch-icon") or _icon(document, address)
    if not icon:
        faults.append("it has no icons, and the page links no apple-touch-icon: add both")
    elif fault := _icon_fault(fetching, icon, origin):
        faults.append(fault)
    for fault in faults:
        yield warn(_WHAT, f"{address}: {fault}.")
    if not faults:
        yield ok(_WHAT, f"{address} and its icon are right.")


def _json(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _faults(manifest: dict[str, Any], address: str, origin: str) -> Iterator[str]:
    display = manifest.get("display", "browser")
    if display not in ("standalone", "fullscreen"):
        yield f'"display" is "{cut(str(display), SHOWN)}", {_NO_PUSH}: set "display": "standalone"'
    if not any(isinstance(manifest.get(name), str) for name in ("name", "short_name")):
        yield "it has neither name nor short_name: add them, because the Home Screen shows one"
    start = web_address(str(manifest.get("start_url") or "/"), address)
    scope = web_address(str(manifest.get("scope") or "./"), start or address)
    if not start or str(Origin.of(start)) != origin:
        yield f'"start_url" is not at {origin}, so the app does not open there: set "/"'
    elif not start.startswith(scope):
        yield f'"start_url" is not within "scope" ({scope}), so it is no app: set "scope": "/"'


def _icon(manifest: dict[str, Any], address: str) -> str:
    icons = manifest.get("icons")
    sources = (
        [one.get("src") for one in icons if isinstance(one, dict)]
        if isinstance(icons, list)
        else []
    )
    return next((web_address(one, address) for one in sources if isinstance(one, str)), "")


def _icon_fault(fetching: Fetching, icon: str, origin: str) -> str:
    try:
        found = fetching.get(icon, by=origin)
    except CannotFetch as error:
        return f"the icon {icon} cannot be read ({error})"
    if found.redirects_to or (found.status == 200 and found.kind.startswith("image/")):
        return ""
    return f"the icon {icon} gives {found.status} and {found.kind or 'no media type'}: mend it"
