"""How the house is laid out: which way imports point, and that the docs tell the truth."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from service.cli import main
from service.config import Config, ConfigError, settings

ROOT = Path(__file__).parent.parent
MODULES = sorted([*ROOT.glob("service/**/*.py"), *ROOT.glob("workers/**/*.py")])


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(modules: set[str], package: str) -> set[str]:
    return {name for name in modules if name == package or name.startswith(package + ".")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    found = imports(path)
    if path.is_relative_to(ROOT / "service"):
        assert not within(found, "workers")
    else:
        assert not within(found, "flask")
    pages = {"service.app", "service.api", "service.desk", "service.desk.start", "service.cli"}
    inner = ("store", "publishing", "models", "config", "keys", "tokens", "payload", "endpoints")
    if path.parent.name == "store" or path.stem in inner:
        assert not found & pages
        assert not within(found, "flask")
    if path.parent.name == "store" or path.stem in ("models", "endpoints", "config", "keys"):
        assert not found & {"service.domain.publishing", "service.runtime"}


def test_no_module_leads_back_to_itself() -> None:
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in MODULES
    }
    graph = {name: imports(path) & paths.keys() - {name} for name, path in paths.items()}
    assert graph["service.store.outcomes"] > {"service.store.batches"}
    graphlib.TopologicalSorter(graph).prepare()  # or CycleError


def test_the_policy_and_the_wire_know_nothing_of_store_or_network() -> None:
    for name, allowed in (
        ("policy", {"service.model.notifications", "workers.http.transport"}),
        ("wire", {"service.model.keys", "service.model.notifications"}),
    ):
        ours = imports(ROOT / "workers" / f"{name}.py")
        modules = {m for m in ours if (ROOT / (m.replace(".", "/") + ".py")).exists()}
        assert modules <= allowed


@pytest.mark.parametrize("module", ["service.store", "workers.jobs"])
def test_a_worker_loads_no_flask(module: str) -> None:
    code = f"import sys, {module}; sys.exit('flask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_readme_has_every_setting_with_its_default_and_meaning() -> None:
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| (.*?) \| (.*) \|$", (ROOT / "README.md").read_text(), re.M
    )
    assert rows == [
        (
            row.name.upper(),
            f"`{row.metadata['default']}`" if row.metadata["default"] else "",
            row.metadata["meaning"],
        )
        for row in settings()
    ]


def test_the_readme_has_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    assert isinstance(main, click.Group)
    missing = [name for name in main.commands if f"stoppress {name}" not in readme]
    assert missing == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "80o0"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("REDIS_URL", "http://localhost"),
        ("SITE_URL", "push.example"),
        ("SITE_ORIGINS", "https://a.example/path"),
        ("VAPID_SUBJECT", "push@paper.example"),
        ("VAPID_SUBJECT", "mailto:push @paper.example"),
        ("PUSH_CA_BUNDLE", "/nowhere/ca.pem"),
        ("STORE_PARTITIONS", "0"),
        ("TRUSTED_PROXIES", "-1"),
        ("WORKER_CONCURRENCY", "two"),
        ("PREPARE_KEYS", "maybe"),
        ("SITE_LANGUAGE", "English, mostly"),
        ("WELCOME", "perhaps"),
        ("WELCOME_TITLE", "x" * 201),
        ("WELCOME_BODY", "two\nlines"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line_that_repeats_no_secret(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config.read({name: value})
    assert str(error.value).startswith(f"{name}: ")
    assert "\n" not in str(error.value)
    assert value not in str(error.value)


def test_an_origin_is_kept_in_its_usual_form() -> None:
    config = Config.read({"SITE_ORIGINS": "https://Paper.example:443/, http://[::1]:8080"})
    assert config.site_origins == ("https://paper.example", "http://[::1]:8080")
