"""The guides of docs/ops/deploying.md."""

from __future__ import annotations

import re

from tests.support import ROOT

_GUIDES = (ROOT / "docs" / "ops" / "deploying.md").read_text()


def section(title: str) -> str:
    """Return a guide."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", _GUIDES, flags=re.M | re.S)
    assert found, title
    return found[1]


def commands(title: str) -> list[str]:
    """Return the blocks of commands of a guide."""
    return re.findall(r"^```sh\n(.*?)^```", section(title), flags=re.M | re.S)
