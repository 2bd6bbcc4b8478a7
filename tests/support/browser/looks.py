"""How a panel may look: sizes of screens, schemes of colours and languages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

LOOKS = {
    "wide": {"width": 1280, "height": 900},
    "wide and dark": {"width": 1280, "height": 900, "dark": True},
    "a tablet, dark, in German": {"width": 768, "height": 1024, "dark": True, "lang": "de"},
    "a tablet, from right to left": {"width": 768, "height": 1024, "lang": "ar"},
    "a phone": {"width": 390, "height": 844, "lang": "es"},
    "a phone, dark, in Russian": {"width": 390, "height": 844, "dark": True, "lang": "ru"},
    "a phone, from right to left": {"width": 390, "height": 844, "lang": "ar"},
    "zoomed to 400 %, in Spanish": {"width": 320, "height": 256, "lang": "es"},
    "zoomed to 200 %, in French": {"width": 640, "height": 450, "lang": "fr"},
    "forced colours": {"width": 1280, "height": 900, "forced_colors": "active"},
}
EXTREMES = {"a phone, from right to left"}


def looks(names: Iterable[str]) -> list[Any]:
    """Parameters with these looks, of which `make test` takes the extreme ones."""
    return [
        pytest.param(LOOKS[name], id=name, marks=() if name in EXTREMES else pytest.mark.soak)
        for name in names
    ]
