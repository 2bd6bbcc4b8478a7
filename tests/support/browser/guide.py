"""The pieces of code in docs/site.md, for tests of what it tells publishers."""

from __future__ import annotations

import re

from tests.support import ROOT

GUIDE = (ROOT / "docs" / "site.md").read_text()


def piece(begins: str, address: str) -> str:
    """The guide's piece of code that begins so, for the Stop Press at this address."""
    found = re.search(rf"```\w+\n({re.escape(begins)}.*?)```", GUIDE, re.S)
    assert found is not None, begins
    return found[1].replace("https://push.example", address)
