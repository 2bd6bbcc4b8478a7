"""Finds the browsers and the session bus on this machine."""

import ctypes.util
import shutil

FIREFOX = ("firefox-esr", "firefox")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# A reader costs it a third less; it shows no notifications, and never allows them.
HEADLESS_CHROMIUM = ("chromium-headless-shell", *CHROMIUM)
DBUS_DAEMON = ("dbus-daemon",)

REMEDY = "apt-get install firefox-esr chromium chromium-headless-shell dbus-daemon libnotify4"


class MissingProgramError(Exception):
    """A program or library is not installed; the message has the command that installs it."""


def find(names: tuple[str, ...]) -> str:
    """Return the path of the first of `names` that is installed, else raise MissingProgramError."""
    for name in names:
        if path := shutil.which(name):
            return path
    raise MissingProgramError(f"no {' or '.join(names)} on the PATH: {REMEDY}")


def require_libnotify() -> None:
    """Raise MissingProgramError if Firefox could not reach a desktop's notifications.

    Firefox loads the library when it starts, and Debian's package does not depend on it.
    """
    if ctypes.util.find_library("notify") is None:
        raise MissingProgramError(f"no libnotify: {REMEDY}")
