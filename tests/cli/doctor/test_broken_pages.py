"""The doctor against broken pages: each is found, and its sentences say what to do."""

from __future__ import annotations

import pytest

from tests.support.doctor.broken_newsrooms import Table
from tests.support.doctor.whole_newsroom import Newsroom
from tests.support.network.newspaper import redirect, response

pytestmark = pytest.mark.processes

page_row = Table(with_page=True)


@page_row("fail  Site  {paper}/ answers 404: name a page that readers can open.")
def a_page_that_is_not_there(given: Newsroom) -> None:
    given.paper.pages["/"] = response(b"Gone", status=404)


@page_row("fail  Site  {paper}/ answers 302: name a page that readers can open.")
def a_redirect_to_nowhere(given: Newsroom) -> None:
    given.paper.pages["/"] = redirect("mailto:editors@newsroom.org")


@page_row(
    "fail  Site  {paper}/ cannot be read from here (it gives no response that can be read): check"
    " the address."
)
def a_server_that_hangs_up(given: Newsroom) -> None:
    given.paper.pages["/"] = b""


@page_row(
    "fail  Site's calls  {paper} is not in SITE_ORIGINS, so its readers cannot subscribe: add it"
    " there, or at the desk at “Settings”."
)
def an_origin_that_was_forgotten(given: Newsroom) -> None:
    given.set_all(SITE_ORIGINS="https://www.newsroom.org")


@page_row(
    "fail  Site's calls  Browsers let no page of {paper} call {ours}, so nobody can subscribe:"
    " GET /api/v1/site gives 200, and Access-Control-Allow-Origin is missing. Let the proxy in"
    " front pass calls and headers on unchanged; if there is none, restart the web processes.",
    "fail  Our scripts  Browsers do not run {ours}/optin.js: it comes with status 200 as"
    " text/javascript and without Access-Control-Allow-Origin: *. Let the proxy in front pass it"
    " on as stoppress web serves it.",
)
def a_proxy_that_takes_headers_off(given: Newsroom) -> None:
    given.taken_off.add("Access-Control-Allow-Origin")


@page_row(
    "fail  Site's tag  This page does not have our script, so no reader is asked: put both pieces"
    " of docs/site.md into it. If a tag manager adds it, the doctor cannot see that: enter"
    " StopPress.state() in the browser's console on the page."
)
def a_page_without_the_tag(given: Newsroom) -> None:
    given.page(tag="<script>var news = 1</script>")


@page_row(
    "fail  Site's tag  The script tag has no data-worker, so our script does nothing: write it as"
    " in docs/site.md, and let no optimiser or tag manager take its attributes off."
)
def a_tag_that_an_optimiser_has_stripped(given: Newsroom) -> None:
    given.page(tag=f'<script type="module" src="{given.ours}/optin.js"></script>')


@page_row(
    "warn  Site's tag  The tag has integrity, so nothing runs after our next update: take that off."
)
def a_tag_that_is_bound_to_one_release(given: Newsroom) -> None:
    script = f'type="module" src="{given.ours}/optin.js" integrity="sha256-AAAA"'
    given.page(tag=f'<script data-worker="/sw.js" {script}></script>')


@page_row(
    'warn  Site\'s tag  The tag has type="text/plain", which browsers do not run: that is right'
    " only if a consent tool or an optimiser starts it."
)
def a_tag_that_waits_for_consent(given: Newsroom) -> None:
    given.page(tag=f'<script type="text/plain" data-worker="/sw.js">{given.code}</script>')


@page_row(
    "fail  Site's tag  This page does not have our script, so no reader is asked: put both pieces"
    " of docs/site.md into it. If a tag manager adds it, the doctor cannot see that: enter"
    " StopPress.state() in the browser's console on the page."
)
def a_tag_for_browsers_without_scripts(given: Newsroom) -> None:
    tag = f'<script data-worker="/sw.js">{given.code}</script>'
    given.page(tag=f"<noscript>{tag}</noscript><template>{tag}</template>")


@page_row(
    "fail  Site's tag  It loads https://old.newsroom.org/optin.js, but Stop Press is at {ours}:"
    " write {ours}/optin.js there.",
    'fail  Site\'s tag  A <script src="…/optin.js"> needs type="module"; without it nothing runs.',
)
def a_tag_with_the_address_of_before(given: Newsroom) -> None:
    given.page(tag='<script data-worker="/sw.js" src="https://old.newsroom.org/optin.js"></script>')


@page_row(
    "fail  Site's worker  {paper}/sw.js is served as text/html, which browsers refuse of a"
    " worker: serve it as text/javascript. Perhaps the file is missing, and the server sends a"
    " page in its place."
)
def a_worker_that_is_a_page(given: Newsroom) -> None:
    given.worker("<!doctype html><p>Not found", kind="text/html")


@page_row(
    "fail  Site's worker  {paper}/sw.js answers 404, so nobody can subscribe: put the second"
    " piece of docs/site.md there."
)
def no_worker_file(given: Newsroom) -> None:
    del given.paper.pages["/sw.js"]


@page_row(
    "fail  Site's worker  {paper}/sw.js redirects to {paper}/static/sw.js, which browsers refuse"
    " of a worker: serve the file at that very address, or change data-worker."
)
def a_worker_that_redirects(given: Newsroom) -> None:
    given.paper.pages["/sw.js"] = redirect("/static/sw.js")


@page_row(
    "fail  Site's worker  {paper}/sw.js does not import {ours}/sw.js, so no alert is shown: put"
    " the second piece of docs/site.md at its beginning."
)
def a_worker_without_ours(given: Newsroom) -> None:
    given.worker('self.addEventListener("fetch", () => {});')


@page_row(
    "fail  Site's worker  data-scope is /, but {paper}/js/sw.js may only serve /js/: put the file"
    " into that folder, or send it with the header Service-Worker-Allowed: /"
)
def a_worker_that_may_not_serve_its_scope(given: Newsroom) -> None:
    given.page(tag=f"<script data-worker=/js/sw.js data-scope=/>{given.code}</script>")
    given.paper.pages["/js/sw.js"] = given.paper.pages["/sw.js"]


@page_row(
    "fail  Site's worker  data-scope must be a path of {paper} itself: browsers take no other."
)
def a_scope_of_another_site(given: Newsroom) -> None:
    given.page(
        tag=f'<script data-worker="/sw.js" data-scope="https://m.paper.org/">{given.code}</script>'
    )


@page_row(
    "warn  Site's worker  {paper}/sw.js listens to pushes itself before it imports ours, so an"
    " alert may be shown twice: put our piece first.",
    "fail  Site's worker  The Content-Security-Policy of {paper}/sw.js forbids our worker's"
    " script: add {ours} to script-src there.",
)
def a_worker_that_shows_pushes_itself_and_whose_policy_forbids_ours(given: Newsroom) -> None:
    own = 'addEventListener("push", show);'
    given.worker(
        f'{own} importScripts("{given.ours}/sw.js")',
        content_security_policy=f"default-src 'self'; connect-src {given.ours}",
    )


@page_row(
    "fail  Site's policy  The page's Content-Security-Policy forbids our script: add {ours} to"
    " script-src.",
    "fail  Site's policy  The page's Content-Security-Policy forbids calls to Stop Press: add"
    " {ours} to connect-src.",
    "fail  Site's policy  The page's Content-Security-Policy forbids your worker: add worker-src"
    " 'self'.",
    "fail  Site's policy  The page's Content-Security-Policy lets no script register your worker"
    " (require-trusted-types-for): add stop-press to trusted-types.",
    "warn  Site's policy  The page's Content-Security-Policy forbids the icon beside the"
    " question: add {paper} to img-src.",
    "warn  Site's policy  The page's Content-Security-Policy forbids the web manifest, without"
    " which iPhones have no alerts: add {paper} to manifest-src.",
)
def a_policy_that_allows_nothing_of_ours(given: Newsroom) -> None:
    given.page(
        tag=f'<script type=module data-worker="/sw.js" src="{given.ours}/optin.js"></script>',
        head='<link rel="manifest" href="/site.webmanifest"><link rel=icon href="/icon.png">',
        content_security_policy="default-src 'none'; script-src 'nonce-1'; style-src 'self';"
        " require-trusted-types-for 'script'; trusted-types react",
    )


@page_row(
    "fail  Site's policy  The page's Content-Security-Policy forbids the script within the tag:"
    " give the tag your nonce, or put its text into a file of yours."
)
def a_policy_that_allows_no_script_within_the_page(given: Newsroom) -> None:
    given.page(content_security_policy=f"script-src 'self' {given.ours}")


@page_row(
    "fail  Site's policy  The page's Content-Security-Policy has a sandbox in which no worker can"
    " be registered: drop it, or add allow-scripts and allow-same-origin.",
    "fail  Site's policy  The page's Content-Security-Policy forbids calls to Stop Press: add"
    " {ours} to connect-src.",
)
def a_policy_with_a_sandbox_and_a_port_that_is_none(given: Newsroom) -> None:
    port = "9" * 5000  # int() refuses so many digits
    given.page(
        head='<meta http-equiv="Content-Security-Policy" content="sandbox">',
        content_security_policy=f"sandbox allow-scripts; connect-src https://newsroom.org:{port}",
    )


@page_row(
    "warn  Home Screen  The page links no web manifest, so iPhones and iPads get no alerts: add"
    ' <link rel="manifest" href="/site.webmanifest"> and the file of docs/site.md.'
)
def no_manifest(given: Newsroom) -> None:
    given.page(head="<!-- no manifest -->")


@page_row(
    'warn  Home Screen  {paper}/site.webmanifest: "display" is "browser", so iPhones and iPads'
    ' get no alerts: set "display": "standalone".',
    'warn  Home Screen  {paper}/site.webmanifest: "start_url" is not within "scope"'
    ' ({paper}/news/), so it is no app: set "scope": "/".',
    "warn  Home Screen  {paper}/site.webmanifest: the icon {paper}/icon.png gives 404 and"
    " text/html: mend it.",
)
def a_manifest_of_which_an_iphone_makes_a_bookmark(given: Newsroom) -> None:
    given.manifest(display="browser", scope="/news/")
    del given.paper.pages["/icon.png"]


@page_row(
    f'warn  Home Screen  {{paper}}/site.webmanifest: "display" is "{79 * "x"}…", so iPhones and'
    ' iPads get no alerts: set "display": "standalone".'
)
def a_manifest_with_a_long_word(given: Newsroom) -> None:
    given.manifest(display="x" * 100_000)


@pytest.mark.parametrize("name", page_row.breaks)
def test_a_broken_page_is_found_and_said_clearly(newsroom: Newsroom, name: str) -> None:
    page_row.check(newsroom, name)
