"""The harness: real processes, push services, browsers and readers for the tests."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the project
