"""The settings, read once at the start from the environment into one typed object.

Each field of `Config` is a setting. Its name in capitals is the environment variable; its metadata
has the meaning that docs/operations.md shows (a test compares). A wrong value stops the start with
one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from service import setting_sources
from service import setting_values as values
from service.model.keys import VapidKey
from service.model.language.links import LinkParameters, read_parameters
from service.model.network.no_proxy import bypasses
from service.model.operations.promises import Promise, read_promise
from service.model.preferences import NewsroomDefaults, Quiet
from service.model.vapid_formats import read_vapid_keys

# Settings that may have bytes that are no UTF-8, as names of files may.
_ANY_BYTES = ("data_dir", "push_ca_bundle", "no_proxy")


class ConfigError(Exception):
    """A setting that cannot be used; the message is one line that says which one and why."""


EXAMPLE_NAME = "The Daily Example"


def _setting(
    parse: Callable[[str], Any],
    default: str,
    meaning: str,
    others: tuple[str, ...] = (),
    *,
    desk: bool = False,
) -> Any:
    """Describe a setting; `others` are variables that count while it is not set itself.

    Those of the `desk` can also be set there, where the environment does not set them.
    """
    metadata = {"parse": parse, "default": default, "meaning": meaning, "others": others}
    return field(metadata={**metadata, "desk": desk})


@dataclass(frozen=True)
class Config:
    """Every setting, made by `Config.read`."""

    redis_url: str = _setting(
        values.redis_url,
        "",
        "Redis for the queue; not set: `stoppress up` starts its own in `DATA_DIR`",
    )
    store_url: str = _setting(
        values.store_url, "", "Redis for all other data; not set: `REDIS_URL`"
    )
    store_partitions: int | None = _setting(
        values.partitions,
        "",
        "into how many parts a new store divides subscriptions; not set: 12. A known one keeps its "
        "number: leave it unset, another one stops the start",
    )
    store_wait_replicas: int = _setting(
        values.whole(0, 5),
        "0",
        "replicas that must have a new subscription or alert before we say that it is stored; "
        "where fewer answer, it is refused",
    )
    secret_key: tuple[str, ...] = _setting(
        values.secret_keys,
        "",
        "signs sessions, readers' tokens and receipts; `stoppress up` makes one. To change it: the "
        "new one, a comma, the previous one",
    )
    bind: str = _setting(values.listens_on, "127.0.0.1", "the address the web process listens on")
    port: int = _setting(values.whole(1, 65535), "8000", "the port the web process listens on")
    trusted_proxies: int = _setting(
        values.whole(0, 10),
        "0",
        "number of proxies in front that set X-Forwarded-For and X-Forwarded-Proto",
    )
    web_concurrency: int = _setting(values.whole(1, 256), "2", "number of web processes")
    worker_concurrency: int = _setting(
        values.whole(1, 256), "2", "number of worker processes; best one a core"
    )
    site_name: str = _setting(
        values.line(200), EXAMPLE_NAME, "the name of the newspaper, as readers see it", desk=True
    )
    site_icon: str = _setting(
        values.picture,
        "",
        "address of the icon of alerts that have none of their own; a PNG of 192 by 192 pixels",
        desk=True,
    )
    site_language: str = _setting(
        values.language,
        "",
        "the language of alerts, such as en or ar-EG; screen readers need it",
    )
    site_url: str = _setting(
        values.optional_origin, "", "the address of this service; not set: http://localhost:`PORT`"
    )
    trusted_hosts: tuple[str, ...] = _setting(
        values.hosts,
        "",
        "further host names under which this service may be called, as a proxy in front may do",
    )
    site_origins: tuple[str, ...] = _setting(
        values.origins,
        "",
        "the newspaper's sites; browsers on any other page are refused",
        desk=True,
    )
    link_parameters: str = _setting(
        read_parameters,
        "",
        "added to links of alerts that lead to `SITE_ORIGINS`, such as "
        "utm_source=push&utm_campaign={id}; {id} is the alert's number",
    )
    ask_question: str = _setting(
        values.line(200),
        "",
        "the question of the prompt; not set: our own, in each language",
        desk=True,
    )
    ask_yes: str = _setting(
        values.line(40), "", "its button that subscribes; not set: ours", desk=True
    )
    ask_later: str = _setting(
        values.line(40), "", "its button for not now; not set: ours", desk=True
    )
    ask_page_views: int = _setting(
        values.whole(1, 1000), "2", "show the prompt on this page view at the earliest", desk=True
    )
    ask_seconds: int = _setting(
        values.whole(1, 3600), "20", "and after this many seconds on that page", desk=True
    )
    vapid_private_key: tuple[VapidKey, ...] = _setting(
        read_vapid_keys,
        "",
        "one key or several (base64url, PEM, DER or JSON), for workers; new subscriptions use the "
        "first",
    )
    vapid_public_key: tuple[str, ...] = _setting(
        values.vapid_publics,
        "",
        "public halves of these, for web processes, which ignore private ones; not set: those of "
        "the workers",
    )
    vapid_subject: str = _setting(
        values.subject,
        "",
        "a mailto: or https: address at which push services can reach you (RFC 8292)",
    )
    push_services: tuple[str, ...] = _setting(
        values.push_services,
        "",
        "further push services to allow: origins such as https://up.example, or with all subdomains"
        " https://*.up.example",
    )
    push_ca_bundle: Path | None = _setting(
        values.optional_path,
        "",
        "file of certificates (PEM) to trust for push services instead of the system's",
    )
    push_proxy: str = _setting(
        values.proxy,
        "",
        "proxy that leads to the push services, http://host:port; not set: `HTTPS_PROXY`; or none",
        ("HTTPS_PROXY", "https_proxy"),
    )
    no_proxy: tuple[str, ...] = _setting(
        values.words,
        "",
        "hosts to which no proxy is needed, such as .example.com or 10.0.0.0/8",
        ("no_proxy",),
    )
    fetch_origins: tuple[str, ...] = _setting(
        values.origins,
        "",
        "origins from which `stoppress fetch` reads articles, and calls webhooks, although they are"
        " at a private address, such as https://preview.paper.example",
    )
    push_window: int = _setting(
        values.whole(8, 4096),
        "2048",
        "most messages of one worker without a recorded result; a `kill -9` can repeat them",
    )
    prepare_keys: bool = _setting(
        values.yes_or_no,
        "yes",
        "whether idle workers prepare keys for future alerts, which are then sent three times as "
        "fast; 112 bytes a reader",
    )
    quiet_hours: Quiet = _setting(
        values.quiet,
        "22:00-07:00",
        "when alerts wait, by the reader's clock; for readers who chose no hours; may be none",
        desk=True,
    )
    daily_limit: int = _setting(
        values.limit,
        "10",
        "most alerts a day, except breaking news; for readers who chose no number; may be none",
        desk=True,
    )
    welcome: str = _setting(
        values.one_of("no", "yes", "confirm"),
        "no",
        "whether a new reader gets a welcome; confirm: no other alert until the reader has seen it",
    )
    welcome_title: str = _setting(
        values.line(200), "", "the title of the welcome; not set: our own words"
    )
    welcome_body: str = _setting(
        values.line(500), "", "the text of the welcome; not set: our own words"
    )
    receipts_kept_days: int = _setting(
        values.whole(1, 366),
        "30",
        "number of days for which counts of shown, clicked and dismissed are kept",
    )
    click_audiences: bool = _setting(
        values.on_or_off,
        "off",
        "whether it is kept for 7 days who clicked which alert, so that an audience can be those "
        "readers; `/privacy` says so then",
    )
    conversions: tuple[str, ...] = _setting(
        values.conversions,
        "",
        "what the site counts by `StopPress.converted()` after a click on an alert, such as "
        "subscription, newsletter; `/privacy` says so then",
    )
    alert_log_kept_days: int = _setting(
        values.whole(1, 3660),
        "400",
        "number of days for which the log of alerts is kept: who did what with each",
    )
    undo_seconds: int = _setting(
        values.whole(0, 60),
        "5",
        "for how long an editor can take back an alert or a correction sent at the desk; 0: not",
    )
    undo_breaking_seconds: int = _setting(values.whole(0, 60), "5", "the same for breaking alerts")
    two_person_above: int = _setting(
        values.whole(0, 100_000_000),
        "0",
        "an alert to more browsers than this is sent once another editor has approved it; 0: never",
    )
    two_person_breaking: bool = _setting(
        values.yes_or_no, "yes", "whether breaking alerts to so many need another editor as well"
    )
    promise: Promise | None = _setting(
        read_promise,
        "",
        "what the newsroom promises itself, such as 90% in 60s: an alert is handed over for that "
        "share of its browsers in that time. Its page says whether it was; not set: no promise",
    )
    canary_minutes: int = _setting(
        values.whole(0, 1440),
        "0",
        "minutes between two alerts to a browser of our own, which show that alerts leave; 0: none",
    )
    alert_webhook: str = _setting(
        values.alert_webhook,
        "",
        "address at which the clock tells a person what is wrong, such as an incoming webhook of "
        "Slack or Mattermost; it may be private; not set: nobody is told",
    )
    alert_webhook_secret: str = _setting(
        values.webhook_secret,
        "",
        "secret, such as whsec_…, with which these calls are signed (Standard Webhooks); not set: "
        "they are not",
    )
    retire_after_days: int = _setting(
        values.none_or_whole(60, 3650),
        "0",
        "days without a visit after which a reader is asked once whether to keep the alerts, and "
        "retired without an answer; 60 or more; 0: nobody is",
    )
    retire_answer_days: int = _setting(
        values.whole(14, 90), "30", "days that such a reader has to answer"
    )
    oidc_issuer: str = _setting(
        values.issuer,
        "",
        "address of an OpenID Connect provider with which editors may sign in, such as "
        "https://login.example/realms/paper",
    )
    oidc_client_id: str = _setting(
        values.word, "", "the name under which that provider knows the desk"
    )
    oidc_client_secret: str = _setting(values.word, "", "the secret that belongs to this name")
    oidc_name: str = _setting(
        values.line(40), "single sign-on", "what editors call that provider: “Sign in with …”"
    )
    log_format: str = _setting(
        values.one_of("text", "json"),
        "text",
        "how all processes write their log to stderr: text, or json, an object a line",
    )
    access_log: bool = _setting(
        values.yes_or_no,
        "no",
        "whether web processes log each request: its method, route, status, time and id",
    )
    sentry_dsn: str = _setting(
        values.sentry_dsn,
        "",
        "address at which Sentry, or what speaks as it does, takes unexpected errors of all "
        "processes; a secret",
    )
    otel_exporter_otlp_endpoint: str = _setting(
        values.collector,
        "",
        "address at which an OpenTelemetry collector takes traces (OTLP by HTTP), such as "
        "http://localhost:4318; its other settings (`OTEL_…`) count too",
    )
    data_dir: Path = _setting(
        values.path, "var", "folder in which `stoppress up` keeps its keys and its Redis"
    )
    given: frozenset[str] = frozenset()  # names of the settings that the environment sets

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Config:
        """Read every setting from `environ`; `ConfigError` names the first wrong one."""
        values, given = {}, set()
        for row in settings():
            variable, text = given_text(row, environ)
            values[row.name] = parsed(row, text, variable)
            if variable:
                given.add(row.name)
        return cls(**values, given=frozenset(given))

    def with_desk(self, texts: Mapping[str, str]) -> Config:
        """Return it with what editors have set at the desk, where the environment sets nothing.

        A text that only another release knows how to read counts as not set.
        """
        values = {}
        for row in desk_settings():
            if row.name in texts and row.name not in self.given:
                with suppress(ConfigError):
                    values[row.name] = parsed(row, texts[row.name])
        return replace(self, **values)

    def check_redis_named(self) -> None:
        """Raise `ConfigError` if no setting says where Redis is."""
        if not self.redis_url:
            raise ConfigError("REDIS_URL is not set (`stoppress up` starts a Redis of its own)")

    def check_complete(self) -> None:
        """Raise `ConfigError` if a setting is missing that every process but `fetch` needs."""
        self.check_redis_named()
        if not self.secret_key:
            raise ConfigError("SECRET_KEY is not set (`stoppress up` makes one)")
        if len(self.secret_key[0]) < values.SHORTEST_SECRET:
            raise ConfigError(f"SECRET_KEY: must have at least {values.SHORTEST_SECRET} characters")

    @property
    def keys_set(self) -> dict[str, str]:
        """The keys that are set, by the setting, as text for a file of settings."""
        keys = {
            "SECRET_KEY": ",".join(self.secret_key),
            "VAPID_PRIVATE_KEY": ",".join(key.text for key in self.vapid_private_key),
        }
        return {name: text for name, text in keys.items() if text}

    def check_provider(self) -> None:
        """Raise `ConfigError` if the settings of a provider are not complete."""
        needed = {
            "OIDC_CLIENT_ID": self.oidc_client_id,
            "OIDC_CLIENT_SECRET": self.oidc_client_secret,
        }
        missing = [name for name, value in needed.items() if not value]
        if self.oidc_issuer and missing:
            raise ConfigError(f"{missing[0]} is not set, which OIDC_ISSUER needs")

    def proxy_to(self, origin: str) -> str | None:
        """Return the proxy that leads to an origin; None: it is connected to directly."""
        return None if not self.push_proxy or bypasses(self.no_proxy, origin) else self.push_proxy

    @property
    def addresses(self) -> dict[str, str]:
        """Where Redis is, by setting: the queue's, and the store's if that is another."""
        found = {"REDIS_URL": self.redis_url, "STORE_URL": self.store_url}
        return {name: url for name, url in found.items() if url}

    @property
    def vapid_contact(self) -> str:
        """VAPID's `sub`: the setting, or else an address at the host of this service."""
        host = self.public_url.partition("://")[2].partition(":")[0]
        # Mozilla and Google take a reserved domain; Apple needs VAPID_SUBJECT to be set.
        public = "." in host and not host.replace(".", "").isdigit()
        return self.vapid_subject or f"mailto:push@{host if public else 'example.com'}"

    @property
    def defaults(self) -> NewsroomDefaults:
        """Quiet hours and daily limit for readers who chose none."""
        return NewsroomDefaults(self.quiet_hours, self.daily_limit)

    @property
    def prompt_texts(self) -> dict[str, str]:
        """The newsroom's own words in the prompt, by their names in `web/reader/languages/`."""
        own = {"question": self.ask_question, "yes": self.ask_yes, "later": self.ask_later}
        own["line"] = self.ask_question  # the question as the panel shows it first
        return {name: text for name, text in own.items() if text}

    @property
    def public_url(self) -> str:
        """The origin under which browsers reach this service."""
        return self.site_url or f"http://localhost:{self.port}"

    @property
    def opened_links(self) -> LinkParameters:
        """How readers open the links of alerts."""
        return LinkParameters(
            self.link_parameters, frozenset(self.site_origins or (self.public_url,))
        )

    def undo_for(self, kind: str) -> int:
        """Return for how many seconds an editor can take back an alert of this kind."""
        return self.undo_breaking_seconds if kind == "breaking" else self.undo_seconds

    @property
    def front_page(self) -> str:
        """The newspaper's front page: the link of alerts that have no story of their own."""
        return f"{self.site_origins[0]}/" if self.site_origins else f"{self.public_url}/demo/"


def settings() -> tuple[Field[Any], ...]:
    """Return the fields of `Config` that are settings, from which the docs are tested."""
    return tuple(row for row in fields(Config) if row.metadata)


def desk_settings() -> tuple[Field[Any], ...]:
    """Return the settings that editors who manage can set at the desk."""
    return tuple(row for row in settings() if row.metadata["desk"])


def given_text(row: Field[Any], environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the variable that sets a setting, and its text or that of the file that it names.

    Both are empty if nothing sets it. `ConfigError`.
    """
    own = row.name.upper()
    name = own
    try:
        name = setting_sources.variable_of(environ, own, row.metadata["others"])
        if name == own + setting_sources.FROM_FILE:
            return name, setting_sources.text_of(environ[name].strip())
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
    return name, environ.get(name, "")


def parsed(row: Field[Any], text: str, name: str = "") -> Any:
    """Return the value of a setting; its default for an empty text. `ConfigError` names it."""
    text = text.strip() or row.metadata["default"]
    try:
        if row.name not in _ANY_BYTES and re.search("[\ud800-\udfff]", text):
            raise ValueError("must be text in UTF-8")
        return row.metadata["parse"](text)
    except ValueError as error:
        # The value itself may be a secret: it is never repeated.
        raise ConfigError(f"{name or row.name.upper()}: {error}") from None
