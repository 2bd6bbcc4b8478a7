"""The benchmark runs, and its figures are complete and add up; no test asserts a speed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import hpack
import pytest
import requests
from click.testing import CliRunner

from service.local import pretend_readers
from service.local.rehearsal import foreign_environment
from service.model.notifications import Audience
from tests.bench import programs
from tests.bench.__main__ import ALL_PEERS, ALL_SECTIONS
from tests.support.processes.forked import Forked
from tests.support.processes.installation import Installation, wait_until
from tests.support.processes.killed import alive
from workers.bench import adding, limits, network, peers, report, sending, storing
from workers.bench.__main__ import PEERS, SECTIONS, command
from workers.bench.figures import Bench, BenchError, Figure
from workers.bench.installation import BenchInstallation as Measured
from workers.bench.limits import flood
from workers.http.exchange import Exchange
from workers.http.http2 import Connection
from workers.trials.push_service import Behaviour, Sink, own_sink

pytestmark = pytest.mark.processes

UNITS = {"µs", "ms", "s", "bytes", "MB", "%", "×", "/s", ""}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service.cli", "bench", *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Restore afterwards what the command sets for its whole process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hook = sys.unraisablehook
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start workers and clock at once, and measure briefly."""

    def start(ours: Measured, *arguments: str) -> Forked:
        process = Forked(arguments, foreign_environment() | ours.environment)
        ours.processes.append(process)
        return process

    monkeypatch.setattr(Measured, "start", start)
    monkeypatch.setattr(limits, "_MEASURED", 0.1)
    monkeypatch.setattr(peers, "PYWEBPUSH_MESSAGES", 50)
    monkeypatch.setattr(sending, "_ALERTS", 3)
    monkeypatch.setattr(network, "_UNDER_WAY", 0.05)
    monkeypatch.setattr(storing, "_TIMES", 3)


def figures(section: str, recipients: int = 600, *more: str) -> list[dict[str, Any]]:
    """Run one section in this process; return its figures."""
    tiny = ("--recipients", str(recipients), "--ids", "30000", "--json")
    with handlers_kept():
        done = CliRunner().invoke(command(ALL_SECTIONS, ALL_PEERS), [section, *tiny, *more])
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert list(document["sections"]) == [section]
    assert document["recipients"] == recipients
    assert document["machine"]["cores"] >= 1
    assert document["versions"]["cryptography"] == version("cryptography")
    for figure in document["figures"]:
        assert set(figure) == {"section", "name", "value", "unit", "most", "least", "absent"}
        assert figure["section"] == section
        assert figure["unit"] in UNITS
        assert (figure["value"] is None) == bool(figure["absent"])
        assert figure["value"] is None or figure["value"] >= 0
    return cast("list[dict[str, Any]]", document["figures"])


def measured(section: str, recipients: int = 600, *more: str) -> dict[str, Any]:
    """Return the values of a section that were measured, by name."""
    values = {one["name"].strip(): one["value"] for one in figures(section, recipients, *more)}
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.soak
@pytest.mark.parametrize("more", [(), ("--no-peers",)], ids=["beside PostgreSQL", "alone"])
def test_an_import_and_an_export_are_measured(more: tuple[str, ...]) -> None:
    values = measured("moving", 600, *more)
    assert values["import, rows"] > 0
    assert values["export, readers"] > 0
    assert not (more and "PostgreSQL, COPY" in values)


# Each section ------------------------------------------------------------------------------------


def test_the_limits_of_the_machine_are_measured_as_time_and_as_rate(forked: None) -> None:
    found = measured("limits")
    assert found["our whole encryption"] > found["new key pair and key agreement (ECDH)"]
    assert found["our encryption, key derived before"] < found["our whole encryption"]
    assert found["the sink alone"] > 0


@pytest.mark.soak
def test_every_readers_preferences_are_applied(forked: None) -> None:
    found = measured("choices", 5000)
    assert found["otherwise than counted one by one"] == 0
    held, had = found["held until their quiet hours end"], found["had their one of the day"]
    alerted = next(value for name, value in found.items() if name.endswith("alerted"))
    assert held and had and alerted, "some of each kind"
    assert alerted + held + had + found["paused"] == 5000


def test_ordinary_alerts_are_measured_beside_the_installed_peers(
    forked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine with Redis, without node and go.
    if server := shutil.which("redis-server"):
        (tmp_path / "redis-server").symlink_to(server)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = measured("fanout")
    total = found["CPU a message: workers and Redis"]
    assert total == pytest.approx(found["workers"] + found["Redis"])
    peer = found["pywebpush, one session: CPU a message"]
    assert found["to ours"] == pytest.approx(peer / total)
    assert found["2 workers to 1"] == pytest.approx(
        found["rate, 2 workers"] / found["rate, 1 worker"]
    )
    assert found["600 readers"] >= found["a worker's memory, 60 readers"] > 10
    assert not [name for name in found if name.startswith(("web-push", "webpush-go"))]


@pytest.mark.parametrize(
    ("peer", "tools", "why"),
    [
        (programs.web_push, (), "node and npm are not both installed"),
        (programs.web_push, ("node", "npm"), "npm could not install it"),
        (programs.webpush_go, (), "go is not installed"),
        (programs.webpush_go, ("go",), "go could not fetch and build it"),
    ],
)
def test_a_missing_peer_is_reported_with_the_reason(
    peer: Callable[[Measured, Bench], peers.Measure],
    tools: tuple[str, ...],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for tool in tools:
        (tmp_path / tool).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    unused = cast(Measured, None)  # needed only after the peer is installed
    with pytest.raises(peers.Absent, match=f"^{why}$"):
        peer(unused, Bench(tmp_path, 600, 1, 600, {}, False, 0, report.bar))


@pytest.mark.soak
def test_late_responses_are_measured_beside_immediate_ones(forked: None) -> None:
    found = measured("latency")
    assert found["window ÷ delay"] == 2048 / 0.1
    most = min(found["window ÷ delay"], found["immediate responses, 1 worker"])
    share = found["to the smaller of these two"]
    assert share == pytest.approx(100 * found["responses after 100 ms"] / most)


@pytest.mark.soak
def test_workers_are_added_to_an_alert_that_is_being_sent(
    forked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "WORKERS", (1, 2))
    monkeypatch.setattr(adding, "WINDOW", 16)  # so that the second finds work
    found = measured("adding", 3000)
    assert {"rate, 1 worker", "rate, 2 workers"} < found.keys()
    assert found["to 1 worker"] == pytest.approx(found["rate, 2 workers"] / found["rate, 1 worker"])


@pytest.mark.soak
def test_a_network_is_measured_whose_connections_end_and_are_lost(forked: None) -> None:
    # Some ten connections end, as each carries a thousand messages.
    found = measured("network", 3000)
    assert found["connections to Chrome's"] >= 1
    assert found["to ECDH"] > 0
    alone = found["3,000 readers"]
    assert found["rate, 2 workers, keys prepared"] == pytest.approx(3000 / alone)
    lost = 3000 / found["one connection in a hundred lost"]
    assert found["time to without"] == pytest.approx(lost / alone)


@pytest.mark.soak
def test_other_push_services_are_measured_beside_one_that_never_responds(forked: None) -> None:
    found = measured("slow")
    alone, beside = found["rate of the others, alone"], found["beside one that never responds"]
    assert found["beside to alone"] == pytest.approx(100 * beside / alone)


@pytest.mark.soak
def test_a_breaking_alert_uses_the_keys_that_idle_workers_prepared(forked: None) -> None:
    # With so many readers, Redis' other memory does not matter beside their keys.
    found = measured("breaking", 4000)
    # Idle workers may have refilled a bucket before it was counted.
    assert 0 < found["of them with prepared keys"] <= 100
    assert 0 < found["4,000 readers, all recorded"] < 60
    assert found["a prepared key in Redis"] > 80


@pytest.mark.soak
def test_breaking_alerts_are_measured_during_an_ordinary_one(forked: None) -> None:
    worst, median = figures("overtaking", 15_000)
    assert worst["value"] >= median["value"] > 0
    assert worst["most"] == 1000


@pytest.mark.soak
def test_publishing_is_measured_through_the_api_with_ids_without_records(forked: None) -> None:
    found = measured("publish")
    assert found["publishing, response, median of 9"] > 0
    # On a busy machine a worker may be quicker than the response.
    assert found["first push recorded, median"] > 0
    assert found["audience: 3 topics, 1 excluded"] > 0


@pytest.mark.soak
def test_memory_is_measured_for_each_redis_and_after_most_readers_have_left() -> None:
    done = bench("memory", "--recipients", "600", "--churn", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["figures"]
    names = [figure["name"] for figure in figures]
    assert names[0].endswith("as `stoppress up` has it")
    assert names[3].endswith("as it comes")
    assert names[0].split(" as ")[0] == names[3].split(" as ")[0]
    for one, after_churn, left_behind in zip(*(figures[n::3] for n in range(3)), strict=True):
        assert one["most"] is None, "the budget is for a million"
        assert after_churn["value"] > 245, "less than a record of Google's shape"
        # With so few readers it is mostly Redis' own tables; records would take more.
        assert left_behind["value"] < one["value"]


def test_memory_is_measured_at_all_masters_of_a_cluster() -> None:
    found = measured("memory", 600, "--masters", "3")
    (name, used) = found.popitem()
    assert name.endswith(", 3 masters")
    assert used > 245, "a record of Google's shape, and the servers' own tables"


@pytest.mark.soak
def test_every_measured_subscription_is_stored() -> None:
    found = measured("subscribe", 200)
    assert found["subscriptions stored"] == 400, "200 were there before"
    assert found["new subscriptions, median of 9"] > 0
    assert found["subscribing to that, median"] > 0


def test_a_failed_section_is_reported_and_the_others_still_run() -> None:
    def broken(_: Bench) -> Iterator[Figure]:
        yield Figure("found before", 1)
        raise BenchError("the disk is full")

    def sound(_: Bench) -> Iterator[Figure]:
        yield Figure("found after", 2)

    title = "what this machine can do at most"
    sections = {"limits": (title, broken), "fanout": (title, sound)}
    with handlers_kept():
        done = CliRunner().invoke(command(sections, {}), ["limits", "fanout", "--json"])
    assert done.exit_code == 1
    assert "limits: the disk is full" in done.stderr
    figures = json.loads(done.stdout)["figures"]
    assert [figure["name"] for figure in figures] == ["found before", "found after"]


# Their parts --------------------------------------------------------------------------------------


def test_ids_without_records_are_live_and_follow_the_topics_in_turn(
    installation: Installation,
) -> None:
    store = installation.runtime.store
    installation.seed(21)
    pretend_readers.stretch(store, 1600)
    # The bytes with the last real ids are not changed.
    beyond = store.audiences.count(Audience(everyone=True)) - 21
    assert 1600 - 21 - 16 * len(store.partitions) < beyond < 1600
    for slug in ("world", "breaking"):
        before = sum(n % 4 == 0 for n in range(21)) if slug == "world" else 0
        found = store.audiences.count(Audience(topics=(slug,)))
        assert abs(found - before - beyond // 5) <= 9 * len(store.partitions)
    every = tuple(store.topics.all())
    assert store.audiences.count(Audience(topics=every)) == 21 + beyond
    assert store.audiences.count(Audience(topics=every[:4], exclude=every[4:])) < 21 + beyond


def test_our_own_sink_accepts_every_message(tmp_path: Path) -> None:
    with own_sink(tmp_path) as sink:
        flood(sink, 1234)


def test_our_own_sink_stops_using_a_table_with_its_first_response(tmp_path: Path) -> None:
    # RFC 7541 section 4.2. Until then our workers, who ask for that, decode each block in full.
    client: Connection[Exchange] = Connection("127.0.0.1")
    for number in range(2):
        client.request(Exchange(f"/push/{number}", (), b"Stop press"))
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["h2"])
    with own_sink(tmp_path) as sink, ExitStack() as stack:
        tls.load_verify_locations(sink.ca_file)
        plain = socket.create_connection(("127.0.0.1", urlsplit(sink.origin).port), timeout=10)
        connection = stack.enter_context(tls.wrap_socket(plain, server_hostname="127.0.0.1"))
        connection.sendall(client.out)
        stream = stack.enter_context(connection.makefile("rb"))
        blocks: list[bytes] = []
        while len(blocks) < 2:
            head = stream.read(9)
            payload = stream.read(int.from_bytes(head[:3], "big"))
            blocks += [payload] if head[3] == 1 else []  # HEADERS
    decoder = hpack.Decoder()
    for block in blocks:
        assert decoder.decode(block) == [(":status", "201")]
        assert decoder.header_table_size == 0


def test_a_sink_with_another_name_than_its_certificate_is_refused(tmp_path: Path) -> None:
    with own_sink(tmp_path) as sink:
        other = Sink("another", sink.origin.replace("127.0.0.1", "localhost"), sink.ca_file, 0)
        with pytest.raises(OSError, match="localhost"):
            flood(other, 1)


@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_our_own_sink_also_serves_http1(tmp_path: Path, delay: float) -> None:
    with own_sink(tmp_path, Behaviour(delay)) as sink, requests.Session() as session:
        session.trust_env = False
        session.verify = str(sink.ca_file)
        for body in (b"", b"x" * 400, b"y" * 100_000):
            response = session.post(f"{sink.origin}/push/1", data=body, timeout=10)
            assert response.status_code == 201
            assert response.elapsed.total_seconds() >= delay


def test_a_sink_that_never_responds_still_accepts_connections(tmp_path: Path) -> None:
    with own_sink(tmp_path, Behaviour(None)) as sink, requests.Session() as session:
        session.trust_env = False
        session.verify = str(sink.ca_file)
        with pytest.raises(requests.ReadTimeout):
            session.post(f"{sink.origin}/push/1", data=b"x", timeout=0.5)


def test_the_table_fits_80_columns_and_lists_missing_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    figures = [
        Figure("a figure", 1234.5, "µs", most=2000),
        Figure("  a share of something with a rather long name", 93.2, "%", least=90),
        Figure("a peer", absent="not present: node and npm are not both installed"),
        Figure("a ratio", 1.234, "×", least=1.8),
        Figure("a count", 1_000_000),
    ]
    report.table(
        {
            "recipients": 100_000,
            "workers": 2,
            "sections": {"limits": "what this machine can do at most, in a rather long title"},
            "figures": [figure.as_json("limits") for figure in figures],
            "sink": "nginx 1.22.1",
            "machine": {"cpu": "AMD EPYC 9V74 80-Core Processor at no known speed", "cores": 2},
            "versions": report.versions(),
        }
    )
    printed = capsys.readouterr().out
    assert all(len(line) <= 80 for line in printed.splitlines())
    assert "…" not in printed
    for words in ("1,234 µs", "≤ 2,000 µs", "≥ 90 %", "≥ 1.8 ×", "1,000,000"):
        assert words in printed
    assert "a peer: not present: node and npm are not both installed." in printed


# Signals and wrong arguments ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)]
)
def test_a_signal_ends_all_processes_of_the_benchmark_and_removes_its_files(
    number: signal.Signals,
) -> None:
    # Not in tmp_path, whose name is too long for a socket.
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.bench", "fanout", "--recipients", "20000"],
            env={**os.environ, "TMPDIR": folder},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            # Sink, Redis, two workers and the clock.
            wait_until(lambda: len(children(process.pid)) == 5)
            started = children(process.pid)
            process.send_signal(number)
            printed = process.communicate(timeout=60)[1]
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == 1
        assert "Traceback" not in printed
        # A process that was just being started ends because its parent has.
        wait_until(lambda: not any(alive(pid) for pid in started))
        assert not list(Path(folder).iterdir())


def children(pid: int) -> set[int]:
    """Return the running children of a process."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


@pytest.mark.parametrize(
    "arguments", [["fanout", "--workers", "x"], ["fanout", "--recipients", "0"], ["nothing"]]
)
def test_a_wrong_argument_is_refused(arguments: list[str]) -> None:
    done = CliRunner().invoke(command(SECTIONS, PEERS), arguments)
    assert done.exit_code == 2
    assert "Error: " in done.stderr


@pytest.mark.soak
def test_a_wrong_argument_is_refused_without_a_traceback() -> None:
    done = bench("fanout", "--recipients", "0")
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr
