"""The command `stoppress` in the test's own process, because to start Python takes a second."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

from click.testing import CliRunner, Result

from service.cli import main
from service.local.secrets_file import find_secrets, keep_secrets
from tests.support.redis_servers.users import as_users


def stoppress(environment: Mapping[str, str], *command: str) -> Result:
    """Run a command with these settings alone."""
    settings = as_users(environment, "commands")
    usual = {"PATH": "/usr/bin:/bin", "SSL_CERT_FILE": os.devnull}
    with patch.dict(os.environ, {**usual, **settings}, clear=True):
        return CliRunner().invoke(main, command)


def make_secrets(data_dir: Path) -> dict[str, str]:
    """Make the file with the keys that `stoppress up` makes, and return them."""
    found = find_secrets(data_dir, {})
    keep_secrets(data_dir, found)
    return found
