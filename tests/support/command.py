"""The command `stoppress` in the test's own process, because to start Python takes a second."""

from __future__ import annotations

import os
from collections.abc import Mapping
from unittest.mock import patch

from click.testing import CliRunner, Result

from service.cli import main
from tests.support.redis_users import as_users


def stoppress(environment: Mapping[str, str], *command: str) -> Result:
    """Run a command with these settings alone."""
    settings = as_users(environment, "commands")
    with patch.dict(os.environ, {"PATH": "/usr/bin:/bin", **settings}, clear=True):
        return CliRunner().invoke(main, command)
