"""`stoppress doctor --site URL`: what of Stop Press a publisher's page has, and what hinders it.

It reads files as a browser would, and runs no script.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from urllib.parse import urlsplit

from service.cli.doctor.addresses import is_here
from service.cli.doctor.content_policy import Policy, policies
from service.cli.doctor.fetching import SHOWN, CannotFetch, Fetched, Fetching
from service.cli.doctor.findings import Finding, fail, ok, warn
from service.cli.doctor.home_screen import home_screen
from service.cli.doctor.page import Page, Script, read_page
from service.model.language.graphemes import cut
from service.model.language.links import Origin, web_address, with_scheme
from service.model.network.block_lists import is_blocked
from service.runtime import Runtime

_OPT_IN = re.compile(r"""["'`](https?://[^"'`\s]+/optin\.js)""")
# The names of an `import` end before the next one: else a long text of them takes minutes.
_NAMES = r"""(?:(?!\bimport\b)[^"'`;]){0,2000}\bfrom"""
_IMPORTED = re.compile(rf"""(?:importScripts\s*\(|\bimport\b(?:{_NAMES})?)\s*["'`]([^"'`]+)""")
_OWN_LISTENER = re.compile(r"""addEventListener\(\s*["'`]push["'`]|\bonpush\s*=""")
_SETTINGS = ("worker", "ask", "ask-on", "bell", "retire", "scope", "texts", "topic")
_WORKER = "/sw.js"
_TAG = "Site's tag"
_IN_OUR_WORKER = "stop-press-receipts"  # the name of a cache that web/reader/sw.js keeps
_JAVASCRIPT = re.compile(r"(text|application)/(x-)?(java|ecma)script")
_MOST_IMPORTED = 5  # files
_GUIDE = "docs/site.md"


def check_site(runtime: Runtime, url: str) -> Iterator[Finding]:
    """Check a page of the publisher's."""
    config = runtime.config
    address = web_address(with_scheme(url))
    if not address:
        says = f"{url} is no web address: name a page, such as https://paper.example/"
        yield fail("Site", says)
        return
    ours = (config.public_url, *config.site_origins, *config.fetch_origins)
    fetching = Fetching(config, {str(Origin.of(address)), *ours})
    try:
        found = fetching.page(address)
    except CannotFetch as error:
        yield fail("Site", f"{address} cannot be read from here ({error}): check the address.")
        return
    yield from _Site(runtime, fetching, found, read_page(found.body, found.address)).findings()


@dataclass(frozen=True)
class _Site:
    """The checks of one page."""

    runtime: Runtime
    fetching: Fetching
    response: Fetched
    page: Page

    @property
    def origin(self) -> str:
        return str(Origin.of(self.response.address))

    @property
    def ours(self) -> str:
        return self.runtime.config.public_url

    def findings(self) -> Iterator[Finding]:
        address, kind = self.response.address, self.response.kind
        if not 200 <= self.response.status < 300:
            says = f"{address} answers {self.response.status}: name a page that readers can open."
            yield fail("Site", says)
            return
        if kind not in ("text/html", ""):
            says = f"{address} is {kind}, in which our script does not run: serve it as text/html."
            yield fail("Site", says)
            return
        if not address.startswith("https:") and not is_here(address):
            says = f"{address} is not https, so browsers have no push there: serve it over https."
            yield fail("Site", says)
        else:
            yield ok("Site", f"{address} can be read.")
        yield from self._calls()
        tag, faults = self._tag()
        yield from faults
        yield from self._script()
        if tag is not None:
            yield from self._worker(tag)
            yield from self._policies(tag)
        yield from home_screen(self.fetching, self.page, self.origin)

    # -- our own calls and script ---------------------------------------------------------------

    def _calls(self) -> Iterator[Finding]:
        """Check that pages of this origin may call the API (Fetch, CORS protocol)."""
        what = "Site's calls"
        if self.origin not in self.runtime.config.site_origins and self.origin != self.ours:
            yield fail(
                what,
                f"{self.origin} is not in SITE_ORIGINS, so its readers cannot subscribe: add it"
                " there, or at the desk at “Settings”.",
            )
            return
        if self.origin == self.ours:
            return
        try:
            answers = {
                "GET /api/v1/site": self.fetching.get(
                    f"{self.ours}/api/v1/site", by=self.origin, Origin=self.origin
                ),
                "OPTIONS /api/v1/subscriptions": self.fetching.preflight(
                    f"{self.ours}/api/v1/subscriptions", by=self.origin
                ),
            }
        except CannotFetch as error:
            says = f"{self.ours} does not answer ({error}): see the line on Web above."
            yield fail(what, says)
            return
        for call, answer in answers.items():
            allowed = cut(answer.headers.get("access-control-allow-origin", ""), SHOWN)
            if answer.status < 400 and allowed in (self.origin, "*"):
                continue
            yield fail(
                what,
                f"Browsers let no page of {self.origin} call {self.ours}, so nobody can subscribe:"
                f" {call} gives {answer.status}, and Access-Control-Allow-Origin is"
                f" {allowed or 'missing'}. Let the proxy in front pass calls and headers on"
                " unchanged; if there is none, restart the web processes.",
            )
            return
        yield ok(what, f"Pages of {self.origin} may call {self.ours}.")

    def _script(self) -> Iterator[Finding]:
        what = "Our scripts"
        for name in ("optin.js", "sw.js"):
            address = f"{self.ours}/{name}"
            try:
                found = self.fetching.get(address, by=self.origin)
            except CannotFetch as error:
                says = f"{address} cannot be read ({error}): see the line on Web above."
                yield fail(what, says)
                return
            open_to_all = found.headers.get("access-control-allow-origin") == "*"
            if found.status != 200 or not _JAVASCRIPT.fullmatch(found.kind) or not open_to_all:
                yield fail(
                    what,
                    f"Browsers do not run {address}: it comes with status {found.status} as"
                    f" {found.kind or 'no media type'}"
                    f"{'' if open_to_all else ' and without Access-Control-Allow-Origin: *'}. Let"
                    " the proxy in front pass it on as stoppress web serves it.",
                )
                return
        yield ok(what, f"{self.ours} serves optin.js and sw.js.")

    # -- the tag --------------------------------------------------------------------------------

    def _tag(self) -> tuple[Script | None, list[Finding]]:
        """Return the tag that our script would take, and what is wrong with it."""
        loads = {id(one): at for one in self.page.scripts if (at := self._loads(one))}
        with_settings = [
            one
            for one in self.page.scripts
            if any(f"data-{name}" in one.attributes for name in _SETTINGS)
            and ("data-worker" in one.attributes or id(one) in loads)
        ]
        if not with_settings and not loads:
            says = (
                "This page does not have our script, so no reader is asked: put both pieces of"
                f" {_GUIDE} into it. If a tag manager adds it, the doctor cannot see that: enter"
                " StopPress.state() in the browser's console on the page."
            )
            return None, [fail(_TAG, says)]
        if not with_settings:
            says = (
                "The script tag has no data-worker, so our script does nothing: write it as in"
                f" {_GUIDE}, and let no optimiser or tag manager take its attributes off."
            )
            return None, [fail(_TAG, says)]
        tag = next(
            (one for one in with_settings if "data-worker" in one.attributes), with_settings[0]
        )
        worker = cut(tag.attributes.get("data-worker", _WORKER), SHOWN)
        found = [*self._faults_of(tag, {*loads.values()})]
        return tag, found or [ok(_TAG, f"It loads our script; the worker is {worker}.")]

    def _faults_of(self, tag: Script, loads: Set[str]) -> Iterator[Finding]:
        """Name what is wrong with a tag, on a page that `loads` our script from these addresses."""
        expected = f"{self.ours}/optin.js"
        for address in sorted(loads - {expected}):
            shown = cut(address, SHOWN)
            says = f"It loads {shown}, but Stop Press is at {self.ours}: write {expected} there."
            yield fail(_TAG, says)
        if not _is_run(tag):
            yield warn(
                _TAG,
                f'The tag has type="{cut(tag.attributes["type"], SHOWN)}", which browsers do not'
                " run: that is right only if a consent tool or an optimiser starts it.",
            )
        elif tag.attributes.get("src") and tag.attributes.get("type", "").lower() != "module":
            says = 'A <script src="…/optin.js"> needs type="module"; without it nothing runs.'
            yield fail(_TAG, says)
        if tag.attributes.get("integrity"):
            says = "The tag has integrity, so nothing runs after our next update: take that off."
            yield warn(_TAG, says)
        if not loads:
            yield warn(
                _TAG,
                f"It has the settings, but no script of this page names {expected}: that is right"
                " only if a file of yours imports it.",
            )

    def _loads(self, script: Script) -> str:
        """Return the address of `optin.js` that a script loads; empty if it loads none."""
        source = script.attributes.get("src", "")
        if source:
            address = self.page.absolute(source)
            return address if urlsplit(address).path.endswith("/optin.js") else ""
        found = _OPT_IN.search(script.text)
        return found[1] if found else ""

    # -- the worker -----------------------------------------------------------------------------

    def _worker(self, tag: Script) -> Iterator[Finding]:
        what = "Site's worker"
        address = self.page.absolute(tag.attributes.get("data-worker") or _WORKER)
        if not address or str(Origin.of(address)) != self.origin:
            says = f"data-worker must name a file of {self.origin} itself: browsers take no other."
            yield fail(what, says)
            return
        try:
            file = self.fetching.get(address, by=self.origin, **{"Service-Worker": "script"})
        except CannotFetch as error:
            says = f"{address} cannot be read ({error}), so nobody can subscribe."
            yield fail(what, says)
            return
        found = [*self._hindrances_of(file, tag)]
        yield from found or [ok(what, f"{address} is a script and imports ours.")]

    def _hindrances_of(self, file: Fetched, tag: Script) -> Iterator[Finding]:
        what, address = "Site's worker", file.address
        if fault := self._fault_of(file, tag):
            yield fail(what, fault)
            return
        if is_blocked(address):
            yield warn(
                what,
                f"{address} is blocked in browsers with an ad blocker, because of its name: call it"
                f" {_WORKER}, and change data-worker.",
            )
        before = file.text.partition(f"{self.ours}/sw.js")[0]
        if before != file.text and _OWN_LISTENER.search(before):
            yield warn(
                what,
                f"{address} listens to pushes itself before it imports ours, so an alert may be"
                " shown twice: put our piece first.",
            )
        yield from self._policies_of_worker(file)

    def _fault_of(self, file: Fetched, tag: Script) -> str:
        """Say why browsers do not take this file as our worker; empty if they do."""
        address, kind = file.address, file.kind
        if file.redirects_to:
            return (
                f"{address} redirects to {file.redirects_to}, which browsers refuse of a worker:"
                " serve the file at that very address, or change data-worker."
            )
        if file.status != 200:
            return (
                f"{address} answers {file.status}, so nobody can subscribe: put the second piece of"
                f" {_GUIDE} there."
            )
        if not _JAVASCRIPT.fullmatch(kind):
            return (
                f"{address} is served as {kind or 'no media type'}, which browsers refuse of a"
                " worker: serve it as text/javascript. Perhaps the file is missing, and the server"
                " sends a page in its place."
            )
        folder = urlsplit(file.headers.get("service-worker-allowed", "") or "./").path
        widest = urlsplit(web_address(folder, address) or address).path
        scope = self.page.absolute(tag.attributes.get("data-scope", "")) if _scoped(tag) else ""
        if scope and str(Origin.of(scope)) != self.origin:
            return f"data-scope must be a path of {self.origin} itself: browsers take no other."
        if scope and not urlsplit(scope).path.startswith(widest):
            return (
                f"data-scope is {urlsplit(scope).path}, but {address} may only serve {widest}: put"
                " the file into that folder, or send it with the header Service-Worker-Allowed:"
                f" {urlsplit(scope).path}"
            )
        if not self._is_ours(file):
            return (
                f"{address} does not import {self.ours}/sw.js, so no alert is shown: put the second"
                f" piece of {_GUIDE} at its beginning."
            )
        return ""

    def _is_ours(self, file: Fetched) -> bool:
        """Whether a worker has our script, also by a file of the site that it imports."""
        if f"{self.ours}/sw.js" in file.text or _IN_OUR_WORKER in file.text:
            return True
        for name in _IMPORTED.findall(file.text)[:_MOST_IMPORTED]:
            address = web_address(name, file.address)
            if not address or str(Origin.of(address)) != self.origin:
                continue
            try:
                imported = self.fetching.get(address, by=self.origin).text
            except CannotFetch:
                continue
            if f"{self.ours}/sw.js" in imported or _IN_OUR_WORKER in imported:
                return True
        return False

    # -- policies -------------------------------------------------------------------------------

    def _policies(self, tag: Script) -> Iterator[Finding]:
        """Check that each Content-Security-Policy of the page lets us work."""
        what = "Site's policy"
        header = self.response.headers.get("content-security-policy", "")
        found = [*policies(header, self.page.policies, self.origin)]
        faults = {fault: None for one in found for fault in self._hindrances(one, tag)}
        for level, says in faults:
            yield Finding("warn" if level == "warn" else "fail", what, says)
        if found and not faults:
            yield ok(what, "The Content-Security-Policy of the page lets us work.")

    def _hindrances(self, policy: Policy, tag: Script) -> Iterator[tuple[str, str]]:
        head = "The page's Content-Security-Policy"
        worker = self.page.absolute(tag.attributes.get("data-worker") or _WORKER)
        if not policy.allows_apps():
            yield (
                "fail",
                f"{head} has a sandbox in which no worker can be registered: drop it, or add"
                " allow-scripts and allow-same-origin.",
            )
        if tag.text.strip() and not policy.allows_inline(tag):
            yield (
                "fail",
                f"{head} forbids the script within the tag: give the tag your nonce, or put its"
                " text into a file of yours.",
            )
        elif not policy.allows_loading(tag, f"{self.ours}/optin.js"):
            yield "fail", f"{head} forbids our script: add {self.ours} to script-src."
        if not policy.allows("connect-src", f"{self.ours}/api/v1/site"):
            yield "fail", f"{head} forbids calls to Stop Press: add {self.ours} to connect-src."
        if not policy.allows_worker(worker):
            yield "fail", f"{head} forbids your worker: add worker-src 'self'."
        if not policy.allows_policy("stop-press"):
            yield (
                "fail",
                f"{head} lets no script register your worker (require-trusted-types-for): add"
                " stop-press to trusted-types.",
            )
        icon = tag.attributes.get("data-logo", "")
        icon = self.page.absolute(icon) if icon else self.page.linked("apple-touch-icon", "icon")
        if icon and not policy.allows("img-src", icon):
            yield (
                "warn",
                f"{head} forbids the icon beside the question: add {Origin.of(icon)} to img-src.",
            )
        manifest = self.page.linked("manifest")
        if manifest and not policy.allows("manifest-src", manifest):
            yield (
                "warn",
                f"{head} forbids the web manifest, without which iPhones have no alerts: add"
                f" {Origin.of(manifest)} to manifest-src.",
            )

    def _policies_of_worker(self, file: Fetched) -> Iterator[Finding]:
        what, head = "Site's worker", f"The Content-Security-Policy of {file.address}"
        header = file.headers.get("content-security-policy", "")
        for policy in policies(header, (), self.origin):
            if not policy.is_strict() and not policy.allows("script-src", f"{self.ours}/sw.js"):
                says = f"{head} forbids our worker's script: add {self.ours} to script-src there."
                yield fail(what, says)
            if not policy.allows("connect-src", f"{self.ours}/api/v1/receipts"):
                says = f"{head} forbids reports of what was shown: add {self.ours} to connect-src."
                yield warn(what, says)
            if "require-trusted-types-for" in policy.directives:
                says = (
                    f"{head} has require-trusted-types-for, which forbids importScripts: drop it."
                )
                yield fail(what, says)


def _is_run(tag: Script) -> bool:
    kind = tag.attributes.get("type", "").strip().lower()
    return kind in ("", "module") or bool(_JAVASCRIPT.fullmatch(kind))


def _scoped(tag: Script) -> bool:
    return bool(tag.attributes.get("data-scope", "").strip())
