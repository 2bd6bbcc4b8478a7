"""`stoppress editor` and `token`: who may use the desk and the API; and what `up` prints of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyotp
import pytest
from click.testing import CliRunner, Result

from service.cli import main
from service.cli.run import _print_banner
from service.config import Config
from service.runtime import Runtime
from tests.support.client import API, SITE, VAPID, Client, open_client
from tests.support.desk.pages import EMAIL, PASSWORD

Command = Callable[..., Result]


@pytest.fixture
def environment(redis_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "SECRET_KEY": "a secret of at least 32 characters",
        "VAPID_PRIVATE_KEY": VAPID.text,
        "DATA_DIR": str(tmp_path),
        "SITE_ORIGINS": SITE,
    }


@pytest.fixture
def stoppress(environment: dict[str, str]) -> Iterator[Command]:
    """Run a `stoppress` command in this process."""
    yield lambda *argv: CliRunner().invoke(main, argv, env={"COLUMNS": "80", **environment})


@pytest.fixture
def runtime(environment: dict[str, str]) -> Runtime:
    return Runtime.open(Config.read(environment))


def make_editor(runtime: Runtime, email: str) -> None:
    link = runtime.editors.find_link(runtime.editors.signin_link(email).rpartition("/")[2])
    assert link
    assert runtime.editors.use_link(link, "", PASSWORD, "10.0.0.1")


def test_editors_can_be_listed_and_removed_from_a_shell(
    stoppress: Command, runtime: Runtime
) -> None:
    assert "stoppress editor add EMAIL" in stoppress("editor", "list").output
    make_editor(runtime, EMAIL)
    added = stoppress("editor", "add", "Second@paper.example")
    assert re.fullmatch(r"http://localhost:8000/desk/welcome/\S+\n", added.output)
    rows = [line.split() for line in stoppress("editor", "list").output.splitlines()[1:]]
    assert rows[0][:3] == [EMAIL, "manages", "set"]
    assert rows[1][:6] == ["second@paper.example", "sends", "not", "yet", "works", "for"]

    runtime.api_tokens.add("CMS", by="second@paper.example")
    (token,) = runtime.api_tokens.all()
    still = f"The token {token.id} (CMS) that they made still works: stoppress token revoke ends it"
    assert still in stoppress("editor", "role", "second@paper.example", "writes").output
    removed = stoppress("editor", "remove", "SECOND@paper.example")
    assert (removed.exit_code, still in removed.output) == (0, True)
    assert "second@" not in stoppress("editor", "list").output
    again = stoppress("editor", "remove", "second@paper.example")
    assert (again.exit_code, again.output) == (
        1,
        "Error: there is no such editor: stoppress editor list shows them\n",
    )
    wrong = stoppress("editor", "add", "no address")
    assert wrong.exit_code == 2


def test_an_editors_role_is_chosen_and_changed_from_a_shell(
    stoppress: Command, runtime: Runtime
) -> None:
    assert stoppress("editor", "add", EMAIL, "--role", "writes").exit_code == 0
    assert stoppress("editor", "add", "tom@paper.example", "--role", "writes").exit_code == 0

    def roles() -> list[str]:
        return [one.role.word for one in runtime.editors.all()]

    assert roles() == ["manages", "writes"], "the first editor always manages"
    for refused in (
        stoppress("editor", "role", EMAIL, "sends"),
        stoppress("editor", "remove", EMAIL),
    ):
        assert refused.exit_code == 1
        assert "Nobody else manages the desk" in refused.output
        assert "stoppress editor role" in refused.output
    known = stoppress("editor", "add", "tom@paper.example", "--role", "sends")
    assert (known.exit_code, "is an editor already" in known.output) == (1, True)
    assert roles() == ["manages", "writes"]

    changed = stoppress("editor", "role", "Tom@paper.example", "manages")
    assert changed.output == "tom@paper.example manages now.\n"
    assert stoppress("editor", "role", EMAIL, "sends").exit_code == 0
    assert roles() == ["sends", "manages"]
    assert stoppress("editor", "role", EMAIL, "owns").exit_code == 2
    assert stoppress("editor", "role", "nobody@paper.example", "sends").exit_code == 1


@pytest.mark.parametrize(
    "command",
    [
        *(("editor", name) for name in ("add", "role", "remove", "two-step-off")),
        *(("token", name) for name in ("add", "revoke")),
    ],
    ids=" ".join,
)
def test_the_help_of_each_command_about_access_has_an_example(
    stoppress: Command, command: tuple[str, str]
) -> None:
    shown = stoppress(*command, "--help").output
    example = re.search(r"For example:\n +(stoppress .*)", shown)
    assert example
    assert example[1].startswith(f"stoppress {' '.join(command)} ")


def test_two_step_sign_in_is_switched_off_from_a_shell(
    stoppress: Command, runtime: Runtime
) -> None:
    make_editor(runtime, EMAIL)
    assert stoppress("editor", "two-step-off", EMAIL).exit_code == 1
    two_step = runtime.editors.two_step
    two_step.begin(EMAIL)
    secret = two_step.begun(EMAIL)
    assert secret
    assert two_step.switch_on(EMAIL, pyotp.TOTP(secret).now())
    assert "set, two-step" in stoppress("editor", "list").output
    assert stoppress("editor", "two-step-off", EMAIL.upper()).exit_code == 0
    assert "two-step" not in stoppress("editor", "list").output
    assert not two_step.is_on(EMAIL)


def test_tokens_can_be_listed_and_revoked_from_a_shell(stoppress: Command, redis_url: str) -> None:
    assert "stoppress token add NAME" in stoppress("token", "list").output
    cms = stoppress("token", "add", "[bold]CMS", "--scope", "send").output.strip()
    twice = [stoppress("token", "add", "monitor").output.strip() for _ in range(2)]
    listed = stoppress("token", "list").output
    rows = [line.split() for line in listed.splitlines()[1:]]
    assert [row[1:3] for row in rows] == [
        ["[bold]CMS", "send"],
        ["monitor", "everything"],
        ["monitor", "everything"],
    ]
    assert not [token for token in (cms, *twice) if token in listed]

    client: Client = open_client(redis_url)

    def works(token: str) -> bool:
        return (
            client.call("POST", f"{API}/audience", {"everyone": True}, token=token).status_code
            == 200
        )

    assert works(cms)
    listed = stoppress("token", "list").output.splitlines()[1]
    assert len(listed.split()) == len(rows[0]) + 1, "when it was last used"
    assert stoppress("token", "add", " \u200b").exit_code == 2
    assert stoppress("token", "revoke", "[bold]CMS").exit_code == 0
    assert not works(cms)
    refused = stoppress("token", "revoke", "monitor")
    assert refused.exit_code == 1
    assert rows[1][0] in refused.output
    assert rows[2][0] in refused.output
    assert [works(token) for token in twice] == [True, True]
    assert stoppress("token", "revoke", rows[1][0]).exit_code == 0
    assert [works(token) for token in twice] == [False, True]
    for unknown in ("nobody", "", rows[1][0], twice[1]):
        assert stoppress("token", "revoke", unknown).exit_code == 1


def test_the_start_prints_a_sign_in_link_only_while_there_is_no_editor(
    runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed() -> str:
        _print_banner(runtime.config, runtime.editors.first_link())
        return capsys.readouterr().out

    links = [re.findall(r"/desk/welcome/(\S+)", printed()) for _ in range(2)]
    assert [len(found) for found in links] == [1, 1]
    assert runtime.editors.find_link(links[0][0]) is None, "each start replaces the link before"
    assert runtime.editors.find_link(links[1][0])

    make_editor(runtime, EMAIL)
    later = printed()
    assert "welcome" not in later
    assert "http://localhost:8000/desk/\n" in later
    assert "stoppress editor add EMAIL" in later
    assert runtime.editors.find_link(links[1][0]) is None, (
        "a link in a log dies with the first editor"
    )
