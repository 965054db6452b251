"""A client that nobody here wrote: TensorFlow Serving's own generated stubs."""

from __future__ import annotations

import http.client
import json
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)


def fill_spec(
    spec: Any, name: str | None, signature: str = "", version: int | None = None, label: str = ""
) -> None:
    if name is not None:
        spec.name = name
    if signature:
        spec.signature_name = signature
    if version is not None:
        spec.version.value = version
    if label:
        spec.version_label = label


def predict_request(
    name: str | None,
    inputs: dict[str, Any],
    signature: str = "",
    version: int | None = None,
    label: str = "",
    output_filter: tuple[str, ...] = (),
) -> Any:
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    if name is not None:
        fill_spec(request.model_spec, name, signature, version, label)
    for alias, value in inputs.items():
        proto = value if hasattr(value, "tensor_shape") else tf.make_tensor_proto(value)
        request.inputs[alias].CopyFrom(proto)
    return request


def example(**features: float) -> Any:
    result = tf.train.Example()
    for name, value in features.items():
        result.features.feature[name].float_list.value.append(value)
    return result


def make_input(examples: Any) -> Any:
    if isinstance(examples, input_pb2.Input):
        return examples
    wire = input_pb2.Input()
    wire.example_list.examples.extend([example(**features) for features in examples])
    return wire


class Client:
    """Calls by keyword; errors are `grpc.RpcError`. `server` is the embedded server itself, in its tests."""

    def __init__(self, address: str, server: Any = None, rest_port: int = 0):
        self.rest_port = rest_port
        self.address = address
        self.server = server
        self.channel = grpc.insecure_channel(address)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def close(self) -> None:
        self.channel.close()

    def rest(self, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, bytes]:
        """One REST request; a body that is not bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=20)
        try:
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            self.headers = dict(response.getheaders())
            return response.status, response.read()
        finally:
            connection.close()

    def predict(self, name: str | None, inputs: dict[str, Any], timeout: float = 20, **spec: Any) -> Any:
        return self.prediction.Predict(predict_request(name, inputs, **spec), timeout=timeout)

    def value(self, name: str, inputs: dict[str, Any], output: str = "y", **spec: Any) -> list[Any]:
        return np.asarray(tf.make_ndarray(self.predict(name, inputs, **spec).outputs[output])).tolist()

    def infer(self, method: str, name: str | None, examples: Any, **spec: Any) -> Any:
        """Classify or Regress; `examples` is a list of features dicts or an Input."""
        kind = {
            "Classify": classification_pb2.ClassificationRequest,
            "Regress": regression_pb2.RegressionRequest,
        }
        request = kind[method](input=make_input(examples))
        if name is not None:
            fill_spec(request.model_spec, name, **spec)
        return getattr(self.prediction, method)(request, timeout=20)

    def multi(self, tasks: list[tuple[str, str, str]], examples: Any) -> Any:
        """MultiInference; tasks are (model, signature, "classify" or "regress")."""
        request = inference_pb2.MultiInferenceRequest(input=make_input(examples))
        for name, signature, method in tasks:
            task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
            fill_spec(task.model_spec, name, signature)
        return self.prediction.MultiInference(request, timeout=20)

    def reload(self, text: str) -> Any:
        """HandleReloadConfigRequest with a ModelServerConfig in text format."""
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(text, request.config)
        return self.models.HandleReloadConfigRequest(request, timeout=60)

    def metadata(self, name: str | None, fields: tuple[str, ...] = ("signature_def",), **spec: Any) -> Any:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        if name is not None:
            fill_spec(request.model_spec, name, **spec)
        return self.prediction.GetModelMetadata(request, timeout=20)

    def status(self, name: str | None, **spec: Any) -> list[Any]:
        request = get_model_status_pb2.GetModelStatusRequest()
        if name is not None:
            fill_spec(request.model_spec, name, **spec)
        return list(self.models.GetModelStatus(request, timeout=20).model_version_status)

    def states(self, name: str) -> dict[int, str]:
        from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

        return {s.version: ModelVersionStatus.State.Name(s.state) for s in self.status(name)}


def failure(call: Any, *args: Any, **kwargs: Any) -> tuple[str, str]:
    """The (code name, details) that a call fails with."""
    try:
        result = call(*args, **kwargs)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    raise AssertionError(f"expected a failure, got {result}")
