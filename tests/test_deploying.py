"""What docs/ops offers to operators works with this release, and is as safe as it says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest

from service.cli import main
from service.config import settings
from service.domain.keys import SECRETS
from tests.support import ROOT
from tests.support.hosts.units import rows, values
from tests.support.processes.rolling import find_caddy
from tests.support.push_service.certificates import OURS, Authority
from workers.trials.push_service import find_nginx

OPS = ROOT / "docs" / "ops"
UNITS = sorted((OPS / "systemd").glob("*.service"))
CONTAINER = OPS / "container"
SETTINGS = {row.name.upper() for row in settings()}
# Which secrets a type of process needs.
NEEDS = {
    "web": {"SECRET_KEY"},
    "worker": {"SECRET_KEY", "VAPID_PRIVATE_KEY"},
    "clock": {"SECRET_KEY"},
    "fetch": set(),
}
SAFEST = 20  # tenths of systemd's points from 0 to 10: at most this

each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda one: one.name)


def procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines)


def check_command(words: list[str]) -> None:
    """Check that these are a command of ours, and that click takes its options."""
    command = main.commands[words[0]]
    # With the options of `main`: a command keeps the help option of its first context.
    parent = click.Context(main, **main.context_settings)
    command.make_context(words[0], words[1:], parent=parent)
    assert isinstance(command, click.Command)


# systemd ----------------------------------------------------------------------------------------


@each_unit
def test_a_unit_starts_a_command_that_exists_with_settings_that_exist(unit: Path) -> None:
    (line,) = values(unit, "ExecStart")
    program, *words = shlex.split(line)
    assert program == "/opt/stop-press/.venv/bin/stoppress"
    check_command(words)
    for given in values(unit, "Environment"):
        assert given.partition("=")[0].removesuffix("_FILE") in SETTINGS, given


def test_there_is_a_unit_for_each_type_of_process_and_one_for_all() -> None:
    commands = {shlex.split(values(unit, "ExecStart")[0])[1] for unit in UNITS}
    assert commands == {*procfile(), "up"}


@each_unit
def test_a_unit_gives_a_process_the_keys_that_it_needs_and_no_other(unit: Path) -> None:
    process = shlex.split(values(unit, "ExecStart")[0])[1]
    if process == "up":
        return
    given = {one.partition("=")[0] for one in values(unit, "Environment")}
    secrets = {name for name in SECRETS if f"{name}_FILE" in given}
    assert secrets == NEEDS[process]
    loaded = {one.partition(":")[0] for one in values(unit, "LoadCredential")}
    assert loaded == {name.lower() for name in secrets}
    assert all(":/etc/stop-press/keys/" in one for one in values(unit, "LoadCredential"))


@each_unit
def test_a_unit_is_started_again_without_end_and_may_end_in_good_order(unit: Path) -> None:
    found = dict(rows(unit))
    assert (found["Restart"], found["RestartSec"]) == ("always", "1")
    assert found["StartLimitIntervalSec"] == "0"
    assert int(found["TimeoutStopSec"]) > 30, "our supervisor waits 30 s, gunicorn 20"
    assert found["StateDirectory"].startswith("stop-press")
    assert f"DATA_DIR=%S/{found['StateDirectory']}" in values(unit, "Environment")


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The units as systemd would load them here, where the program is in another folder."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze, of Debian's package systemd")
    folder = tmp_path_factory.mktemp("units")
    program = folder / "stoppress"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    made = []
    for unit in UNITS:
        made.append(folder / unit.name.replace("@.", "@8001."))
        text = unit.read_text()
        made[-1].write_text(text.replace("/opt/stop-press/.venv/bin/stoppress", str(program)))
    return made


def test_systemd_understands_every_unit(analyzed: list[Path]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *analyzed], capture_output=True, text=True
    )
    said = [line for line in done.stderr.splitlines() if "stoppress" in line]
    assert (done.returncode, said) == (0, [])


def test_systemd_finds_every_unit_safe(analyzed: list[Path]) -> None:
    options = ["security", "--offline=true", f"--threshold={SAFEST}", "--no-pager"]
    done = subprocess.run(["systemd-analyze", *options, *analyzed], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


# Proxies ----------------------------------------------------------------------------------------


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    local = ROOT / ".venv" / "nginx" / "usr" / "sbin" / "nginx"
    found = find_nginx()
    binary = str(local) if local.exists() else found and found.binary
    if not binary:
        pytest.skip("needs nginx: make .venv/nginx unpacks it on Debian")
    (tmp_path / "certificate.pem").write_bytes(Authority("a test").issue(OURS))
    text = (OPS / "proxy" / "nginx.conf").read_text()
    text = re.sub(r"(ssl_certificate\w*) /.*;", rf"\1 {tmp_path}/certificate.pem;", text)
    (tmp_path / "site.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {tmp_path}/{kind}; " for kind in kinds)
    http = f"access_log off; {folders}include {tmp_path}/site.conf;"
    main_file = f"pid {tmp_path}/pid; events {{}} http {{ {http} }}"
    (tmp_path / "nginx.conf").write_text(main_file)
    options = ["-t", "-p", tmp_path, "-e", tmp_path / "errors", "-c", tmp_path / "nginx.conf"]
    done = subprocess.run([binary, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_caddy_takes_its_configuration(tmp_path: Path) -> None:
    binary = find_caddy()
    given = ["validate", "--adapter", "caddyfile", "--config", OPS / "proxy" / "Caddyfile"]
    home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([binary, *given], capture_output=True, text=True, env=home)
    assert done.returncode == 0, done.stderr


def test_both_proxies_lead_to_the_ports_of_the_web_units() -> None:
    command = (OPS / "systemd" / "stoppress-web@.service").read_text()
    ports = re.findall(r"stoppress-web@(\d+)", command)
    assert len(ports) == 2
    for file in ("nginx.conf", "Caddyfile"):
        assert re.findall(r"127\.0\.0\.1:(\d+)", (OPS / "proxy" / file).read_text()) == ports


# Containers -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML, which schemathesis brings")
    found: dict[str, Any] = yaml.safe_load((CONTAINER / "compose.yaml").read_text())
    return found


def test_compose_runs_the_commands_of_the_procfile(compose: dict[str, Any]) -> None:
    ours = {name: one for name, one in compose["services"].items() if name != "redis"}
    assert {name: " ".join(["stoppress", *one["command"]]) for name, one in ours.items()} == (
        procfile()
    )
    for name, one in ours.items():
        check_command(one["command"])
        given = {setting.removesuffix("_FILE") for setting in one["environment"]}
        assert given <= SETTINGS
        assert given & {*SECRETS} == NEEDS[name]
        assert {*one.get("secrets", ())} == {secret.lower() for secret in NEEDS[name]}


def test_no_container_writes_to_its_root_or_has_a_right_too_many(compose: dict[str, Any]) -> None:
    for name, one in compose["services"].items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
    redis = " ".join(compose["services"]["redis"]["command"])
    assert "--appendonly yes" in redis
    assert "--maxmemory-policy noeviction" in redis


def test_the_container_has_what_the_program_needs_and_runs_it_as_nobody_in_particular() -> None:
    lines = (CONTAINER / "Containerfile").read_text().replace("\\\n", "").splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    copied = {one for line in words if line[0] == "COPY" for one in line[1:-1]}
    assert {"requirements.lock", "pyproject.toml", "service", "workers", "web"} <= copied
    assert all((ROOT / one).exists() for one in copied)
    assert [line for line in words if line[0] == "USER"] == [["USER", "10001"]]
    names = [one.partition("=")[0] for line in words if line[0] == "ENV" for one in line[1:]]
    assert {*names} - {"PYTHONUNBUFFERED"} <= SETTINGS
    assert any(line[0] == "HEALTHCHECK" for line in words)
    assert ["ENTRYPOINT", '["stoppress"]'] in words
