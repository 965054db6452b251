"""GetModelMetadata, GetModelStatus and the health service."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from server_client import Client, failure
from tensorflow_serving.apis import get_model_metadata_pb2


def test_metadata_lists_all_signatures(half: Client) -> None:
    response = half.metadata("half")
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert (response.model_spec.name, response.model_spec.version.value) == ("half", 1)
    assert response.model_spec.signature_name == ""
    two = signatures.signature_def["two"]
    assert sorted(two.inputs) == ["w", "x"]
    assert two.inputs["x"].tensor_shape.dim[0].size == -1
    assert two.method_name == "tensorflow/serving/predict"
    assert "__saved_model_init_op" in signatures.signature_def


def test_metadata_refusals(half: Client) -> None:
    assert failure(half.metadata, None) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    assert failure(half.metadata, "half", ()) == (
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    assert failure(half.metadata, "half", ("foo",)) == (
        "INVALID_ARGUMENT",
        "Metadata field foo is not supported",
    )
    assert failure(half.metadata, "no")[1] == "Servable not found for request: Latest(no)"


def test_status(half: Client) -> None:
    assert half.states("half") == {1: "AVAILABLE"}
    (status,) = half.status("half", version=1)
    assert (status.status.error_code, status.status.error_message) == (0, "")


def test_status_refusals(half: Client) -> None:
    assert failure(half.status, None) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    assert failure(half.status, "no") == ("NOT_FOUND", "Could not find any versions of model no")
    assert failure(half.status, "half", version=3) == ("NOT_FOUND", "Could not find version 3 of model half")


def test_status_ignores_a_label(half: Client) -> None:
    assert len(half.status("half", label="never assigned")) == 1


@pytest.mark.parametrize("service", ["", "ModelService", "PredictionService"])
def test_health_names(half: Client, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(half.channel)
    response = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    assert response.status == health_pb2.HealthCheckResponse.SERVING
    watched = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=10)
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    watched.cancel()


def test_health_of_an_unknown_name(half: Client) -> None:
    stub = health_pb2_grpc.HealthStub(half.channel)
    request = health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService")
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(request, timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
