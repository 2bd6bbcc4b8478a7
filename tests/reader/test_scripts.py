"""The scripts and texts that readers' browsers load, and how the server puts them together."""

from __future__ import annotations

import graphlib
import re
from collections.abc import Callable
from pathlib import Path

from flask.testing import FlaskClient

from service.model.language.languages import LANGUAGES
from service.reader.scripts import BUNDLES, WEB, version
from tests.reader.conftest import Get

FOLDER = WEB / "reader"
PARTS = [
    f"/{name}.js"
    for name in (
        *(
            "asking",
            "converted",
            "counting",
            "help",
            "home",
            "links",
            "look",
            "pair",
            "panel",
            "preferences",
            "reader",
            "retire",
            "story",
        ),
    )
]
SCRIPTS = ["/sw.js", "/optin.js", *PARTS]
TEXTS = [
    f"/texts/{language}{section}.json"
    for language in LANGUAGES
    for section in ("", "/faults", "/help", "/home")
]
IMPORTED = re.compile(r'(?:from |import\(|load\()"\./(\w+)\.js"')


# A page may have an `<iframe name=hidden>`, which `document.hidden` then is. Methods are safe in
# practice: nothing works on a page that has an element called `querySelector`.
HIDEABLE = re.compile(r"\bdocument\.\w+\b(?!\()")


def test_no_element_of_a_page_hides_a_property_of_document_from_us() -> None:
    comments = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
    for file in FOLDER.glob("*.js"):
        assert HIDEABLE.findall(comments.sub("", file.read_text())) == [], file


def test_pages_and_workers_of_other_origins_may_load_a_script(get: Get) -> None:
    for url in (*SCRIPTS, *TEXTS):
        response = get(url)
        assert response.status_code == 200, url
        kind = "application/json" if url.endswith(".json") else "text/javascript"
        assert response.mimetype == kind, url
        assert response.headers["Access-Control-Allow-Origin"] == "*", url
        assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin", url


def test_an_unchanged_file_is_not_sent_again(get: Get) -> None:
    for url in (*SCRIPTS, "/style.css", "/demo/static/demo.css"):
        first = get(url)
        again = get(url, **{"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b""), url
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"], url


def test_the_service_worker_is_always_fresh_and_may_control_the_whole_site(get: Get) -> None:
    headers = get("/sw.js").headers
    assert headers["Cache-Control"] == "no-cache"
    assert headers["Service-Worker-Allowed"] == "/"


def test_a_page_may_keep_scripts_for_five_minutes_and_use_stale_ones(get: Get) -> None:
    for url in (*SCRIPTS[1:], *TEXTS):
        cache = get(url).headers["Cache-Control"]
        assert cache.startswith("public, max-age=300, stale-while-revalidate="), url


def test_a_new_script_runs_no_older_part_that_a_browser_or_a_host_still_has(get: Get) -> None:
    first = get("/optin.js").text
    for url in (*PARTS, *TEXTS):
        plain, ours, others = (
            get(folder + url) for folder in ("", f"/parts/{version()}", "/parts/0")
        )
        assert plain.data == ours.data == others.data, url
        assert plain.headers["Cache-Control"] == ours.headers["Cache-Control"], url
        # Of two hosts that are deployed one after the other, this may be the older one.
        assert others.headers["Cache-Control"] == "no-cache", url
    assert f"/parts/{version()}/" in first


def test_other_texts_and_scripts_are_not_found(get: Get) -> None:
    texts = ("xx.json", "..%2Fpanel.js", "en.js", "en/privacy.json", "xx/home.json", "xx/help.json")
    for url in (*(f"/texts/{name}" for name in texts), "/dom.js", "/dialog.js"):
        assert get(url).status_code == 404, url


# -- modules and bundles --------------------------------------------------------------------------


def modules() -> dict[str, str]:
    return {path.stem: path.read_text() for path in FOLDER.glob("*.js")}


def test_no_module_leads_back_to_itself() -> None:
    graph = {name: {*IMPORTED.findall(text)} for name, text in modules().items()}
    assert graph["preferences"] == {"dialog", "dom", "help", "topics"}
    assert {name for names in graph.values() for name in names} <= {*graph}
    graphlib.TopologicalSorter(graph).prepare()  # or CycleError


def test_a_bundle_has_each_module_after_those_that_it_imports() -> None:
    sources = modules()
    for bundle in BUNDLES.values():
        for at, module in enumerate(bundle):
            assert {*IMPORTED.findall(sources[module])} & {*bundle[at:]} == set(), module


def test_the_modules_of_a_bundle_share_no_name() -> None:
    sources = modules()
    for name, bundle in BUNDLES.items():
        names = [
            found
            for module in bundle
            for found in re.findall(
                r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", sources[module], re.M
            )
        ]
        assert len(names) == len(set(names)) > 5, name


def test_a_script_is_whole_and_imports_only_what_another_exports(get: Get) -> None:
    served = {Path(url).stem: get(url).text for url in SCRIPTS}
    for name, text in served.items():
        assert "LANGUAGE" not in text, f"{name} has no texts"
        for names, source in re.findall(r'import\{([^}]+)\}from"\./(\w+)\.js"', text):
            exports = re.findall(
                r"export (?:async )?(?:const|function|class) (\w+)", served[source]
            )
            assert {*names.split(",")} <= {*exports}, f"{name} imports from {source}"
        assert {*IMPORTED.findall(text)} <= {*served}, name


def test_bundles_keep_the_number_of_requests_small(get: Get) -> None:
    static = re.compile(r'from"\./(\w+)\.js"')

    def requests(name: str) -> set[str]:
        found = static.findall(get(f"/{name}.js").text)
        return {name}.union(*map(requests, found))

    assert requests("optin") == {"optin"}
    assert requests("look") == {"look"}
    assert requests("panel") == {"panel", "look"}
    assert requests("home") == {"home", "look"}
    for name in ("help", "links", "pair", "preferences", "story"):
        assert requests(name) == {name, "panel", "look"}


def test_an_older_cached_script_finds_what_it_imports(get: Get) -> None:
    # For a day after an upgrade a page may run older scripts beside newer ones.
    before = {
        "look": {"element", "outline", "root", "follow", "texts", "furnish"},
        "panel": {"fill", "open", "embed", "promise", "written"},
        "story": {"pressed"},
        "links": {"follow"},
        "home": {"showHomeScreen"},
        "retire": {"retire"},
    }
    for name, names in before.items():
        text = get(f"/{name}.js").text
        assert names <= {*re.findall(r"export (?:async )?(?:function|class) (\w+)", text)}, name


def test_a_copy_of_the_script_knows_the_services_own_address(
    client_with: Callable[..., FlaskClient],
) -> None:
    text = client_with(SITE_URL="https://push.example").get("/optin.js").text
    assert '"https://push.example"' in text
    assert "SITE_URL" not in text


def test_the_service_worker_knows_the_names_of_the_newsrooms_parameters(
    client_with: Callable[..., FlaskClient],
) -> None:
    """So that a click finds the open tab of a story, whatever LINK_PARAMETERS adds to links."""
    set_ = client_with(LINK_PARAMETERS="utm_source=push&from=%22{id}").get("/sw.js", buffered=True)
    assert '["utm_source","from"]' in set_.text
    assert "LINK_PARAMETERS" not in set_.text
    assert "LINK_PARAMETERS" not in client_with().get("/sw.js", buffered=True).text
