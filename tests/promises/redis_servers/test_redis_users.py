"""Each kind of process needs no more rights at Redis than `stoppress redis-users` gives it.

Most tests run workers, clock, web processes and commands as these users; the fixture `redis_url`
fails a test in which Redis refused one of them. Here are the rest: all kinds side by side, and that
no right is left over.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from werkzeug.test import TestResponse

from service.app import create_app
from service.config import Config
from service.local.redis_users import redis_users
from service.model.keys import VapidKey
from service.model.time.clocks import QUARTER
from service.runtime import Runtime
from tests.support import ROOT
from tests.support.client import NOTIFICATIONS, SUBSCRIPTIONS, Client, browser
from tests.support.command import stoppress
from tests.support.desk.pages import PASSWORD, post
from tests.support.processes.installation import Installation
from tests.support.push_service import PushService
from tests.support.redis_servers.managed import TlsRedis
from tests.support.redis_servers.server import RedisServer
from tests.support.redis_servers.users import as_users, refused
from tests.support.seeded import around_now, choose

USERS = {user.process: user for user in redis_users()}
# What redis-py sends by itself, as an address may ask.
CONNECTION = {"info", "ping", "select", "time", "exec", "multi", "evalsha", "client|setname"}
CLUSTER = {"asking", "cluster|nodes", "cluster|slots"}  # what a cluster is asked
_CONNECTIONS = ("connection.py", "cluster.py", "cluster_nodes.py")  # whose commands these are
SCRIPTS = {"script|exists", "script|load"}  # redis-py sends them when it runs a script
RENAMED = {
    **{"delete": "del", "script_load": "script|load"},
    **{"client_info": "client|info", "client_setname": "client|setname"},
}
# Methods of clients and pipelines that are no commands.
_NO_COMMANDS = {
    *("pipeline", "execute", "register_script", "close", "connection_pool", "set_retry"),
    *("config_get", "execute_command", "send_command", "read_response", "drop_if_moved"),
    *("disconnect", "execute_together"),
}


@pytest.fixture
def server() -> Iterator[TlsRedis]:
    with TlsRedis() as server:
        yield server
        with server.client() as admin:
            assert refused(admin) == []


# -- nothing is left over -------------------------------------------------------------------------


def commands_in(path: Path) -> set[str]:
    """The commands of Redis that a file of ours sends, also from scripts."""
    text = path.read_text()
    found = {name.lower() for name in re.findall(r"redis\.p?call\(\s*'([A-Z_]+)'", text)}
    found |= {name.lower() for name in re.findall(r'send_command\("([A-Z]+)"', text)}
    if path.suffix == ".lua":
        return found
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            target = node.func.value
            name = getattr(target, "id", getattr(target, "attr", ""))
            if name in ("redis", "_redis", "pipe", "connection"):
                found.add(RENAMED.get(node.func.attr, node.func.attr))
    return found - _NO_COMMANDS


def ours() -> set[str]:
    files = [
        *(ROOT / "service/store").rglob("*.py"),
        *(ROOT / "service/store").rglob("*.lua"),
        ROOT / "service/domain/sending/job_queue.py",
        ROOT / "service/local/pretend_readers.py",
        ROOT / "workers/rq_worker.py",
    ]
    return set().union(*(commands_in(one) for one in files if one.name not in _CONNECTIONS))


def rq() -> set[str]:
    """The commands that RQ may send: every attribute by that name, and those in its scripts."""
    spec = importlib.util.find_spec("rq")
    assert spec is not None and spec.origin is not None
    text = "".join(path.read_text() for path in Path(spec.origin).parent.rglob("*.py"))
    names = re.findall(r"\.([a-z_]+)\b", text) + re.findall(r"redis\.call\(.(\w+)", text)
    return {RENAMED.get(name.lower(), name.lower()) for name in names}


def test_the_users_have_every_command_of_the_store_and_none_that_nobody_sends() -> None:
    granted = set(USERS["up"].commands)
    assert ours() - granted == set()
    assert granted - ours() - rq() - CONNECTION - CLUSTER - SCRIPTS == set()


def test_the_printed_lines_make_users_with_a_password() -> None:
    with RedisServer() as server, server.client() as admin:
        admin.execute_command("ACL", "DELUSER", *(user.name for user in USERS.values()))
        lines = stoppress({}, "redis-users").stdout.splitlines()
        assert [admin.execute_command(*line.split()) for line in lines] == [b"OK"] * len(USERS)
        for user in USERS.values():
            for password, let_in in (("PASSWORD", True), ("another", False)):
                url = server.url.replace("://", f"://{user.name}:{password}@")
                with redis.Redis.from_url(url) as client:
                    try:
                        assert client.ping() == let_in
                    except redis.AuthenticationError:
                        assert not let_in


def test_no_user_may_configure_redis_or_see_all_keys() -> None:
    forbidden = {"acl", "config", "debug", "flushall", "flushdb", "keys", "scan", "shutdown"}
    for user in USERS.values():
        assert not {command.partition("|")[0] for command in user.commands} & forbidden
        assert "*" not in user.keys


@pytest.mark.parametrize("process", ["worker", "clock"])
@pytest.mark.parametrize(
    "key", ["editors", "tokens", "session:a", "link:a@paper.example", "guesses:a", "known:a"]
)
def test_workers_and_clock_cannot_see_who_may_sign_in(process: str, key: str) -> None:
    with RedisServer() as server:
        url = as_users({"REDIS_URL": server.url}, process)["REDIS_URL"]
        with redis.Redis.from_url(url) as client:
            assert client.get("{g}:n") is None
            assert client.get("{0}:live") is None
            for call in (client.get, client.delete, client.hgetall):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    call(f"{{g}}:{key}")


# -- all kinds of processes, each as its user -----------------------------------------------------


@pytest.mark.processes
def test_each_kind_of_process_works_as_its_user_and_over_tls(
    server: TlsRedis, push: PushService, tmp_path: Path
) -> None:
    with Installation(server.address, push, tmp_path) as installation:
        environment = installation.environment
        origin = push.origin
        for command in (
            ("seed", "300", "--origin", origin),
            *(("keys", "list"), ("keys", "backup"), ("services",), ("services", "unknown")),
            *(("editor", "list"), ("token", "list")),
        ):
            done = stoppress(environment, *command)
            assert done.exit_code == 0, done.output
        push.accept_any(installation.vapid.public)
        token = token_for(installation)
        link = stoppress(environment, "editor", "add", "nora@paper.example").stdout.split()[-1]
        installation.clock()
        installation.worker()

        client = Client(create_app(Config.read(as_users(environment, "web"))))
        be_read(client)
        id = int((publish(client, token, story="ferry").json or {})["id"])
        publish(client, token, draft=True)
        installation.over(id)
        assert installation.outcomes(id)["accepted"] >= 300
        assert client.call("GET", "/metrics", token=token).status_code == 200

        editor = client.app.test_client()
        page = "/desk/" + link.partition("/desk/")[2]
        assert post(editor, page, password=PASSWORD).status_code == 303
        for page in ("/desk/", "/desk/new", f"/desk/alerts/{id}", "/desk/stories"):
            assert editor.get(page, follow_redirects=True).status_code == 200

        choose(installation, range(20), quiet=around_now())
        held = installation.publish(title="At night")
        installation.over(held)
        assert installation.outcomes(held)["skipped"] >= 20
        wake(installation, as_users(environment, "clock"))
        correct(client, token, id)
        installation.over(id)

        rotated = VapidKey.generate()
        keys = f"{rotated.text},{environment['VAPID_PRIVATE_KEY']}"
        environment["VAPID_PRIVATE_KEY"] = keys
        installation.worker()
        assert stoppress(environment, "keys", "list").exit_code == 0
        assert stoppress(environment, "doctor").exit_code in (0, 1)


def wake(installation: Installation, environment: dict[str, str]) -> None:
    """Send what is held for the night, as the clock does when quiet hours end."""
    clock = Runtime.open(Config.read(environment))
    (quarter, *_) = clock.store.held_alerts.due(2**40)
    clock.publishing.wake_readers(quarter * QUARTER, installation.address)
    assert len(installation.runtime.publishing.waves(9)) == 1
    clock.store.redis.close()


def be_read(client: Client) -> None:
    """Subscribe, change, report a receipt, leave."""
    made = client.call("POST", SUBSCRIPTIONS, {"subscription": browser(900)})
    assert made.status_code == 201, made.text
    reader = made.json or {}
    path, token = f"{SUBSCRIPTIONS}/{reader['id']}", reader["token"]
    assert client.call("PATCH", path, {"topics": ["world"]}, token=token).status_code == 200
    assert client.call("GET", path, token=token).status_code == 200
    assert client.call("DELETE", path, token=token).status_code == 204
    assert client.call("GET", "/api/v1/site").status_code == 200


def publish(client: Client, token: str, **more: object) -> TestResponse:
    alert = {
        "title": "Ferry aground",
        "url": "https://paper.example/ferry",
        "audience": {"everyone": True},
    }
    answer = client.call("POST", NOTIFICATIONS, {**alert, **more}, token=token)
    assert answer.status_code in (201, 202), answer.text
    return answer


def token_for(installation: Installation) -> str:
    return stoppress(installation.environment, "token", "add", "tool").stdout.split()[-1]


def correct(client: Client, token: str, id: int) -> None:
    answer = client.call(
        "POST", f"{NOTIFICATIONS}/{id}/correct", {"title": "Ferry afloat"}, token=token
    )
    assert answer.status_code in (200, 202), answer.text


def test_store_without_config_and_info_takes_alerts_all_the_same(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    with RedisServer() as server, server.client() as admin:
        for process in ("web", "worker", "clock"):
            admin.execute_command("ACL", "SETUSER", f"stoppress-{process}", "-info")
        with Installation(redis_url, push, tmp_path, STORE_URL=server.url) as installation:
            installation.seed(50)
            installation.worker()
            installation.clock()
            web = Client(create_app(Config.read(as_users(installation.environment, "web"))))
            id = int((publish(web, token_for(installation)).json or {})["id"])
            installation.over(id)
            assert installation.outcomes(id) == {"accepted": 50}
            figures = web.call("GET", "/metrics", token=token_for(installation))
            assert figures.status_code == 200
            assert "redis_memory" not in figures.text
        assert {entry["object"].partition("|")[0] for entry in refused(admin)} == {"info"}
