"""Clients that nobody here wrote, each in an environment of its own, against the embedded server."""

from __future__ import annotations

import json
import shutil
import subprocess
import venv
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

OVMS = """
import json, sys
import numpy as np
import ovmsclient
grpc_url, http_url = sys.argv[1:]
out = {}
for kind, client in (("grpc", ovmsclient.make_grpc_client(grpc_url)), ("http", ovmsclient.make_http_client(http_url))):
    status = client.get_model_status("half", model_version=1)
    metadata = client.get_model_metadata("half", model_version=1)
    if kind == "http":  # this client hands out the server's JSON as it is
        inputs = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
    else:
        inputs = metadata["inputs"]
    answer = client.predict({"x": np.array([1.0, 5.0], np.float32)}, "half", model_version=1)
    try:
        client.predict({"x": np.array([1.0], np.float32)}, "no", model_version=1)
        error = None
    except ovmsclient.tfs_compat.base.errors.ModelNotFoundError as caught:
        error = type(caught).__name__
    out[kind] = {
        "state": status[1]["state"],
        "inputs": sorted(inputs),
        "answer": np.asarray(answer).tolist(),
        "error": error,
    }
print(json.dumps(out))
"""

NODE = """
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const fs = require('fs');
const [address, descriptors] = process.argv.slice(2);
const definition = loader.loadFileDescriptorSetFromBuffer(fs.readFileSync(descriptors), {keepCase: true});
const serving = grpc.loadPackageDefinition(definition).tensorflow.serving;
const client = new serving.PredictionService(address, grpc.credentials.createInsecure());
const request = (name) => ({
  model_spec: {name},
  // Loaded from descriptors, maps are lists of entries.
  inputs: [{key: 'x', value: {dtype: 'DT_FLOAT', tensor_shape: {dim: [{size: 2}]}, float_val: [1, 5]}}],
});
client.Predict(request('half'), (error, response) => {
  if (error) throw error;
  client.Predict(request('no'), (refused) => {
    const y = response.outputs.find((o) => o.key === 'y').value;
    console.log(JSON.stringify({answer: y.float_val, code: refused.code, details: refused.details}));
    client.close();
  });
});
"""


def _run(*command: str, cwd: Path | None = None) -> str:
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_ovmsclient(serve: Any, half_plus_two: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    try:
        _run(python, "-m", "pip", "install", "--quiet", "ovmsclient==2023.1", "protobuf<8")
    except AssertionError as error:
        pytest.skip(f"ovmsclient cannot be installed here: {error}")
    with serve(model_name="half", model_base_path=half_plus_two) as client:
        text = _run(python, "-c", OVMS, client.address, f"127.0.0.1:{client.rest_port}")
    for kind, got in json.loads(text.splitlines()[-1]).items():
        assert got == {
            "state": "AVAILABLE",
            "inputs": ["x"],
            "answer": [2.5, 4.5],
            "error": "ModelNotFoundError",
        }, kind


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs node and npm")
def test_grpc_js(serve: Any, half_plus_two: Path, tmp_path: Path) -> None:
    try:
        _run(
            "npm",
            "install",
            "--silent",
            "--no-fund",
            "@grpc/grpc-js@1",
            "@grpc/proto-loader@0.8",
            cwd=tmp_path,
        )
    except AssertionError as error:
        pytest.skip(f"@grpc/grpc-js cannot be installed here: {error}")
    (tmp_path / "descriptors.pb").write_bytes(_descriptors())
    (tmp_path / "client.js").write_text(NODE)
    with serve(model_name="half", model_base_path=half_plus_two) as client:
        text = _run("node", "client.js", client.address, "descriptors.pb", cwd=tmp_path)
    assert json.loads(text) == {
        "answer": [2.5, 4.5],
        "code": 5,
        "details": "Servable not found for request: Latest(no)",
    }


def _descriptors() -> bytes:
    """The real API's messages, from the modules of tensorflow-serving-api, and the service with one method."""
    from google.protobuf import descriptor_pb2
    from tensorflow_serving.apis import predict_pb2

    result = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()

    def add(file: Any) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        file.CopyToProto(result.file.add())

    add(predict_pb2.DESCRIPTOR)
    service_file = result.file.add(name="service.proto", package="tensorflow.serving", syntax="proto3")
    service_file.dependency.append(predict_pb2.DESCRIPTOR.name)
    service_file.service.add(name="PredictionService").method.add(
        name="Predict",
        input_type=".tensorflow.serving.PredictRequest",
        output_type=".tensorflow.serving.PredictResponse",
    )
    return result.SerializeToString()
