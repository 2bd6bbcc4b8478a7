"""The layout: which imports each folder allows, and that settings are checked."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from service.config import Config, ConfigError, settings

ROOT = Path(__file__).parent.parent
MODULES = sorted([*ROOT.glob("service/**/*.py"), *ROOT.glob("workers/**/*.py")])

# What the files of a folder may import besides the standard library and their own folder: packages
# and modules of ours, and projects of others. What no row allows is refused. A file may have a row
# of its own, which adds to that of its folder.
TABLE = {
    "service/model": "babel cryptography regex",
    "service/store": "service.model hiredis redis",
    "service/domain": "service.model service.store argon2 redis",
    "service/domain/operations/canary.py": "http_ece",
    "service/domain/sending/job_queue.py": "rq",
    "service/domain/people/openid.py": "authlib requests",
    "service/domain/people/two_step.py": "cryptography pyotp",
    "service/domain/newsroom/webhooks.py": "cryptography",
    "service/domain/people/passwords.py": "zxcvbn",
    "service/domain/newsroom/publish_hooks.py": "standardwebhooks",
    "service/domain/newsroom/webhook_calls.py": "standardwebhooks",
    "service/domain/operations/cause_reports.py": "standardwebhooks",
    "service/domain/people/web_authentication.py": "webauthn",
    "service/local": "service.config service.model service.setting_sources service.store"
    " cryptography redis",
    "service/local/error_reports.py": "sentry_sdk",
    "service/local/otlp.py": "opentelemetry requests",
    "service/local/logs.py": "pythonjsonlogger",
    "service/local/web_log.py": "gunicorn",
    "service/local/web_worker.py": "gunicorn",
    "service/api": "service.current service.domain service.model service.runtime"
    " service.store.readers.subscriptions flask pydantic pydantic_core redis",
    "service/api/docs_page.py": "markupsafe",
    "service/api/operations/monitoring.py": "prometheus_client",
    "service/api/newsroom/publish_hooks.py": "werkzeug",
    "service/api/problems.py": "service.store.layout.records gunicorn werkzeug",
    "service/desk": "service.api service.config service.current service.domain"
    " service.live_settings service.local service.model service.runtime"
    " service.store.readers.subscriptions babel flask flask_wtf itsdangerous redis werkzeug",
    "service/desk/charts.py": "markupsafe svg",
    "service/desk/people/qr_code.py": "segno",
    "service/desk/times.py": "markupsafe",
    "service/desk/people/two_step.py": "pyotp",
    "service/reader": "service.model flask rjsmin",
    "service/cli": "service.api service.config service.domain service.local service.model"
    " service.runtime service.setting_sources service.store click pydantic redis rich rq",
    "service/cli/main.py": "dotenv",
    "service/cli/doctor/fetching.py": "requests",
    "service/cli/doctor/page.py": "lxml",
    "service/cli/doctor/send.py": "pywebpush requests",
    "service/cli/doctor/session.py": "requests urllib3",
    "service/config.py": "service.model service.setting_sources service.setting_values",
    "service/setting_values.py": "service.model service.setting_sources redis",
    "service/shared_settings.py": "service.config service.model",
    "service/current.py": "service.runtime flask",
    "service/live_settings.py": "service.config service.model service.store redis",
    "service/runtime.py": "service.config service.domain service.live_settings service.model"
    " service.shared_settings service.store redis",
    "service/app.py": "service.api service.config service.desk service.domain"
    " service.local service.model service.reader service.runtime"
    " service.setting_sources service.store flask flask_wtf redis werkzeug",
    "service/preload.py": "service.app service.domain.operations.processes service.local",
    "workers/http": "h11 hpack",
    "workers/fetching": "service.config service.domain service.model service.store workers.http"
    " h11 lxml redis",
    "workers/fetching/feed.py": "feedparser",
    "workers/fetching/feed_dates.py": "feedparser",
    "workers/sending": "service.domain service.model service.runtime service.store workers.http"
    " cryptography redis",
    "workers/jobs.py": "service.config service.domain service.model service.runtime service.store"
    " workers.http workers.rq_worker workers.sending redis",
    "workers/own_job.py": "service.domain.sending.job_queue rq",
    "workers/rq_worker.py": "service.domain service.model service.store workers.own_job redis rq",
    "workers/worker.py": "service.config service.domain service.local service.model workers.jobs"
    " workers.own_job"
    " workers.rq_worker workers.sending redis",
    "workers/fetcher.py": "service.config service.domain service.local service.model"
    " service.runtime service.setting_sources"
    " workers.fetching workers.own_job workers.rq_worker",
    "workers/clock.py": "service.config service.domain service.local service.model service.runtime"
    " service.store workers.cause_reports redis",
    "workers/cause_reports.py": "service.config service.domain service.model service.runtime"
    " service.store workers.fetching",
    "workers/trials": "service.config service.local service.model service.runtime workers"
    " cryptography redis",
    "workers/bench": "service.config service.domain service.local service.model service.runtime"
    " service.store workers click cryptography py_vapid pywebpush redis requests rich",
}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_module(name: str) -> bool:
    """Whether it is a package or module of ours, and not a name in one."""
    place = ROOT / name.replace(".", "/")
    return "." in name and (place.is_dir() or place.with_suffix(".py").exists())


def needed(path: Path) -> set[str]:
    """What of a file's imports a row of the table has to allow."""
    found = imports(path)
    ours = {name for name in found if name.partition(".")[0] in ("service", "workers")}
    others = {name.partition(".")[0] for name in found - ours}
    return {name for name in ours if is_module(name)} | others - {*sys.stdlib_module_names}


def allowed(path: Path) -> set[str]:
    """What the rows of a file allow it to import."""
    name = path.relative_to(ROOT).as_posix()
    rows = [row for row in TABLE if name == row or name.startswith(f"{row}/")]
    return {word for row in rows for word in (row.replace("/", "."), *TABLE[row].split())}


def test_a_file_imports_what_its_rows_of_the_table_allow() -> None:
    for path in MODULES:
        may = allowed(path)
        assert [
            name
            for name in needed(path) - {"_typeshed"}  # exists for mypy alone
            if not any(name == one or name.startswith(f"{one}.") for one in may)
        ] == [], path


# Pages and routes reach the store only through the domain; they may import its exceptions. Only
# monitoring.py, which reports on the store itself, reads it directly.
READS_THE_STORE = {"service/api/operations/monitoring.py"}
DOORS = [
    path
    for path in MODULES
    if {"api", "desk", "reader"} & {*path.relative_to(ROOT).parts} and path.stat().st_size
]


def uses_of_the_store(path: Path) -> list[str]:
    """Where a file uses the store, other than importing its exceptions."""
    found = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Attribute) and node.attr in ("store", "_store"):
            found.append(f"line {node.lineno}: .{node.attr}")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("service.store"):
            module = importlib.import_module(node.module or "")
            values = [getattr(module, alias.name) for alias in node.names]
            found += [
                f"line {node.lineno}: import of {value}"
                for value in values
                if not (isinstance(value, type) and issubclass(value, Exception))
            ]
    return found


def test_pages_and_routes_reach_the_store_only_through_the_domain() -> None:
    for path in DOORS:
        exempt = path.relative_to(ROOT).as_posix() in READS_THE_STORE
        assert bool(uses_of_the_store(path)) == exempt, (path, uses_of_the_store(path))


def test_make_installs_nothing_that_a_lock_file_does_not_pin_by_its_hash() -> None:
    makefile = (ROOT / "Makefile").read_text()
    installs = re.findall(r"^\t\$\(PIP\) (.+)$", makefile, re.M)
    locks = re.findall(r"--require-hashes -r (\S+)", makefile)
    assert len(locks) == 2
    for command in installs:
        # With isolation, pip would fetch the newest build backend before it installs our package.
        pinned = "--require-hashes" in command or "--no-deps --no-build-isolation" in command
        assert pinned, command
    (backend,) = re.findall(r'^requires = \["(\w+)', (ROOT / "pyproject.toml").read_text(), re.M)
    for lock in locks:
        text = (ROOT / lock).read_text()
        for name in (backend, "editables"):  # the second is what the first needs for `pip -e`
            assert re.search(rf"^{name}==\S+ .*\\\n +--hash=sha256:", text, re.M), (lock, name)


def test_each_dependency_is_used() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    (named,) = re.findall(r"^dependencies = \[$(.+?)^\]$", pyproject, re.M | re.S)
    code = "".join(path.read_text() for path in MODULES)
    modules: dict[str, list[str]] = {}
    for module, projects in packages_distributions().items():
        for project in projects:
            modules.setdefault(project.lower().replace("_", "-"), []).append(module)
    for project in re.findall(r'^  "([\w.-]+)', named, re.M):
        names = "|".join(modules.get(project, [project]))
        assert re.search(rf'^ *(?:from|import) (?:{names})\b|"(?:{names})"', code, re.M), project


def test_every_row_of_the_table_is_a_file_or_a_folder() -> None:
    assert [row for row in TABLE if not (ROOT / row).exists()] == []


def test_no_folder_is_a_long_list() -> None:
    """Who looks for something reads one list of rooms and one of files, each within a screen."""
    tests = (ROOT / "tests").glob("**/*.py")
    modules = Counter(path.parent.relative_to(ROOT).as_posix() for path in [*MODULES, *tests])
    long = [folder for folder, files in modules.items() if files > 24]
    assert long == [], "put the new module into another room, or merge two that belong together"


def test_no_module_leads_back_to_itself() -> None:
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in MODULES
    }
    graph = {name: imports(path) & paths.keys() - {name} for name, path in paths.items()}
    assert graph["service.store.alerts.outcomes"] > {"service.store.sending.batches"}
    # The package hands on the command; modules in it import one another.
    graph.pop("service.cli")
    graphlib.TopologicalSorter(graph).prepare()  # or CycleError


def test_the_policy_and_the_wire_know_nothing_of_store_or_network() -> None:
    for name, allowed in (
        ("policy", {"service.model.notifications", "workers.http.transport"}),
        ("wire", {"service.model.keys", "service.model.notifications"}),
    ):
        ours = imports(ROOT / "workers" / "sending" / f"{name}.py")
        modules = {m for m in ours if (ROOT / (m.replace(".", "/") + ".py")).exists()}
        assert modules <= allowed


@pytest.mark.parametrize("module", ["service.store", "workers.jobs"])
def test_a_worker_loads_no_flask(module: str) -> None:
    code = f"import sys, {module}; sys.exit('flask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "80o0"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("REDIS_URL", "http://localhost"),
        ("REDIS_URL", "redis://:hunter2/pw@host/0"),
        ("REDIS_URL", "redis://:1234/pw@host/0"),
        ("STORE_URL", "redis://:hunter2#pw@host/0"),
        ("STORE_URL", "redis://:hunter2?pw@host/0"),
        ("REDIS_URL", "redis://:12[hunter2@host"),
        ("REDIS_URL", "redis://host/hunter2"),
        ("REDIS_URL", "redis://host/0?hunter2=yes"),
        ("REDIS_URL", "rediss://host/0?ssl_cert_reqs=hunter2"),
        ("STORE_URL", "redis+cluster://one,two/0"),
        ("REDIS_URL", "redis+cluster://one,two"),
        ("SITE_URL", "push.example"),
        ("SITE_ORIGINS", "https://a.example/path"),
        ("LINK_PARAMETERS", "utm source=push"),
        ("FETCH_ORIGINS", "preview.paper.example"),
        ("OIDC_ISSUER", "login.paper.example"),
        ("OIDC_ISSUER", "http://login.paper.example"),
        ("OIDC_ISSUER", "https://nora:hunter2@login.paper.example"),
        ("OIDC_ISSUER", "https://login.paper.example/?realm=paper"),
        ("OIDC_ISSUER", "https://login..example"),
        ("OIDC_CLIENT_ID", "desk\thunter2"),
        ("OIDC_CLIENT_SECRET", "hunter2é"),
        ("OIDC_CLIENT_SECRET_FILE", "/nowhere/hunter2"),
        ("SECRET_KEY_FILE", "/nowhere/hunter2"),
        ("SENTRY_DSN", "https://sentry.example/hunter2"),
        ("SENTRY_DSN", "https://hunter2@sentry.example:70000/7"),
        ("SENTRY_DSN", "ftp://hunter2@sentry.example/7"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://nora:hunter2@collector.example:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector.example:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4318/?token=hunter2"),
        ("SITE_ICON", "https://nora:hunter2@paper.example/icon.png"),
        ("VAPID_SUBJECT", "https://nora:hunter2@paper.example/"),
        ("OIDC_NAME", "two\nlines"),
        ("VAPID_SUBJECT", "push@paper.example"),
        ("VAPID_SUBJECT", "mailto:push @paper.example"),
        ("VAPID_SUBJECT", "https://paper..example"),
        ("PUSH_CA_BUNDLE", "/nowhere/ca.pem"),
        ("DATA_DIR", "~hunter2/data"),
        ("SECRET_KEY_FILE", "~hunter2/key"),
        ("STORE_PARTITIONS", "0"),
        ("TRUSTED_PROXIES", "-1"),
        ("TRUSTED_PROXIES", "\N{ARABIC-INDIC DIGIT THREE}"),
        ("TRUSTED_HOSTS", "https://inside.example"),
        ("TRUSTED_HOSTS", "inside.example, *.example"),
        ("TRUSTED_HOSTS", "fe80::1"),
        ("BIND", "0.0.0.0:8000"),
        ("BIND", "http://0.0.0.0"),
        ("SITE_NAME", "two\nlines"),
        ("SITE_ORIGINS", "https://*.paper.example"),
        ("SITE_ORIGINS", "https://paper..example"),
        ("SITE_URL", "https://push.paper.example:0"),
        ("PUSH_SERVICES", "!!!"),
        ("PUSH_PROXY", "!!!"),
        ("WORKER_CONCURRENCY", "two"),
        ("PREPARE_KEYS", "maybe"),
        ("SITE_LANGUAGE", "English, mostly"),
        ("WELCOME", "perhaps"),
        ("WELCOME_TITLE", "x" * 201),
        ("WELCOME_BODY", "two\nlines"),
        ("WELCOME_BODY", "two\u2028lines"),
        ("WELCOME_TITLE", "\u200b"),
        ("SECRET_KEY", "\udcff" * 40),
        ("VAPID_SUBJECT", "mailto:push@\udcff.example"),
        ("REDIS_URL", "redis://:hunter2\udcff@host/0"),
        ("PUSH_PROXY", "http://user:hunter2\udcff@proxy.example:3128"),
        ("PUSH_PROXY", "http://user:hunter2/pw@proxy.example:3128"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line_that_repeats_no_secret(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config.read({name: value})
    assert str(error.value).startswith(f"{name}: ")
    assert "\n" not in str(error.value)
    assert value not in str(error.value)
    assert "hunter2" not in str(error.value)


# SECRET_KEY (any text) and DATA_DIR may be anything. NO_PROXY is for all programs of a host; some
# know rules that we do not.
ANYTHING = {"SECRET_KEY", "DATA_DIR", "NO_PROXY"}


@pytest.mark.parametrize("name", [row.name.upper() for row in settings()])
def test_no_setting_ignores_nonsense(name: str) -> None:
    for nonsense in ("?!", "\udcff"):  # a byte that is no UTF-8
        fits = name in ANYTHING and (name, nonsense) != ("SECRET_KEY", "\udcff")
        with nullcontext() if fits else pytest.raises(ConfigError, match=name):
            Config.read({name: f"{nonsense}\n{nonsense}"})


def test_hosts_are_accepted_in_every_form_that_works() -> None:
    given = {"TRUSTED_HOSTS": "inside Inside.example:8000, 10.0.0.7 [::1]", "BIND": "fe80::1%eth0"}
    assert len(Config.read(given).trusted_hosts) == 4
    for bind in ("0.0.0.0", "::", "::1", "localhost", "Web-1.internal"):
        assert Config.read({"BIND": bind}).bind == bind
    assert Config.read({"BIND": "[::]"}).bind == "::"


@pytest.mark.parametrize(
    "name",
    [
        "دنیای\u200cاقتصاد",
        "क्\u200dष",
        "日本経済新聞\u3000電子版",
        "Le\u00a0Journal\u202f!",
        "Familie \U0001f468\u200d\U0001f469\u200d\U0001f467",
        "الأهرام\u200f (Online)",
    ],
)
def test_a_newspaper_may_have_its_name_in_any_script(name: str) -> None:
    for setting in ("SITE_NAME", "WELCOME_TITLE", "WELCOME_BODY"):
        config = Config.read({setting: name})
        assert getattr(config, setting.lower()) == name


def test_what_no_reader_sees_of_a_name_is_left_out() -> None:
    assert Config.read({"SITE_NAME": "\ufeffThe Daily\u200b Exam\u00adple"}).site_name == (
        "The Daily Example"
    )


def test_an_origin_is_kept_in_its_usual_form() -> None:
    config = Config.read({"SITE_ORIGINS": "https://Paper.example:443/, http://[::1]:8080"})
    assert config.site_origins == ("https://paper.example", "http://[::1]:8080")


# The rooms of each folder of `service`; a room may use those before it.
ROOMS = {
    "api": ("alerts", "readers", "newsroom", "operations"),
    "desk": ("alerts", "writing", "people", "newsroom"),
    "domain": ("sending", "alerts", "readers", "newsroom", "people", "operations"),
    "store": (
        *("redis_servers", "layout", "sending", "readers"),
        *("alerts", "newsroom", "people", "operations"),
    ),
    "model": ("time", "network", "language", "newsroom", "operations"),
}


@pytest.mark.parametrize("folder", ROOMS)
def test_a_room_uses_only_the_rooms_before_it(folder: str) -> None:
    rooms = ROOMS[folder]
    assert {path.parent.name for path in (ROOT / "service" / folder).glob("*/*.py")} == {*rooms}
    for at, room in enumerate(rooms):
        later = tuple(f"service.{folder}.{one}." for one in rooms[at + 1 :])
        for path in (ROOT / "service" / folder / room).glob("*.py"):
            assert [name for name in imports(path) if name.startswith(later)] == [], path


@pytest.mark.parametrize("folder", ROOMS)
def test_a_test_is_in_the_room_of_what_it_tests(folder: str) -> None:
    service, tests = ROOT / "service" / folder, ROOT / "tests" / folder
    for path in tests.glob("**/test_*.py"):
        room = service / path.parent.relative_to(tests)
        # A module with several files of tests has a folder for them.
        assert room.is_dir() or room.with_suffix(".py").exists(), path
        name = path.name.removeprefix("test_")
        rooms = {module.parent for module in service.glob(f"**/{name}")}
        assert not rooms or room in rooms, path


def test_no_test_imports_another() -> None:
    """What two tests need stands in `tests/support`."""
    for path in (ROOT / "tests").glob("**/*.py"):
        assert [name for name in imports(path) if re.match(r"tests\..*\btest_", name)] == [], path
