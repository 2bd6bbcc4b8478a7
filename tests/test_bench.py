"""The benchmark runs, counts every message, and its sums add up; how fast is not asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pycurl
import pytest

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
        assert sink.limits
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
