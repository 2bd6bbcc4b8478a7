"""The command `stoppress` in the test's own process, because to start Python takes a second."""

from __future__ import annotations

import os
from collections.abc import Mapping
from unittest.mock import patch

from click.testing import CliRunner, Result

from service.cli import main


def stoppress(environment: Mapping[str, str], *command: str) -> Result:
    """Run a command with these settings alone."""
    with patch.dict(os.environ, {"PATH": "/usr/bin:/bin", **environment}, clear=True):
        return CliRunner().invoke(main, command)
