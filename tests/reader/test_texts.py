"""All that readers are shown in a language is one file, and every language says the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.model.language.languages import LANGUAGES, texts
from service.reader.scripts import WEB, version
from tests.reader.conftest import Get

ROOT = WEB.parent
NAME = re.compile(r"\{.*?\}")

# What a reader of the new language is shown, by an installation whose code is in the working
# directory.
SHOWN = """
import json, re, sys
from tests.support.client import Client, Reader, make_app
app = make_app(sys.argv[1], WELCOME="yes")
client, browser = Client(app), app.test_client()
reader = Reader(client, locale="nl-BE")
reader.call("POST", "/test")
sent = map(client.runtime.publishing.get, client.runtime.store.notifications.active())
shown = {one.text.title: [one.text.body, one.text.lang] for one in sent}
for url in ("/texts/nl.json", "/texts/nl/home.json", "/texts/nl/faults.json", "/look.js",
            "/story.js", "/links.js", "/sw.js", "/optin.js"):
    shown[url] = browser.get(url).text
shown["/privacy"] = browser.get("/privacy", headers={"Accept-Language": "nl"}).text
print(json.dumps(shown))
"""


def shape(value: Any) -> Any:
    """The same for texts that say the same: names, numbers of parts, blanks."""
    if isinstance(value, str):
        assert value.strip() == value != ""
        return sorted(NAME.findall(value))
    if isinstance(value, list):
        return [shape(part) for part in value]
    return {name: shape(part) for name, part in value.items()}


def translated(value: Any) -> Any:
    """English texts as those of another language."""
    if isinstance(value, str):
        return f"nl: {value}"
    if isinstance(value, list):
        return [translated(part) for part in value]
    return {name: translated(part) for name, part in value.items()}


def test_we_speak_six_languages() -> None:
    assert {*LANGUAGES} == {"ar", "de", "en", "es", "fr", "ru"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_text_with_the_same_blanks(language: str) -> None:
    assert shape(texts(language)) == shape(texts("en"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_texts_of_the_panel_say_their_language_and_direction(get: Get, language: str) -> None:
    served = get(f"/texts/{language}.json").json
    assert served == {
        "lang": language,
        "dir": "rtl" if language == "ar" else "ltr",
        **texts(language)["panel"],
    }


def test_one_file_adds_a_language_and_gives_all_parts_another_address(
    redis_url: str, tmp_path: Path
) -> None:
    for folder in ("service", "workers", "web"):
        shutil.copytree(ROOT / folder, tmp_path / folder)  # compiled files too
    folder = tmp_path / "web" / "reader" / "languages"
    english = json.loads((folder / "en.json").read_text())
    (folder / "nl.json").write_text(json.dumps(translated(english)))

    found = subprocess.run(
        [sys.executable, "-c", SHOWN, redis_url],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # for the tests; our code is found first
        check=True,
        capture_output=True,
        text=True,
    )

    shown = json.loads(found.stdout)
    panel = json.loads(shown["/texts/nl.json"])
    assert (panel["lang"], panel["dir"]) == ("nl", "ltr")
    assert panel["question"] == f"nl: {english['panel']['question']}"
    assert '"nl"' in shown["/look.js"]
    for section in ("home", "faults"):
        assert json.loads(shown[f"/texts/nl/{section}.json"]) == translated(english[section])
    for part, text in (("story", "follows"), ("links", "tonight")):
        assert f'"nl: {english[part][text]}"' in shown[f"/{part}.js"]
    assert '"nl: Fewer alerts"' in shown["/sw.js"]
    assert "/parts/" in shown["/optin.js"] and version() not in shown["/optin.js"]
    body = english["alerts"]["shown"].format(site="The Daily Example")
    for title in ("welcome", "test"):
        assert shown[f"nl: {english['alerts'][title]}"] == [f"nl: {body}", "nl"]
    assert '<html lang="nl" dir="ltr">' in shown["/privacy"]
    assert f"nl: {english['privacy']['title']}" in shown["/privacy"]
    assert "30 dagen" in shown["/privacy"]


def test_the_panels_texts_and_those_of_the_help_share_no_name() -> None:
    # The panel's, which a publisher may have replaced, hold where both have one.
    assert not texts("en")["panel"].keys() & texts("en")["help"].keys()
