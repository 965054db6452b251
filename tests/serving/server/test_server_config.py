"""Several models, policies, labels, and changes of the configuration while the server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import wait_until
from server_client import Client, failure
from server_models import copy_version, export

from serving.deploy.server_files import config_files
from serving.deploy.settings import Settings
from serving.server.errors import ServingError
from serving.server.model_config import check_labels, read_targets
from serving.server.source import ModelTarget
from serving.wire import messages as wire

Fields = dict[str, str]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models a (versions 1, 2, 3) and b (version 1) whose answer for x = 0 is 10 version, or 5 for b."""
    root = tmp_path_factory.mktemp("bases")
    (root / "a").mkdir()
    (root / "b").mkdir()
    for number in (1, 2, 3):
        export(root / "a", number, b=10.0 * number)
    export(root / "b", 1, b=5.0)
    return root


def _entry(bases: Path, name: str, more: str = "") -> str:
    base = bases / name
    return f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" {more} }}\n'


def _config(*entries: str) -> str:
    return "model_config_list {\n" + "".join(entries) + "}\n"


def _file(path: Path, text: str) -> Path:
    scratch = path.with_suffix(".new")
    scratch.write_text(text)
    return scratch.rename(path)


def _answer(client: Client, name: str, **spec: Any) -> float:
    return float(client.value(name, {"x": [0.0]}, **spec)[0])


SPECIFIC = "model_version_policy { specific { versions: 1 versions: 3 } }"
LABELS = 'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 3 }'


def test_several_models_policies_and_labels(serve: Any, bases: Path, tmp_path: Path) -> None:
    path = _file(
        tmp_path / "models.config", _config(_entry(bases, "a", SPECIFIC + LABELS), _entry(bases, "b"))
    )
    with serve(model_config_file=path, allow_version_labels_for_unavailable_models=True) as client:
        wait_until(lambda: client.states("a") == {1: "AVAILABLE", 3: "AVAILABLE"})
        assert _answer(client, "a") == 30.0
        assert _answer(client, "a", version=1) == 10.0
        assert _answer(client, "a", label="stable") == 10.0
        assert _answer(client, "a", label="canary") == 30.0
        assert _answer(client, "b") == 5.0
        assert failure(_answer, client, "a", version=2)[1] == "Servable not found for request: Specific(a, 2)"
        assert failure(_answer, client, "a", label="x") == (
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: x",
        )
        response = client.predict("a", {"x": [0.0]}, label="stable")
        assert response.model_spec.version.value == 1


def test_labels_at_start_need_their_flag(embedded: Any, bases: Path, tmp_path: Path) -> None:
    path = _file(tmp_path / "models.config", _config(_entry(bases, "a", LABELS)))
    with (
        pytest.raises(Exception, match="Request to assign label to version"),
        embedded(model_config_file=path),
    ):
        pass


def test_all_versions(serve: Any, bases: Path, tmp_path: Path) -> None:
    path = _file(tmp_path / "models.config", _config(_entry(bases, "a", "model_version_policy { all {} }")))
    with serve(model_config_file=path) as client:
        wait_until(lambda: list(client.states("a").values()) == ["AVAILABLE"] * 3)
        assert [_answer(client, "a", version=v) for v in (1, 2, 3)] == [10.0, 20.0, 30.0]


RELOAD = {"enable_reload_config": True}


def test_reload_adds_changes_and_removes_models(embedded: Any, bases: Path, tmp_path: Path) -> None:
    with embedded(model_name="a", model_base_path=bases / "a", **RELOAD) as client:
        client.reload(_config(_entry(bases, "a"), _entry(bases, "b")))
        assert _answer(client, "b") == 5.0  # the call returned: the new model is available
        client.reload(_config(_entry(bases, "a", SPECIFIC)))
        wait_until(lambda: client.states("a") == {1: "AVAILABLE", 3: "AVAILABLE"})
        wait_until(lambda: client.states("b") == {1: "END"})
        assert failure(_answer, client, "b")[0] == "NOT_FOUND"


def test_a_label_moves_in_three_steps(embedded: Any, bases: Path) -> None:
    one = 'version_labels { key: "live" value: 1 }'
    three = 'version_labels { key: "live" value: 3 }'
    only_one = "model_version_policy { specific { versions: 1 } }"
    with embedded(model_name="a", model_base_path=bases / "a", **RELOAD) as client:
        client.reload(_config(_entry(bases, "a", only_one)))
        wait_until(lambda: client.states("a").get(1) == "AVAILABLE" and client.states("a").get(3) == "END")
        client.reload(_config(_entry(bases, "a", only_one + one)))
        assert _answer(client, "a", label="live") == 10.0
        assert failure(client.reload, _config(_entry(bases, "a", SPECIFIC + three))) == (
            "FAILED_PRECONDITION",
            "Request to assign label to version 3 of model a, which is not currently available for inference",
        )
        client.reload(_config(_entry(bases, "a", SPECIFIC + one)))
        wait_until(lambda: client.states("a").get(3) == "AVAILABLE")
        client.reload(_config(_entry(bases, "a", SPECIFIC + three)))
        assert _answer(client, "a", label="live") == 30.0


def test_the_canary_of_the_deployment_kit_is_served(serve: Any, bases: Path, tmp_path: Path) -> None:
    settings = Settings("a", str(bases / "a"), stable_version=1, canary_version=3)
    path = tmp_path / "models.config"
    path.write_text(config_files(settings)["models.config"])
    with serve(model_config_file=path, allow_version_labels_for_unavailable_models=True) as client:
        wait_until(lambda: client.states("a") == {1: "AVAILABLE", 3: "AVAILABLE"})
        assert _answer(client, "a", label="stable") == 10.0
        assert _answer(client, "a", label="canary") == 30.0
        assert 2 not in client.states("a")


def test_reload_refusals(embedded: Any, bases: Path, tmp_path: Path) -> None:
    with embedded(model_name="a", model_base_path=bases / "a", **RELOAD) as client:
        assert failure(client.reload, "") == (
            "INVALID_ARGUMENT",
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
            "currently supported",
        )
        assert failure(client.reload, _config(_entry(bases, "a"), _entry(bases, "a"))) == (
            "INVALID_ARGUMENT",
            "Illegal to list model a multiple times in config list",
        )
        broken = tmp_path / "broken"
        (broken / "1").mkdir(parents=True)
        (broken / "1" / "saved_model.pb").write_bytes(b"no protobuf")
        code, text = failure(client.reload, _config(_entry(bases, "a"), _entry(tmp_path, "broken")))
        assert code == "UNKNOWN"
        assert text.startswith(
            "1 model(s) did not become available: {{{name: broken version: 1} due to error: "
        )
        assert _answer(client, "a") == 30.0


def test_reload_is_refused_unless_enabled(embedded: Any, bases: Path) -> None:
    with embedded(model_name="a", model_base_path=bases / "a") as client:
        code, text = failure(client.reload, _config(_entry(bases, "b")))
        assert (code, "--enable_reload_config" in text) == ("PERMISSION_DENIED", True)


def test_a_changed_config_file_is_applied_and_a_bad_one_is_not(
    serve: Any, bases: Path, tmp_path: Path
) -> None:
    path = _file(tmp_path / "models.config", _config(_entry(bases, "a")))
    with serve(model_config_file=path, model_config_file_poll_wait_seconds=1) as client:
        _file(path, "this is { no config")
        _file(path, _config(_entry(bases, "a"), _entry(bases, "b")))
        wait_until(lambda: _is_up(client, "b"))
        assert _answer(client, "a") == 30.0


def _is_up(client: Client, name: str) -> bool:
    try:
        return client.states(name).get(1) == "AVAILABLE"
    except Exception:
        return False


def _parse(text: str) -> Any:
    from google.protobuf import text_format

    return text_format.Parse(text, wire.ModelServerConfig())


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            'config { name: "m" base_path: "relative/path" }',
            "Expected model m to have an absolute path or URI; got base_path()=relative/path",
        ),
        (
            'config { name: "m" base_path: "/m" logging_config { sampling_config { sampling_rate: 1 } } }',
            "No request-logger-creator provided.",
        ),
        (
            'config { name: "m" base_path: "/m" model_platform: "tflite" }',
            "Unsupported model_platform 'tflite'",
        ),
    ],
)
def test_configurations_that_are_refused(entry: str, expected: str) -> None:
    with pytest.raises(ServingError) as caught:
        read_targets(_parse(f"model_config_list {{ {entry} }}"))
    assert caught.value.code.name == "INVALID_ARGUMENT"
    assert expected in caught.value.message


def test_an_unavailable_version_may_be_labelled_only_by_an_unused_label() -> None:
    def nothing_available(name: str, version: int) -> bool:
        return False

    target = ModelTarget("m", Path("/m"), labels={"live": 2})
    for known, allowed in [({}, True), ({"m": {"live": 2}}, True), ({"m": {"live": 1}}, False)]:
        if allowed:
            assert check_labels([target], nothing_available, known, True) == {"m": {"live": 2}}
        else:
            with pytest.raises(ServingError, match="Request to assign label to version 2 of model m"):
                check_labels([target], nothing_available, known, True)
        with pytest.raises(ServingError):
            check_labels([target], nothing_available, known, False)


def test_copy_of_a_version_keeps_its_answers(bases: Path, tmp_path: Path, serve: Any) -> None:
    copy_version(bases / "a" / "2", tmp_path / "m", "0000007")
    with serve(model_name="m", model_base_path=tmp_path / "m") as client:
        assert client.predict("m", {"x": [0.0]}).model_spec.version.value == 7
