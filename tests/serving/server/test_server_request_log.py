"""Request logging: formats, sampling, masks, rotation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from server_models import copy_version

from serving.server.request_log import LogSettings, RequestLog
from serving.server.warmup import WARMUP_FILE
from serving.wire import messages as wire
from serving.wire.tensors import encode_tensor


def _call(x: float) -> tuple[Any, Any]:
    request, response = wire.PredictRequest(), wire.PredictResponse()
    request.model_spec.name = response.model_spec.name = "m"
    response.model_spec.version.value = 3
    request.inputs["x"].CopyFrom(encode_tensor(np.array([x], np.float32)))
    request.inputs["user_id"].CopyFrom(encode_tensor(["anna"], "string"))
    response.outputs["y"].CopyFrom(encode_tensor(np.array([x / 2 + 2], np.float32)))
    return request, response


def _log(settings: LogSettings, draws: list[float]) -> RequestLog:
    log = RequestLog(settings, iter(draws).__next__)
    for number in range(len(draws)):
        log.add(*_call(float(number)))
    log.close()
    return log


def _lines(directory: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for p in sorted(directory.glob("*.jsonl")) for line in p.read_text().splitlines()
    ]


def test_a_sample_is_written_without_masked_inputs(tmp_path: Path) -> None:
    settings = LogSettings(tmp_path / "log", sampling_rate=0.5, masked=frozenset({"user_id", "other"}))
    log = _log(settings, [0.1, 0.5, 0.49, 0.9])
    records = _lines(tmp_path / "log")
    assert [(r["inputs"], r["outputs"]) for r in records] == [
        ({"x": [0.0]}, {"y": [2.0]}),
        ({"x": [2.0]}, {"y": [3.0]}),
    ]
    assert (records[0]["model"], records[0]["version"]) == ("m", 3)
    assert log.count.value("m", "OK") == 2
    assert "anna" not in "".join(p.read_text() for p in (tmp_path / "log").iterdir())


def test_the_call_itself_is_not_changed_by_the_mask(tmp_path: Path) -> None:
    log = RequestLog(LogSettings(tmp_path, 1.0, masked=frozenset({"user_id"})))
    request, response = _call(1.0)
    log.add(request, response)
    log.close()
    assert sorted(request.inputs) == ["user_id", "x"]


def test_files_rotate_and_old_ones_go(tmp_path: Path) -> None:
    _log(LogSettings(tmp_path, 1.0, max_bytes=1, max_files=2), [0.0] * 5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["requests-000004.jsonl", "requests-000005.jsonl"]
    _log(LogSettings(tmp_path, 1.0, max_bytes=1, max_files=2), [0.0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["requests-000005.jsonl", "requests-000006.jsonl"]


def test_the_log_of_a_server_can_warm_up_the_next_version(
    embedded: Any, half_plus_two: Path, tmp_path: Path
) -> None:
    flags = {"model_name": "m", "request_log_sampling_rate": 1.0, "request_log_format": "tfrecord"}
    log = tmp_path / "log"
    with embedded(model_base_path=half_plus_two, request_log_dir=log, **flags) as client:
        client.value("m", {"x": [1.0]})
        client.value("m", {"key": [b"a"]}, output="index", signature="look_up")
        client.rest("POST", "/v1/models/m:predict", {"instances": [4.0]})
    (file,) = log.iterdir()
    assert len(list(tf.data.TFRecordDataset(str(file)))) == 3
    version = copy_version(half_plus_two / "1", tmp_path / "next", 2)
    (version / WARMUP_FILE).parent.mkdir()
    shutil.copy(file, version / WARMUP_FILE)
    with embedded(model_base_path=tmp_path / "next", **flags) as client:
        assert client.value("m", {"x": [1.0]}) == [2.5]


def test_a_directory_that_cannot_be_written(embedded: Any, half_plus_two: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with (
        pytest.raises(Exception, match="Cannot write to"),
        embedded(model_name="m", model_base_path=half_plus_two, request_log_dir=tmp_path / "file"),
    ):
        pass
