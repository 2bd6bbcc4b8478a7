"""The settings that must have the same value in all processes, as each process reports them.

`differences` in service/domain/operations/processes.py compares them.
"""

from __future__ import annotations

from typing import Any

from service.config import Config, desk_settings
from service.model.preferences import Quiet

# None of them may be a secret. SITE_URL and the VAPID keys are added as they are used.
_NAMES = (
    *("site_name", "site_icon", "site_language", "site_origins", "link_parameters"),
    *("ask_question", "ask_yes", "ask_later", "ask_page_views", "ask_seconds"),
    *("vapid_subject", "push_services", "prepare_keys", "quiet_hours", "daily_limit"),
    *("welcome", "welcome_title", "welcome_body", "receipts_kept_days", "alert_log_kept_days"),
    *("promise", "canary_minutes", "click_audiences", "conversions"),
    *("retire_after_days", "retire_answer_days"),
)
# Of which settings a process does not follow the desk. Its value is no secret either.
_NOT_AT_THE_DESK = "The list of settings that the environment takes from the desk"


def shared_settings(config: Config) -> dict[str, str]:
    """Return the settings that must have the same value in all processes, without VAPID keys."""
    found = {name.upper(): _plain(getattr(config, name)) for name in _NAMES}
    taken = (row.name.upper() for row in desk_settings() if row.name in config.given)
    found[_NOT_AT_THE_DESK] = " ".join(sorted(taken))
    # As it is used: a worker without SITE_URL puts its own PORT into messages.
    return {**found, "SITE_URL": config.public_url}


def _plain(value: Any) -> str:
    if isinstance(value, tuple) and not isinstance(value, Quiet):
        return " ".join(_plain(one) for one in value)
    return "" if value is None else str(value)
