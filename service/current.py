"""The parts of this process, for the code that answers a request."""

from __future__ import annotations

from typing import cast

from flask import current_app

from service.runtime import Runtime


def runtime() -> Runtime:
    """Return the parts of this process."""
    return cast(Runtime, current_app.extensions["stoppress"])
