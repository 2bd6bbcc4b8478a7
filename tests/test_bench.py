"""The benchmark runs, counts every message, and its sums add up; how fast is not asserted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pycurl
import pytest
import requests

from tests.house import wait_until
from tests.test_processes import alive
from workers.bench import Row
from workers.sink import own_sink
from workers.transport import Transport


def test_the_fan_out_is_measured_to_the_last_outcome_and_the_document_adds_up() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "service.cli", "bench", "fanout"),
            *("--recipients", "2000", "--no-peers", "--json"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (ours,) = document["rows"]
    assert ours["messages"] == ours["accepted"] == document["recipients"] == 2000
    assert ours["per_second"] == pytest.approx(2000 / ours["seconds"])
    assert ours["ratio"] == 1
    assert all(cpu >= 0 for cpu in ours["cpu_us"].values())
    core = document["one_core"]
    assert core["ecdh_per_second"] == pytest.approx(1e6 / core["ecdh_us"])
    assert core["encrypt_us"] > core["ecdh_us"], "encrypting includes the key agreement"
    assert document["versions"]["libcurl"] in pycurl.version


def test_where_there_is_no_nginx_our_own_sink_takes_every_message(tmp_path: Path) -> None:
    with own_sink(tmp_path) as sink:
        transport = Transport(ca_bundle=sink.ca_file)
        answers = []
        for number in range(500):
            while not transport.free:
                answers += transport.poll(0.5)
            transport.start(number, f"{sink.origin}/push/{number}", ["TTL: 60"], b"x" * 400)
        while len(answers) < 500:
            answers += transport.poll(0.5)
        transport.close()
    assert {answer.status for answer in answers} == {201}
    assert {answer.key for answer in answers} == set(range(500))


def test_our_own_sink_serves_senders_without_http2_too(tmp_path: Path) -> None:
    with own_sink(tmp_path) as sink, requests.Session() as session:
        session.trust_env = False
        session.verify = str(sink.ca_file)
        for body in (b"", b"x" * 400, b"y" * 100_000):
            assert session.post(f"{sink.origin}/push/1", data=body, timeout=10).status_code == 201


def test_a_row_is_told_for_one_message_and_its_ratio_counts_redis_on_our_side() -> None:
    ours = Row("ours", 1000, 1000, 2.0, sender_cpu=0.3, redis_cpu=0.1, sink_cpu=0.05)
    peer = Row("peer", 10, 9, 0.5, sender_cpu=0.02)
    assert ours.as_json(ours)["cpu_us"] == pytest.approx({"sender": 300, "redis": 100, "sink": 50})
    told = peer.as_json(ours)
    assert (told["messages"], told["accepted"], told["per_second"]) == (10, 9, 20)
    assert told["cpu_us"] == {"sender": pytest.approx(2000), "redis": None, "sink": None}
    assert told["ratio"] == pytest.approx(5)
    absent = Row("absent", absent="not present").as_json(ours)
    assert absent == {"sender": "absent", "absent": "not present"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_the_benchmark_started_and_removes_its_files(
    number: signal.Signals,
) -> None:
    # Not in tmp_path, whose name is too long for a socket.
    with tempfile.TemporaryDirectory() as folder:
        bench = subprocess.Popen(
            [sys.executable, "-m", "workers.bench", "fanout", "--recipients", "1000000"],
            env={**os.environ, "TMPDIR": folder},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            # Sink, Redis, two workers and the clock.
            wait_until(lambda: len(children(bench.pid)) == 5)
            started = children(bench.pid)
            bench.send_signal(number)
            said = bench.communicate(timeout=60)[1]
        finally:
            bench.kill()
            bench.communicate()
        assert bench.returncode == 1
        assert "Traceback" not in said
        # One that was being started at that very moment follows its parent by itself.
        wait_until(lambda: not any(alive(pid) for pid in started))
        assert not list(Path(folder).iterdir())


def children(pid: int) -> set[int]:
    """Return the processes that a process has started and not yet seen end."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


@pytest.mark.parametrize(
    "arguments", [["fanout", "--recipients", "0"], ["fanout", "--workers", "x"], ["nothing"]]
)
def test_a_wrong_argument_is_refused_in_words(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "bench", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr
