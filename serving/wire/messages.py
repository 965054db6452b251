"""The messages of TensorFlow Serving's wire protocol, as classes that need no TensorFlow.

Each is field-compatible with the message of the same name in TensorFlow or TensorFlow Serving: what one side
serializes the other parses. The classes are made at run time from descriptors, so for a type checker they
are `Any`; `serving.wire.tensors` and the client above them are where types begin.
"""

from __future__ import annotations

from typing import Any

from serving.wire._pool import message

# Tensors and examples.
TensorProto: Any = message("TensorProto")
TensorShapeProto: Any = message("TensorShapeProto")
Example: Any = message("Example")
Feature: Any = message("Feature")
Input: Any = message("Input")
ExampleList: Any = message("ExampleList")
ExampleListWithContext: Any = message("ExampleListWithContext")

# PredictionService.
ModelSpec: Any = message("ModelSpec")
PredictRequest: Any = message("PredictRequest")
PredictResponse: Any = message("PredictResponse")
ClassificationRequest: Any = message("ClassificationRequest")
ClassificationResponse: Any = message("ClassificationResponse")
ClassificationResult: Any = message("ClassificationResult")
RegressionRequest: Any = message("RegressionRequest")
RegressionResponse: Any = message("RegressionResponse")
RegressionResult: Any = message("RegressionResult")
MultiInferenceRequest: Any = message("MultiInferenceRequest")
MultiInferenceResponse: Any = message("MultiInferenceResponse")
InferenceTask: Any = message("InferenceTask")
InferenceResult: Any = message("InferenceResult")
GetModelMetadataRequest: Any = message("GetModelMetadataRequest")
GetModelMetadataResponse: Any = message("GetModelMetadataResponse")
SignatureDefMap: Any = message("SignatureDefMap")
SignatureDef: Any = message("SignatureDef")
TensorInfo: Any = message("TensorInfo")

# ModelService.
GetModelStatusRequest: Any = message("GetModelStatusRequest")
GetModelStatusResponse: Any = message("GetModelStatusResponse")
ModelVersionStatus: Any = message("ModelVersionStatus")
StatusProto: Any = message("StatusProto")
ReloadConfigRequest: Any = message("ReloadConfigRequest")
ReloadConfigResponse: Any = message("ReloadConfigResponse")
ModelServerConfig: Any = message("ModelServerConfig")
ModelConfigList: Any = message("ModelConfigList")
ModelConfig: Any = message("ModelConfig")
ServableVersionPolicy: Any = message("FileSystemStoragePathSourceConfig.ServableVersionPolicy")

# Files a server reads, and the standard health protocol.
PredictionLog: Any = message("PredictionLog")
BatchingParameters: Any = message("BatchingParameters")
SSLConfig: Any = message("SSLConfig")
MonitoringConfig: Any = message("MonitoringConfig")
HealthCheckRequest: Any = message("HealthCheckRequest")
HealthCheckResponse: Any = message("HealthCheckResponse")

# google.protobuf.Any of the same private pool: what GetModelMetadataResponse.metadata holds.
AnyProto: Any = message("Any", package="google.protobuf")

# The type URL under which TensorFlow Serving packs the signatures of a model.
SIGNATURE_DEF_MAP_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"


def pack_signature_def(signatures: Any) -> Any:
    """Returns a SignatureDefMap packed as TensorFlow Serving packs it, for `metadata["signature_def"]`."""
    return AnyProto(type_url=SIGNATURE_DEF_MAP_URL, value=signatures.SerializeToString())


def unpack_signature_def(packed: Any) -> Any:
    """Returns the SignatureDefMap inside a packed one.

    Raises:
        ValueError: it is not a SignatureDefMap.
    """
    if packed.type_url.rsplit("/", 1)[-1] != SIGNATURE_DEF_MAP_URL.rsplit("/", 1)[-1]:
        raise ValueError(f"metadata field is a {packed.type_url!r}, expected {SIGNATURE_DEF_MAP_URL!r}")
    return SignatureDefMap.FromString(packed.value)
