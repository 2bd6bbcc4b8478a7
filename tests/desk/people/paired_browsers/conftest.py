"""A desk whose newspaper phones can open, and one phone."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.support.desk.phones import Phone


@pytest.fixture
def settings() -> dict[str, str]:
    return {
        "SITE_NAME": "The Daily Example",
        "SITE_ORIGINS": "https://paper.example",
        "PUSH_SERVICES": "https://push.example",
    }


@pytest.fixture
def phone(app: Flask, readers: int) -> Phone:
    """One of 101 readers."""
    return Phone(app)
