"""The settings, read once at the start from the environment into one typed object.

Each field of `Config` is a setting. Its name in capitals is the environment variable; its metadata
has the meaning that docs/operations.md shows (a test compares). A wrong value stops the start with
one line.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis.connection import ConnectionPool

from service.model.addresses import bracketed, host_name, is_loopback
from service.model.endpoints import wildcard
from service.model.keys import VapidKey, any_base64, b64url, on_p256
from service.model.languages import language_tag
from service.model.links import LinkParameters, read_parameters
from service.model.no_proxy import bypasses
from service.model.preferences import MOST_A_DAY, NO_QUIET, UNLIMITED, NewsroomDefaults, Quiet
from service.model.promises import Promise, read_promise
from service.model.redis_urls import (
    is_cluster_url,
    is_sentinel_url,
    parse_cluster_url,
    parse_sentinel_url,
)
from service.model.texts import is_visible, one_line
from service.model.vapid_formats import read_vapid_keys

_REDIS_URL = (
    "must be redis://[user:password@]host[:port][/database]; in a password, write / as %2F,"
    " ? as %3F, # as %23, @ as %40 and % as %25"
)
# Settings that must have the same value in all processes. None of them may be a secret.
_SHARED = (
    *("site_name", "site_icon", "site_language", "site_url", "site_origins"),
    *("ask_question", "ask_yes", "ask_later", "ask_page_views", "ask_seconds"),
    *(
        "link_parameters",
        "vapid_subject",
        "push_services",
        "prepare_keys",
        "quiet_hours",
        "daily_limit",
    ),
    *("welcome", "welcome_title", "welcome_body", "receipts_kept_days", "alert_log_kept_days"),
    *("promise", "click_audiences"),
)
# Settings that may have bytes that are no UTF-8, as names of files may.
_ANY_BYTES = ("data_dir", "push_ca_bundle", "no_proxy")


class ConfigError(Exception):
    """A setting that cannot be used; the message is one line that says which one and why."""


def _path(value: str) -> Path:
    return Path(value).expanduser().absolute()


def _optional_path(value: str) -> Path | None:
    if not value:
        return None
    path = _path(value)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError("the file has no certificates (PEM)") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    return path


def _words(value: str) -> tuple[str, ...]:
    return tuple(value.replace(",", " ").split())


def _listens_on(value: str) -> str:
    value = re.sub(r"^\[([^][]*)\]$", r"\1", value)
    host = value.partition("%")[0]  # the interface of a link-local address may follow
    if host_name(bracketed(host)) != bracketed(host).lower():
        raise ValueError("must be an address of this host such as 0.0.0.0 or ::, without a port")
    return value


def _hosts(value: str) -> tuple[str, ...]:
    words = _words(value)
    if not all(map(host_name, words)):
        raise ValueError("each must be the name of a host, such as inside.example, or [::1]")
    return words


SHORTEST_SECRET = 32  # characters
EXAMPLE_NAME = "The Daily Example"


def _secret_keys(value: str) -> tuple[str, ...]:
    """Return the current key and, after a comma, the previous one if there is one."""
    keys = tuple(key.strip() for key in value.split(","))
    if any(len(key) < SHORTEST_SECRET for key in keys):
        # One key; one that an operator made up may have a comma in itself.
        return (value,) if value else ()
    if len(keys) > 2:
        raise ValueError("must be one key, or the new one, a comma and the previous one")
    return keys


def _vapid_public(word: str) -> str:
    try:
        point = any_base64(word)
    except ValueError:
        point = b""
    if len(point) != 65 or point[0] != 4 or not on_p256(point):
        raise ValueError("each must be the public half of a key, as `stoppress keys` prints it")
    return b64url(point)


def _vapid_publics(value: str) -> tuple[str, ...]:
    return tuple(_vapid_public(word) for word in _words(value))


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value) or not least <= int(value) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(value)

    return parse


def _partitions(value: str) -> int | None:
    return _whole(1, 255)(value) if value else None


def _yes_or_no(value: str) -> bool:
    if value.lower() not in ("yes", "no"):
        raise ValueError("must be yes or no")
    return value.lower() == "yes"


def _on_or_off(value: str) -> bool:
    if value.lower() not in ("on", "off"):
        raise ValueError("must be on or off")
    return value.lower() == "on"


def _origin(value: str) -> str:
    """Return `scheme://host[:port]` in lower case; a default port is dropped (RFC 6454)."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an origin such as https://www.example.com")
    if parts.username or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must be an origin alone, without a path")
    if not parts.hostname.isascii():
        raise ValueError("must have its host as browsers send it, such as xn--mnchen-3ya.example")
    host = bracketed(parts.hostname)
    if host_name(host) != host or parts.port == 0:
        raise ValueError("must have the name of one host, such as https://www.example.com")
    default = {"http": 80, "https": 443}[parts.scheme]
    port = "" if parts.port in (None, default) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _optional_origin(value: str) -> str:
    return _origin(value) if value else ""


def _picture(value: str) -> str:
    """Check the address of a picture; alerts show only what came by HTTPS."""
    if not value:
        return value
    host = urlsplit(value).hostname or ""
    if not value.startswith("https://") or host_name(bracketed(host)) != bracketed(host):
        raise ValueError("must be an address such as https://www.paper.example/icon-192.png")
    if len(value) > 500 or not re.fullmatch(r"[!-~]+", value):
        raise ValueError("must be an address of at most 500 characters, without spaces")
    if urlsplit(value).path.lower().endswith((".svg", ".svgz")):
        raise ValueError("must be a PNG or another picture: browsers show no SVG in alerts")
    return value


def _origins(value: str) -> tuple[str, ...]:
    return tuple(_origin(word) for word in _words(value))


_NO_PROXY_ADDRESS = (
    "must be an address such as http://proxy.example:3128 (PUSH_PROXY=none: no proxy); in a"
    " password, write / as %2F, ? as %3F, # as %23, [ as %5B and % as %25"
)


def _proxy(value: str) -> str:
    """Check `http://[user:password@]host[:port]`; empty for `none`."""
    if value.lower() in ("", "none"):
        return ""
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port
    except ValueError:  # whose message may repeat a password
        raise ValueError(_NO_PROXY_ADDRESS) from None
    rest = parts.path.strip("/") or parts.query or parts.fragment
    host = host_name(bracketed(parts.hostname or ""))
    if parts.scheme != "http" or not host or port == 0 or rest:
        raise ValueError(_NO_PROXY_ADDRESS)
    return f"http://{parts.netloc}" if port else f"http://{parts.netloc.rstrip(':')}:80"


def _push_services(value: str) -> tuple[str, ...]:
    hosts = (word if "://" in word else f"https://{word}" for word in _words(value))
    found = tuple(wildcard(host) if "*" in host else _origin(host) for host in hosts)
    for origin in found:
        if origin.startswith("http://") and not is_loopback(urlsplit(origin).hostname or ""):
            raise ValueError("http:// is only for this machine, as http://127.0.0.1; use https://")
    return found


def _redis_url(value: str) -> str:
    """Check an address of Redis; what is wrong with it is said without its password."""
    if is_cluster_url(value):
        raise ValueError(
            "the queue does not run on a cluster; give it a Redis of its own, and name the cluster"
            " in STORE_URL"
        )
    if is_sentinel_url(value):
        found = parse_sentinel_url(value)
        for address in (found.redis, *found.sentinels.values()):
            _redis_url(address)
        return value
    if not value:
        return value
    scheme = value.partition(":")[0]
    if not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError(
            "must begin with redis://, rediss://, redis+sentinel:// or unix://; STORE_URL may also"
            " begin with redis+cluster://"
        )
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError(_REDIS_URL) from None
    # A `/`, `?` or `#` in the password ends the address there, so that the rest follows it.
    cut = "@" in parts.path or ("@" in parts.query and "password=" not in parts.query)
    if parts.fragment or (cut and scheme != "unix"):
        raise ValueError(_REDIS_URL)
    if scheme != "unix" and not re.fullmatch(r"(/\d{0,4})?", parts.path):
        raise ValueError("must end with the number of a database, such as /0, or without one")
    try:
        connection = ConnectionPool.from_url(value).make_connection()
    except Exception:  # redis-py raises whatever an option meets, and the text may repeat it
        raise ValueError(
            "has an option that redis-py does not know, or with a wrong value"
        ) from None
    # Without this check a process would wait for ever for a Redis that seems to be away.
    for name in ("ca_certs", "certfile", "keyfile"):
        file = getattr(connection, name, None)
        if file and not os.access(file, os.R_OK):
            raise ValueError(f"the file of its option ssl_{name} cannot be read")
    return value


def _store_url(value: str) -> str:
    """Check the same of the store's Redis, which may be a cluster."""
    if not is_cluster_url(value):
        return _redis_url(value)
    _redis_url(parse_cluster_url(value).redis)
    return value


_SUBJECT = "must be mailto:you@your.domain or an https: address"


def _subject(value: str) -> str:
    """Check VAPID's `sub` (RFC 8292 section 2.1); Apple refuses spaces and angle brackets."""
    if value and not re.fullmatch(r"mailto:[^\s<>@]+@[^\s<>@]+|https://[^\s<>]+", value):
        raise ValueError(_SUBJECT)
    if value.startswith("https:"):
        try:
            host = urlsplit(value).hostname
        except ValueError:
            host = None
        if not host or not host_name(bracketed(host)):
            raise ValueError(_SUBJECT)
    return value


def _one_of(*known: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value.lower()

    return parse


def _line(most: int) -> Callable[[str], str]:
    def parse(value: str) -> str:
        # Not `isprintable`: names in Persian, Hindi and Japanese have joiners and wide spaces.
        shown = one_line(value).text
        if len(shown) > most or re.search(r"[\0-\x1f\x7f-\x9f\u2028\u2029]", value):
            raise ValueError(f"must be one line of at most {most} characters")
        if value and not is_visible(shown):
            raise ValueError("must have a character that readers see")
        return shown

    return parse


def _issuer(value: str) -> str:
    """Check the address of an OpenID Connect provider (OpenID Connect Discovery 1.0)."""
    parts = urlsplit(value)
    host = bracketed(parts.hostname or "")
    if value and (not host_name(host) or not re.fullmatch(r"https?://[!-~]+", value)):
        raise ValueError("must be an address such as https://login.example/realms/paper")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be an address without a user, a ? and a #")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("http:// is only for this machine, as http://localhost; use https://")
    return value


def _word(value: str) -> str:
    """Check an identifier or a secret of a client (RFC 6749 appendix A)."""
    if not re.fullmatch(r"[ -~]*", value):
        raise ValueError("must be one line of ASCII characters")
    return value


def _word_in_file(value: str) -> str:
    """Return the secret that a file has."""
    if not value:
        return ""
    try:
        text = _path(value).read_bytes().decode("ascii").strip()
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise ValueError("the file must have one line of ASCII characters")
    return _word(text)


def _language(value: str) -> str:
    return language_tag(value) if value else ""


def _quiet(value: str) -> Quiet:
    return NO_QUIET if value == "none" else Quiet.parse(value)


def _limit(value: str) -> int:
    return UNLIMITED if value == "none" else _whole(1, MOST_A_DAY)(value)


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
        _redis_url, "", "Redis for the queue; not set: `stoppress up` starts its own in `DATA_DIR`"
    )
    store_url: str = _setting(_store_url, "", "Redis for all other data; not set: `REDIS_URL`")
    store_partitions: int | None = _setting(
        _partitions,
        "",
        "into how many parts a new store divides subscriptions; not set: 12. A known one keeps its "
        "number: leave it unset, another one stops the start",
    )
    store_wait_replicas: int = _setting(
        _whole(0, 5),
        "0",
        "replicas that must have a new subscription or alert before we say that it is stored; "
        "where fewer answer, it is refused",
    )
    secret_key: tuple[str, ...] = _setting(
        _secret_keys,
        "",
        "signs sessions, readers' tokens and receipts; `stoppress up` makes one. To change it: the "
        "new one, a comma, the previous one",
    )
    bind: str = _setting(_listens_on, "127.0.0.1", "the address the web process listens on")
    port: int = _setting(_whole(1, 65535), "8000", "the port the web process listens on")
    trusted_proxies: int = _setting(
        _whole(0, 10),
        "0",
        "number of proxies in front that set X-Forwarded-For and X-Forwarded-Proto",
    )
    web_concurrency: int = _setting(_whole(1, 256), "2", "number of web processes")
    worker_concurrency: int = _setting(
        _whole(1, 256), "2", "number of worker processes; best one a core"
    )
    site_name: str = _setting(
        _line(200), EXAMPLE_NAME, "the name of the newspaper, as readers see it", desk=True
    )
    site_icon: str = _setting(
        _picture,
        "",
        "address of the icon of alerts that have none of their own; a PNG of 192 by 192 pixels",
        desk=True,
    )
    site_language: str = _setting(
        _language,
        "",
        "the language of alerts, such as en or ar-EG; screen readers need it",
    )
    site_url: str = _setting(
        _optional_origin, "", "the address of this service; not set: http://localhost:`PORT`"
    )
    trusted_hosts: tuple[str, ...] = _setting(
        _hosts,
        "",
        "further host names under which this service may be called, as a proxy in front may do",
    )
    site_origins: tuple[str, ...] = _setting(
        _origins, "", "the newspaper's sites; browsers on any other page are refused", desk=True
    )
    link_parameters: str = _setting(
        read_parameters,
        "",
        "added to links of alerts that lead to `SITE_ORIGINS`, such as "
        "utm_source=push&utm_campaign={id}; {id} is the alert's number",
    )
    ask_question: str = _setting(
        _line(200), "", "the question of the prompt; not set: our own, in each language", desk=True
    )
    ask_yes: str = _setting(_line(40), "", "its button that subscribes; not set: ours", desk=True)
    ask_later: str = _setting(_line(40), "", "its button for not now; not set: ours", desk=True)
    ask_page_views: int = _setting(
        _whole(1, 1000), "2", "show the prompt on this page view at the earliest", desk=True
    )
    ask_seconds: int = _setting(
        _whole(1, 3600), "20", "and after this many seconds on that page", desk=True
    )
    vapid_private_key: tuple[VapidKey, ...] = _setting(
        read_vapid_keys,
        "",
        "one key or several (base64url, PEM, DER or JSON), for workers; new subscriptions use the "
        "first",
    )
    vapid_public_key: tuple[str, ...] = _setting(
        _vapid_publics,
        "",
        "public halves of these, for web processes, which ignore private ones; not set: those of "
        "the workers",
    )
    vapid_subject: str = _setting(
        _subject, "", "a mailto: or https: address at which push services can reach you (RFC 8292)"
    )
    push_services: tuple[str, ...] = _setting(
        _push_services,
        "",
        "further push services to allow: origins such as https://up.example, or with all subdomains"
        " https://*.up.example",
    )
    push_ca_bundle: Path | None = _setting(
        _optional_path,
        "",
        "file of certificates (PEM) to trust for push services instead of the system's",
    )
    push_proxy: str = _setting(
        _proxy,
        "",
        "proxy that leads to the push services, http://host:port; not set: `HTTPS_PROXY`; or none",
        ("HTTPS_PROXY", "https_proxy"),
    )
    no_proxy: tuple[str, ...] = _setting(
        _words,
        "",
        "hosts to which no proxy is needed, such as .example.com or 10.0.0.0/8",
        ("no_proxy",),
    )
    fetch_origins: tuple[str, ...] = _setting(
        _origins,
        "",
        "origins from which `stoppress fetch` reads articles although they are at a private "
        "address, such as https://preview.paper.example",
    )
    push_window: int = _setting(
        _whole(8, 4096),
        "2048",
        "most messages of one worker without a recorded result; a `kill -9` can repeat them",
    )
    prepare_keys: bool = _setting(
        _yes_or_no,
        "yes",
        "whether idle workers prepare keys for future alerts, which are then sent three times as "
        "fast; 112 bytes a reader",
    )
    quiet_hours: Quiet = _setting(
        _quiet,
        "22:00-07:00",
        "when alerts wait, by the reader's clock; for readers who chose no hours; may be none",
        desk=True,
    )
    daily_limit: int = _setting(
        _limit,
        "10",
        "most alerts a day, except breaking news; for readers who chose no number; may be none",
        desk=True,
    )
    welcome: str = _setting(
        _one_of("no", "yes", "confirm"),
        "no",
        "whether a new reader gets a welcome; confirm: no other alert until the reader has seen it",
    )
    welcome_title: str = _setting(
        _line(200), "", "the title of the welcome; not set: our own words"
    )
    welcome_body: str = _setting(_line(500), "", "the text of the welcome; not set: our own words")
    receipts_kept_days: int = _setting(
        _whole(1, 366),
        "30",
        "number of days for which counts of shown, clicked and dismissed are kept",
    )
    click_audiences: bool = _setting(
        _on_or_off,
        "off",
        "whether it is kept for 7 days who clicked which alert, so that an audience can be those "
        "readers; `/privacy` says so then",
    )
    alert_log_kept_days: int = _setting(
        _whole(1, 3660),
        "400",
        "number of days for which the log of alerts is kept: who did what with each",
    )
    undo_seconds: int = _setting(
        _whole(0, 60),
        "5",
        "for how long an editor can take back an alert after pressing Send at the desk; 0: not",
    )
    undo_breaking_seconds: int = _setting(_whole(0, 60), "5", "the same for breaking alerts")
    two_person_above: int = _setting(
        _whole(0, 100_000_000),
        "0",
        "an alert to more browsers than this is sent once another editor has approved it; 0: never",
    )
    two_person_breaking: bool = _setting(
        _yes_or_no, "yes", "whether breaking alerts to so many need another editor as well"
    )
    promise: Promise | None = _setting(
        read_promise,
        "",
        "what the newsroom promises itself, such as 90% in 60s: an alert is handed over for that "
        "share of its browsers in that time. Its page says whether it was; not set: no promise",
    )
    oidc_issuer: str = _setting(
        _issuer,
        "",
        "address of an OpenID Connect provider with which editors may sign in, such as "
        "https://login.example/realms/paper",
    )
    oidc_client_id: str = _setting(_word, "", "the name under which that provider knows the desk")
    oidc_client_secret: str = _setting(_word, "", "the secret that belongs to this name")
    oidc_client_secret_file: str = _setting(
        _word_in_file, "", "a file with that secret, in place of `OIDC_CLIENT_SECRET`"
    )
    oidc_name: str = _setting(
        _line(40), "single sign-on", "what editors call that provider: “Sign in with …”"
    )
    data_dir: Path = _setting(
        _path, "var", "folder in which `stoppress up` keeps its keys and its Redis"
    )
    given: frozenset[str] = frozenset()  # names of the settings that the environment sets

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Config:
        """Read every setting from `environ`; `ConfigError` names the first wrong one."""
        values, given = {}, set()
        for row in settings():
            name = row.name.upper()
            names = (n for n in (name, *row.metadata["others"]) if environ.get(n, "").strip())
            found = next(names, "")
            values[row.name] = parsed(row, environ.get(found, ""), found or name)
            if found:
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
        if len(self.secret_key[0]) < SHORTEST_SECRET:
            raise ConfigError(f"SECRET_KEY: must have at least {SHORTEST_SECRET} characters")

    def check_provider(self) -> None:
        """Raise `ConfigError` if the settings of a provider are not complete."""
        if self.oidc_client_secret and self.oidc_client_secret_file:
            raise ConfigError("OIDC_CLIENT_SECRET: OIDC_CLIENT_SECRET_FILE is set too; set one")
        needed = {"OIDC_CLIENT_ID": self.oidc_client_id, "OIDC_CLIENT_SECRET": self.oidc_secret}
        missing = [name for name, value in needed.items() if not value]
        if self.oidc_issuer and missing:
            raise ConfigError(f"{missing[0]} is not set, which OIDC_ISSUER needs")

    @property
    def oidc_secret(self) -> str:
        """The secret of the desk at an OpenID Connect provider."""
        return self.oidc_client_secret or self.oidc_client_secret_file

    def proxy_to(self, origin: str) -> str | None:
        """Return the proxy that leads to an origin; None: it is connected to directly."""
        return None if not self.push_proxy or bypasses(self.no_proxy, origin) else self.push_proxy

    @property
    def addresses(self) -> dict[str, str]:
        """Where Redis is, by setting: the queue's, and the store's if that is another."""
        found = {"REDIS_URL": self.redis_url, "STORE_URL": self.store_url}
        return {name: url for name, url in found.items() if url}

    @property
    def shared(self) -> dict[str, str]:
        """The settings that must have the same value in all processes, without VAPID keys."""
        found = {name.upper(): _plain(getattr(self, name)) for name in _SHARED}
        # As it is used: a worker without SITE_URL puts its own PORT into messages.
        return {**found, "SITE_URL": self.public_url}

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

    @property
    def front_page(self) -> str:
        """The newspaper's front page: the link of alerts that have no story of their own."""
        return f"{self.site_origins[0]}/" if self.site_origins else f"{self.public_url}/demo/"


def _plain(value: Any) -> str:
    if isinstance(value, tuple) and not isinstance(value, Quiet):
        return " ".join(_plain(one) for one in value)
    return "" if value is None else str(value)


def settings() -> tuple[Field[Any], ...]:
    """Return the fields of `Config` that are settings, from which the docs are tested."""
    return tuple(row for row in fields(Config) if row.metadata)


def desk_settings() -> tuple[Field[Any], ...]:
    """Return the settings that editors who manage can set at the desk."""
    return tuple(row for row in settings() if row.metadata["desk"])


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
