"""`stoppress doctor --site`: what it takes for right, and where it does not connect."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256

import pytest

from service.cli.doctor.content_policy import Policy, policies
from service.cli.doctor.page import Script
from tests.support.doctor.run import doctor, findings
from tests.support.doctor.whole_newsroom import Newsroom
from tests.support.network.newspaper import Newspaper, redirect, response

OURS, PAPER = "https://push.paper.example", "https://paper.example"
INLINE = "import('https://push.paper.example/optin.js')"
HASH = b64encode(sha256(INLINE.encode()).digest()).decode()


def policy(text: str) -> Policy:
    (found,) = policies(text, (), PAPER)
    return found


@pytest.mark.parametrize(
    ("sources", "attributes", "may_run", "may_load"),
    [
        ("'self'", {}, False, False),
        (f"'self' {OURS}", {}, False, True),
        (f"'unsafe-inline' {OURS}", {}, True, True),
        ("'unsafe-inline' https:", {}, True, True),
        (f"'unsafe-inline' 'nonce-1' {OURS}", {}, False, True),
        ("'nonce-1'", {"nonce": "1"}, True, True),
        ("'nonce-1'", {"nonce": "2"}, False, False),
        ("'nonce-1' 'STRICT-DYNAMIC'", {"nonce": "1"}, True, True),
        (f"'strict-dynamic' 'sha256-{HASH}'", {}, True, True),
        (f"'sha256-{HASH}'", {}, True, False),
        (f"'sha256-{HASH}' https://*.paper.example", {}, True, True),
        ("*.paper.example", {}, False, True),
        ("http://push.paper.example", {}, False, True),
        ("https://push.paper.example:8443", {}, False, False),
        ("https://push.paper.example:*/optin.js", {}, False, True),
        ("https://push.paper.example/static/", {}, False, False),
        ("'none'", {}, False, False),
    ],
)
def test_a_policy_is_read_as_browsers_read_it(
    sources: str, attributes: dict[str, str], may_run: bool, may_load: bool
) -> None:
    script = Script(attributes, INLINE)
    found = policy(f"default-src 'none'; script-src {sources}")
    assert found.allows_inline(script) == may_run
    assert found.allows_loading(script, f"{OURS}/optin.js") == may_load


def test_a_directive_that_is_not_named_is_that_of_its_fallback() -> None:
    assert policy("img-src *").allows("connect-src", OURS)
    assert not policy("default-src 'self'").allows("connect-src", OURS)
    assert policy("script-src 'self'").allows_worker(f"{PAPER}/sw.js")
    assert not policy("script-src 'nonce-1' 'strict-dynamic'").allows_worker(f"{PAPER}/sw.js")
    strict = policy("script-src 'nonce-1' 'strict-dynamic'; worker-src 'self'")
    assert strict.allows_worker(f"{PAPER}/sw.js")
    assert len([*policies("default-src 'self', img-src *", ["script-src 'none'"], PAPER)]) == 3


@pytest.mark.processes
def test_the_ways_of_the_guide_to_write_tag_and_worker_are_right(newsroom: Newsroom) -> None:
    paper = newsroom.paper
    paper.pages["/alerts.js"] = response(
        b"const kept = 'stop-press-receipts';", kind="application/javascript"
    )
    newsroom.worker('import "/alerts.js";')
    paper.pages["/old"] = redirect("/")
    for tag in (
        f'<script type="module" src="{newsroom.ours}/optin.js" data-worker="/sw.js"></script>',
        f'<script data-worker=/sw.js nonce="1">{newsroom.code}</script>',
    ):
        allowed = f"script-src {newsroom.ours} 'nonce-1' 'self'"
        newsroom.page(tag=tag, content_security_policy=allowed)
        told = findings(newsroom.environment, site=f"{paper.origin}/old")
        assert {one.level for some in told.values() for one in some} == {"ok"}, told
        assert told["Site"][0].says == f"{paper.origin}/ can be read."


@pytest.mark.processes
def test_a_page_leads_to_no_private_address_that_no_setting_names(newsroom: Newsroom) -> None:
    with Newspaper() as inside:
        inside.pages["/icon.png"] = response(b"PNG", kind="image/png")
        newsroom.manifest(icons=[{"src": f"{inside.origin}/icon.png"}])
        (told,) = findings(newsroom.environment, site=newsroom.paper.origin)["Home Screen"]
        assert (told.level, "icon.png cannot be read (its address is not public)" in told.says) == (
            "warn",
            True,
        )
        newsroom.paper.pages["/"] = redirect(f"{inside.origin}/")
        (told,) = findings(newsroom.environment, site=newsroom.paper.origin)["Site"]
        assert f"(it leads to {inside.origin}/, and its address is not public)" in told.says
        assert inside.requests == []
        newsroom.set(FETCH_ORIGINS=inside.origin)
        inside.pages["/"] = response(b"<p>News", status=500)
        (told,) = findings(newsroom.environment, site=newsroom.paper.origin)["Site"]
        assert told.says.startswith(f"{inside.origin}/ answers 500")


@pytest.mark.processes
def test_json_has_every_finding_and_exit_codes_are_those_of_the_guide(newsroom: Newsroom) -> None:
    newsroom.set(SSL_CERT_FILE=newsroom.environment["PUSH_CA_BUNDLE"])
    page = f"{newsroom.paper.origin}/"
    done = doctor(newsroom.environment, "--site", page, "--json")
    rows = json.loads(done.stdout)
    assert (done.exit_code, {row["level"] for row in rows}) == (0, {"ok"}), done.stdout
    assert {"Redis", "Workers", "Site's worker", "Home Screen"} <= {row["what"] for row in rows}
    assert all(row["says"] and row.keys() == {"level", "what", "says"} for row in rows)
    shown = doctor(newsroom.environment, "--site", page)
    assert (shown.exit_code, shown.stdout.splitlines()[-1]) == (0, "Everything is fine.")
    assert doctor(newsroom.environment, "--site", "not a page").exit_code == 1
    assert doctor(newsroom.environment, "--sites").exit_code == 2
