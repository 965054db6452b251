"""Our messages in one process with TensorFlow's, in either import order."""

from __future__ import annotations

import subprocess
import sys

import pytest

_EXCHANGE = """
import numpy as np
request = wire.PredictRequest()
request.model_spec.name = "m"
request.model_spec.version.value = 3
request.inputs["x"].CopyFrom(tensors.encode_tensor(np.arange(4.0)))
other = theirs.PredictRequest.FromString(request.SerializeToString())
assert other.model_spec.version.value == 3
np.testing.assert_array_equal(tf.make_ndarray(other.inputs["x"]), np.arange(4.0))
assert wire.PredictRequest.FromString(other.SerializeToString()) == request
print("exchanged")
"""
_OURS = "from serving.wire import messages as wire, tensors\n"
_TENSORFLOW = "import tensorflow as tf\nfrom tensorflow_serving.apis import predict_pb2 as theirs\n"


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ours_first_then_tensorflow():
    assert _run(_OURS + _TENSORFLOW + _EXCHANGE) == "exchanged\n"


@pytest.mark.slow
def test_tensorflow_first_then_ours():
    assert _run(_TENSORFLOW + _OURS + _EXCHANGE) == "exchanged\n"


def test_the_codec_loads_no_tensorflow():
    loaded = _run(_OURS + "import sys; print(*sorted(sys.modules))").split()
    heavy = {"tensorflow", "keras", "apache_beam", "ml_dtypes", "grpc_tools", "pydantic"}
    assert heavy.isdisjoint(name.split(".")[0] for name in loaded)
