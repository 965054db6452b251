"""docs/client.md, run: the blocks in their order against a fake server, the recipes in their frameworks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from fake_films import CATALOGUE

from serving import cli, cli_load
from serving.testing import FakeModel, FakeServer

_DOC = Path(__file__).parents[3] / "docs" / "client.md"
_BLOCK = re.compile(r"(<!-- recipe: (\w+) -->\n)?```python\n(.*?)```", re.DOTALL)
_BLOCKS = [(name, code) for _, name, code in _BLOCK.findall(_DOC.read_text(encoding="utf-8"))]
_RECIPES = dict(block for block in _BLOCKS if block[0])


@pytest.fixture
def server(monkeypatch):
    rules = ["allow_item_id", "block_category", "max_per_category", "min_score", "one_per_variant", "diversity",
             "exploration", "seed"]  # fmt: skip
    model = FakeModel(
        "films",
        CATALOGUE,
        versions=[1, 2],
        labels={"stable": 1},
        user_features={"age": "float32"},
        optional_inputs=rules,
        explains=True,
    )
    with FakeServer(model) as running:
        monkeypatch.setenv("RECOMMENDER", running.target)
        yield running


def _run(server, folder, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RECOMMENDER": server.target}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_the_blocks_run_in_their_order(server, tmp_path):
    pytest.importorskip("prometheus_client")
    pytest.importorskip("opentelemetry")
    code = "\n".join(block for name, block in _BLOCKS if not name)
    script = tmp_path / "blocks.py"
    script.write_text(code.replace("127.0.0.1:8500", server.target))
    done = _run(server, tmp_path, sys.executable, str(script))
    assert done.returncode == 0, done.stderr
    assert "the model has no user feature 'aeg'; it has age" in done.stdout
    assert "cannot be compared with one of" in done.stdout
    assert "['new 2']" in done.stdout
    assert "You watched Alien and Solaris, and this is sci-fi too.\nBecause you watched Alien" in done.stdout
    assert "[('b', 1.0), ('c', 1.0), ('d', 1.0)]" in done.stdout


async def _get(app, path: str, query: str) -> tuple[int, bytes]:
    """One request in the terms of ASGI, between start-up and shutdown."""
    sent, asked = [], asyncio.Queue()
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []}
    started, stopped = asyncio.Event(), asyncio.Event()

    async def lifespan_send(message):
        (started if message["type"] == "lifespan.startup.complete" else stopped).set()

    async def http_send(message):
        sent.append(message)

    async def http_receive():
        return {"type": "http.request", "body": b""}

    await asked.put({"type": "lifespan.startup"})
    lifespan = asyncio.ensure_future(app({"type": "lifespan", "state": {}}, asked.get, lifespan_send))
    await started.wait()
    await app(scope, http_receive, http_send)
    await asked.put({"type": "lifespan.shutdown"})
    await stopped.wait()
    await lifespan
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def test_fastapi(server, tmp_path, monkeypatch):
    pytest.importorskip("fastapi")
    (tmp_path / "fastapi_recipe.py").write_text(_RECIPES["fastapi"])
    monkeypatch.syspath_prepend(tmp_path)
    import fastapi_recipe

    def get(query: str) -> tuple[int, str]:
        status, body = asyncio.run(_get(fastapi_recipe.app, "/recommendations", query))
        return status, json.loads(body)

    assert get("seen=a&seen=c&k=2") == (200, ["b", "d"])
    status, refused = get("k=9")
    assert (status, "returns 1 to 4 items" in str(refused)) == (422, True)
    server.fail("INTERNAL")
    assert get("") == (200, ["a", "b"])


def test_django(server, tmp_path):
    pytest.importorskip("django")
    (tmp_path / "shop_urls.py").write_text(_RECIPES["django"])
    script = (
        "from django.conf import settings; settings.configure(ROOT_URLCONF='shop_urls', ALLOWED_HOSTS=['*'])\n"
        "import django; django.setup()\n"
        "from django.test import Client\n"
        "print(Client().get('/recommendations?seen=a&seen=b').content.decode())"
    )
    done = _run(server, tmp_path, sys.executable, "-c", script)
    assert json.loads(done.stdout or "{}") == {"items": ["c", "d"], "source": "model"}, done.stderr


def test_a_worker_on_asyncio(server, tmp_path):
    done = _run(server, tmp_path, sys.executable, "-c", _RECIPES["worker"])
    assert done.stdout == "{'ann': ['b', 'c', 'd'], 'bob': ['a', 'd']}\n", done.stderr


def test_gunicorn_with_preload(server, tmp_path):
    pytest.importorskip("gunicorn")
    (tmp_path / "shop.py").write_text(_RECIPES["gunicorn"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--preload",
        "--workers",
        "2",
        "--bind",
        f"127.0.0.1:{port}",
        "shop:app",
    ]
    environment = {**os.environ, "RECOMMENDER": server.target}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        answers = _ask_until_two_workers_answered(f"http://127.0.0.1:{port}/?seen=a", process)
    finally:
        process.terminate()
        process.wait(30)
    assert all(answer["items"] == ["b", "c", "d"] for answer in answers)
    assert process.pid not in {answer["pid"] for answer in answers}


def _ask_until_two_workers_answered(url: str, process) -> list[dict]:
    answers: list[dict] = []
    end = time.monotonic() + 60
    while len({answer["pid"] for answer in answers}) < 2:
        assert time.monotonic() < end, "two workers did not answer within a minute"
        assert process.poll() is None, process.stderr.read()
        try:
            with urllib.request.urlopen(url, timeout=20) as response:  # noqa: S310 - loopback
                answers.append(json.load(response))
        except urllib.error.URLError:
            time.sleep(0.05)
    return answers


@pytest.mark.parametrize("module", [cli, cli_load])
def test_every_command_is_documented_and_explains_itself(module):
    import click

    text = _DOC.read_text(encoding="utf-8")
    for name, command in vars(module).items():
        if isinstance(command, click.Command):
            assert f"twotower {name}" in text
            assert command.help
            for option in command.params:
                assert isinstance(option, click.Argument) or option.help, f"{name} {option.name}"
