"""The `stoppress` command."""

from service.cli.run import main

__all__ = ["main"]
