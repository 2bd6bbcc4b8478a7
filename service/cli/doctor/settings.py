"""The doctor's checks of all settings, and of the rights of the files that have secrets."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import Field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from service.cli.doctor.findings import Finding, fail, ok, warn
from service.config import Config, ConfigError, given_text, parsed, settings
from service.domain.keys import HIDDEN
from service.local.folders import check_data_dir
from service.setting_sources import FROM_FILE, path_of

_NAMES = [row.name.upper() for row in settings()]
_OTHERS = {name for row in settings() for name in row.metadata["others"]}
_NOT_OURS = "OTEL_"  # OpenTelemetry reads many of these itself
_ALIKE = 0.85  # of 1; SITE_ORIGIN is SITE_ORIGINS then, and HTTP_PROXY is not PUSH_PROXY
_PREFIXES = ("STOPPRESS_", "STOP_PRESS_")
# Files there are in one container only, and readable for all in it.
_OF_A_CONTAINER = Path("/run/secrets")


def wrong_settings(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Name each setting that cannot be used."""
    for fault in filter(None, (_fault(row, environ) for row in settings())):
        yield fail("Settings", f"{fault}. No process starts until that is mended.")


def _fault(row: Field[Any], environ: Mapping[str, str]) -> str:
    try:
        variable, text = given_text(row, environ)
        parsed(row, text, variable)
    except ConfigError as error:
        return str(error)
    return ""


def misspelt(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Name variables that look as if a setting was meant."""
    for name in sorted(environ):
        own = name.removesuffix(FROM_FILE)
        if own in {*_NAMES, *_OTHERS} or own.startswith(_NOT_OURS) or not environ[name].strip():
            continue
        upper = own.upper()
        bare = next((upper.removeprefix(p) for p in _PREFIXES if upper.startswith(p)), upper)
        meant = get_close_matches(bare, _NAMES, 1, _ALIKE if own == upper else 1.0)
        if meant:
            yield warn(
                "Settings",
                f"{name} is set, but no setting is called so, and it changes nothing: rename it to"
                f" {meant[0]}{name.removeprefix(own)} if that is meant.",
            )


def secret_files(
    config: Config, environ: Mapping[str, str], env_file: Path | None
) -> Iterator[Finding]:
    """Check that nobody else can read the files with secrets, or change them."""
    what = "Files"
    files = {path_of(file): name for name, file in _from_files(environ).items()}
    if env_file is not None:
        files[env_file] = "settings"
    kept = config.data_dir / "keys.env"
    if kept.is_file():
        files[kept] = "the keys"
    found = False
    for path, content in files.items():
        mode = path.stat().st_mode
        if _OF_A_CONTAINER in path.parents or not mode & (stat.S_IROTH | stat.S_IWOTH):
            continue
        found = True
        can = "change" if mode & stat.S_IWOTH else "read"
        yield fail(
            what,
            f"Every user of this machine can {can} {path} ({content}), and so send alerts in your"
            f" name: run chmod o-rwx {path}. If anybody else has an account here, change the keys"
            " too.",
        )
    try:
        if (config.data_dir / "redis").is_dir():
            check_data_dir(config.data_dir)
    except ConfigError as error:
        found = True
        yield fail(what, f"{error}.")
    if files and not found:
        names = ", ".join(map(str, files))
        yield ok(what, f"Not open to every user of this machine: {names}")


def _from_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings with a secret that are read from a file, and that file."""
    secret = (*HIDDEN, "REDIS_URL", "STORE_URL", "PUSH_PROXY")
    files = {name: environ.get(f"{name}{FROM_FILE}", "").strip() for name in secret}
    return {name: file for name, file in files.items() if file}
