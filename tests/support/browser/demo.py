"""Subscribing on the demo newspaper in a real Firefox."""

from __future__ import annotations

from typing import Any

from tests.support.browser.firefox import Tab


def subscribe(tab: Tab) -> dict[str, Any]:
    """Subscribe to world news in the panel; return the page's state."""
    tab.click("button.bell")
    tab.click("button.details")
    tab.click('input[value="world"]')
    tab.click("button.main")
    state: dict[str, Any] = tab.wait_until(
        "window.StopPress.state().subscribed && StopPress.state()"
    )
    return state
