"""Versions that come and go while the server runs."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_until
from server_client import Client, failure
from server_models import copy_version, export


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories 1, 2, 3 of models whose answer for x = 0 is their own number."""
    base = tmp_path_factory.mktemp("versions")
    for number in (1, 2, 3):
        export(base, number, b=float(number))
    return base


def _answer(client: Client, **spec: Any) -> float:
    return float(client.value("m", {"x": [0.0]}, **spec)[0])


def test_swap_to_a_newer_version_under_load_drops_no_request(
    serve: Any, versions: Path, tmp_path: Path
) -> None:
    copy_version(versions / "1", tmp_path, 1)
    with serve(model_name="m", model_base_path=tmp_path) as client:
        answers: list[float] = []
        faults: list[Exception] = []
        stop = threading.Event()

        def call() -> None:
            while not stop.is_set():
                try:
                    answers.append(_answer(client))
                except Exception as error:
                    faults.append(error)

        callers = [threading.Thread(target=call) for _ in range(4)]
        for caller in callers:
            caller.start()
        for number in (2, 3):
            copy_version(versions / str(number), tmp_path, number)
            wait_until(lambda number=number: client.states("m").get(number) == "AVAILABLE")
            wait_until(lambda number=number: client.states("m").get(number - 1) == "END")
        stop.set()
        for caller in callers:
            caller.join()
        assert not faults
        assert set(answers) == {1.0, 2.0, 3.0}
        assert client.states("m") == {1: "END", 2: "END", 3: "AVAILABLE"}
        assert [status.version for status in client.status("m")] == [3, 2, 1]
        assert failure(_answer, client, version=1) == (
            "NOT_FOUND",
            "Servable not found for request: Specific(m, 1)",
        )


def test_going_back_by_removing_the_newest(serve: Any, versions: Path, tmp_path: Path) -> None:
    copy_version(versions / "1", tmp_path, 1)
    copy_version(versions / "2", tmp_path, 2)
    with serve(model_name="m", model_base_path=tmp_path) as client:
        assert _answer(client) == 2.0
        (tmp_path / "2").rename(tmp_path / "gone-2")
        wait_until(lambda: client.states("m").get(1) == "AVAILABLE" and _answer(client) == 1.0)


def test_an_emptied_base_path_unloads_the_model(serve: Any, versions: Path, tmp_path: Path) -> None:
    copy_version(versions / "1", tmp_path, 1)
    with serve(model_name="m", model_base_path=tmp_path) as client:
        (tmp_path / "1").rename(tmp_path / "gone-1")
        wait_until(lambda: client.states("m") == {1: "END"})
        assert failure(_answer, client) == ("NOT_FOUND", "Servable not found for request: Latest(m)")


def test_a_missing_base_path_changes_nothing(embedded: Any, versions: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    copy_version(versions / "1", base, 1)
    with embedded(model_name="m", model_base_path=base, file_system_poll_wait_seconds=0) as client:
        base.rename(tmp_path / "elsewhere")
        client.server.manager.look()
        assert _answer(client) == 1.0
        assert client.states("m") == {1: "AVAILABLE"}


def test_a_broken_new_version_is_refused_and_the_old_one_serves_on(
    serve: Any, versions: Path, tmp_path: Path
) -> None:
    copy_version(versions / "1", tmp_path, 1)
    with serve(model_name="m", model_base_path=tmp_path) as client:
        broken = tmp_path / "tmp-2"
        shutil.copytree(versions / "2", broken)
        (broken / "saved_model.pb").write_bytes(b"this is no protobuf")
        broken.rename(tmp_path / "2")
        wait_until(lambda: client.states("m").get(2) == "END")
        (bad,) = client.status("m", version=2)
        assert bad.status.error_code != 0
        assert bad.status.error_message
        assert _answer(client) == 1.0


def test_a_broken_version_is_tried_again_once_its_files_change(
    embedded: Any, versions: Path, tmp_path: Path
) -> None:
    copy_version(versions / "1", tmp_path, 1)
    shutil.copytree(versions / "2", tmp_path / "tmp-2")
    (tmp_path / "tmp-2" / "saved_model.pb").write_bytes(b"this is no protobuf")
    (tmp_path / "tmp-2").rename(tmp_path / "2")
    shutil.copytree(versions / "3", tmp_path / "tmp-3")
    with (
        pytest.raises(Exception, match="did not become available"),
        embedded(model_name="m", model_base_path=tmp_path),
    ):
        pass
    (tmp_path / "2").rename(tmp_path / "hidden-2")
    with embedded(model_name="m", model_base_path=tmp_path) as client:
        (tmp_path / "hidden-2").rename(tmp_path / "2")
        wait_until(lambda: client.states("m").get(2) == "END")
        shutil.copy(versions / "2" / "saved_model.pb", tmp_path / "2" / "saved_model.pb")
        wait_until(lambda: client.states("m").get(2) == "AVAILABLE")
        assert _answer(client) == 2.0


def test_a_half_written_version_waits_until_it_is_whole(
    embedded: Any, versions: Path, tmp_path: Path
) -> None:
    copy_version(versions / "1", tmp_path, 1)
    with embedded(model_name="m", model_base_path=tmp_path) as client:
        half = tmp_path / "2"
        half.mkdir()
        client.server.manager.look()
        shutil.copytree(versions / "2" / "variables", half / "variables")
        client.server.manager.look()
        assert client.states("m") == {1: "AVAILABLE"}
        shutil.copy(versions / "2" / "saved_model.pb", half / "saved_model.pb")
        wait_until(lambda: client.states("m").get(2) == "AVAILABLE")
        assert _answer(client) == 2.0
