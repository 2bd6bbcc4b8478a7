"""Names that ad blockers know: the guide's are found, and ours are not among them."""

from __future__ import annotations

import re

import pytest

from service.model.language.languages import LANGUAGES
from service.model.network.block_lists import is_blocked
from service.reader.scripts import PARTS, SECTIONS
from tests.support import ROOT

GUIDE = (ROOT / "docs" / "site.md").read_text()


@pytest.mark.parametrize(
    "address",
    [
        "https://push-notifications.paper.example",
        "https://push-notification.paper.example",
        "https://web-push.paper.example",
        "https://webpush.paper.example",
        "https://my-push-notifications.paper.example/",
        "https://paper.example/push-sw.js",
        "https://paper.example/webpush/sw.js",
        "https://paper.example/my_push_sw.js",
        "https://paper.example/OneSignalSDKWorker.js",
    ],
)
def test_names_that_block_lists_know_are_found(address: str) -> None:
    assert is_blocked(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://push.paper.example",
        "https://alerts.paper.example",
        "https://paper.example/sw.js",
        "https://paper.example/alerts/sw.js",
        "https://webpusher.example",
        "https://paper.example/news/push-notifications-explained",
    ],
)
def test_other_names_are_not(address: str) -> None:
    assert not is_blocked(address)


def test_no_name_of_our_own_is_blocked() -> None:
    scripts = [f"{name}.js" for name in ("optin", "sw", *PARTS)]
    texts = [f"texts/{name}.json" for name in LANGUAGES]
    texts += [f"texts/{name}/{section}.json" for name in LANGUAGES for section in SECTIONS]
    for path in (*scripts, *texts, "api/v1/site", "privacy"):
        assert not is_blocked(f"https://push.example/{path}"), path


def test_the_guide_names_what_is_blocked() -> None:
    listed = GUIDE.partition("Do not use:")[2].partition(", neither")[0]
    names = re.findall(r"`([^`]+)`", listed)
    assert len(names) >= 8
    for name in names:
        assert is_blocked(f"https://{name}.paper.example"), name
        assert is_blocked(f"https://paper.example/{name}.js"), name
