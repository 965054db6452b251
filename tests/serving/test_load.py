"""The load driver on a made-up server, and its commands on a fake one."""

from __future__ import annotations

import asyncio
import itertools
import json
import math

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from serving.client.errors import UnavailableError
from serving.load import histogram, percentile, run_load
from serving.testing import FakeModel, FakeServer
from twotower import main


@pytest.fixture(scope="module")
def target():
    with FakeServer(FakeModel("films", ["a", "b"])) as server:
        yield server.target


def test_every_request_is_sent_and_counted():
    asked = []

    async def ask(number):
        asked.append(number)
        if number % 10 == 3:
            raise UnavailableError("down")

    result = asyncio.run(run_load(ask, rate=2000, duration=0.05, concurrency=8))
    assert asked == list(range(100))
    assert result.codes == {"OK": 90, "UNAVAILABLE": 10}
    assert len(result.latencies) == 90


def test_a_stall_is_charged_to_every_request_that_was_due_meanwhile():
    # One at a time, 100 a second; the first takes 0.2 s. So request n, due at n / 100, waits for 0.2 - n /
    # 100.
    async def ask(number):
        if number == 0:
            await asyncio.sleep(0.2)

    result = asyncio.run(run_load(ask, rate=100, duration=0.1, concurrency=1))
    for number, latency in enumerate(result.latencies):
        assert latency >= 0.2 - number / 100 - 0.001
    assert result.late >= 9


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values, percent):
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) - 1e-9


def test_percentiles_of_a_hundred():
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, p) for p in (50, 99, 99.9, 100)] == [50, 99, 100, 100]
    assert math.isnan(percentile([], 50))


@given(st.lists(st.floats(0, 500), min_size=1))
def test_a_histogram_loses_nothing(values):
    bars = histogram(values)
    assert sum(count for _, _, count in bars) == len(values)
    for (_, high, _), (low, _, _) in itertools.pairwise(bars):
        assert high == low
    assert bars[0][0] <= min(values) * 1e3 < bars[0][1]


def test_bars_of_known_latencies():
    # 1.5 and 1.9 ms lie in 1 to 2, 4 ms in 2 to 5, 30 ms in 20 to 50; 5 to 10 and 10 to 20 are empty.
    assert histogram([0.0015, 0.0019, 0.004, 0.030]) == [
        (1, 2, 2),
        (2, 5, 1),
        (5, 10, 0),
        (10, 20, 0),
        (20, 50, 1),
    ]
    assert histogram([]) == []


def test_ping_shows_the_time_of_each_call(target):
    result = CliRunner().invoke(
        main, ["ping", "--target", target, "--model", "films", "--count", "3", "--interval", "0"]
    )
    assert result.exit_code == 0, result.output
    assert result.output.count("versions available: 1") == 3
    assert "median" in result.output


def test_ping_of_nobody_fails_with_one_message():
    result = CliRunner().invoke(main, ["ping", "--target", "127.0.0.1:1", "--model", "films"])
    assert (result.exit_code, result.output.count("cannot be reached")) == (3, 1)


def test_bench_prints_a_histogram_and_percentiles(target):
    command = ["bench", "--target", target, "--model", "films", "--rate", "200", "--duration", "0.2"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "40 requests to" in result.output
    assert "p99 " in result.output
    assert "Outcomes: OK 40." in result.output
    answer = json.loads(CliRunner().invoke(main, [*command, "--json"]).output)
    assert answer["codes"] == {"OK": 40}
    assert sum(bar["count"] for bar in answer["histogram_ms"]) == 40


def test_bench_fails_where_requests_fail(target):
    command = ["bench", "--target", target, "--model", "films", "--rate", "50", "--duration", "0.1"]
    result = CliRunner().invoke(main, [*command, "--user-feature", "age=3"])
    assert (result.exit_code, "no user feature 'age'" in result.output) == (2, True)
