"""`twotower serve` as a process: start, refusals, graceful stop."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from server_client import Client

from serving.server.cli import serve as serve_command
from serving.server.options import ServerOptions


@contextmanager
def _running(*flags: str) -> Iterator[tuple[subprocess.Popen[str], Client, list[str]]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "twotower", "serve", *flags], stderr=subprocess.PIPE, text=True
    )
    lines: list[str] = []
    assert process.stderr is not None
    try:
        for line in process.stderr:
            lines.append(line)
            if match := re.search(r"Serving gRPC at (\S+);", line):
                break
        else:
            raise AssertionError("".join(lines))
        rest = threading.Thread(target=lambda: lines.extend(process.stderr or []))
        rest.start()
        client = Client(match.group(1))
        yield process, client, lines
        client.close()
        rest.join()
    finally:
        process.kill()
        process.wait()


def test_serves_says_what_it_does_and_stops_gracefully(half_plus_two: Path) -> None:
    with _running("--port=0", "--model_name=half", f"--model_base_path={half_plus_two}") as (
        process,
        client,
        lines,
    ):
        said = "".join(lines)
        assert "Loading model half version 1" in said
        assert "Model half version 1 is available" in said
        assert client.value("half", {"x": [1.0]}) == [2.5]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        with pytest.raises(grpc.RpcError):
            client.value("half", {"x": [1.0]})
    assert lines[-1] == "Stopped.\n"


def _refusal(*flags: str) -> str:
    """What the command prints when it does not start, in this process: no server is left running."""
    result = CliRunner().invoke(serve_command, list(flags))
    assert result.exit_code != 0
    assert "Traceback" not in result.output
    return result.output


def test_a_port_in_use(half_plus_two: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = _refusal("--model_name=m", f"--model_base_path={half_plus_two}", f"--port={port}")
    assert f"Error: Cannot listen on 127.0.0.1:{port}: Address already in use." in text


def test_a_missing_base_path(tmp_path: Path) -> None:
    assert "does not exist" in _refusal(f"--model_base_path={tmp_path / 'no'}")


def test_nothing_to_serve() -> None:
    assert "give --model_base_path" in _refusal("--port=0")


def test_a_base_path_without_versions(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    text = _refusal(f"--model_base_path={tmp_path}", "--port=0")
    assert "no version" in text
    assert "best" in text


def test_a_base_path_with_only_a_half_written_version(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    text = _refusal(f"--model_base_path={tmp_path}", "--port=0")
    assert "missing: saved_model.pb" in text


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"no protobuf")
    text = _refusal("--model_name=m", f"--model_base_path={tmp_path}", "--port=0")
    assert "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: " in text
    assert "{{name: m version: 1} due to error: " in text


@pytest.mark.parametrize(
    "flag", ["--port=eighty", "--port=70000", "--no_such_flag=1", "--grpc_max_threads=0"]
)
def test_flags_that_do_not_fit(flag: str) -> None:
    assert flag.split("=")[0] in _refusal(flag)


@pytest.mark.parametrize("flag", ["--micro_batching", "--micro_batching=true", "--micro_batching=1"])
def test_boolean_flags_in_all_forms(flag: str, tmp_path: Path) -> None:
    # The base path is checked after the flags: this is the refusal to expect from flags that fit.
    assert "does not exist" in _refusal(flag, f"--model_base_path={tmp_path / 'no'}")


def test_every_option_is_in_the_help() -> None:
    text = CliRunner().invoke(serve_command, ["--help"]).output
    assert "\n  twotower serve --model_name" in text or "\n    twotower serve --model_name" in text
    for name in ServerOptions.model_fields:
        assert f"--{name}" in text
