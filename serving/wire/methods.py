"""The gRPC methods of TensorFlow Serving: full path, request and response of each."""

from __future__ import annotations

from typing import Any, NamedTuple

from serving.wire import messages as wire

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
HEALTH_SERVICE = "grpc.health.v1.Health"


class Method(NamedTuple):
    """One unary gRPC method.

    Attributes:
        service: full name of the service.
        name: name of the method inside the service.
        request: message class of the request.
        response: message class of the response.
    """

    service: str
    name: str
    request: Any
    response: Any

    @property
    def path(self) -> str:
        """The path gRPC puts on the wire, such as "/tensorflow.serving.PredictionService/Predict"."""
        return f"/{self.service}/{self.name}"


PREDICT = Method(PREDICTION_SERVICE, "Predict", wire.PredictRequest, wire.PredictResponse)
CLASSIFY = Method(PREDICTION_SERVICE, "Classify", wire.ClassificationRequest, wire.ClassificationResponse)
REGRESS = Method(PREDICTION_SERVICE, "Regress", wire.RegressionRequest, wire.RegressionResponse)
MULTI_INFERENCE = Method(
    PREDICTION_SERVICE, "MultiInference", wire.MultiInferenceRequest, wire.MultiInferenceResponse
)
GET_MODEL_METADATA = Method(
    PREDICTION_SERVICE, "GetModelMetadata", wire.GetModelMetadataRequest, wire.GetModelMetadataResponse
)
GET_MODEL_STATUS = Method(
    MODEL_SERVICE, "GetModelStatus", wire.GetModelStatusRequest, wire.GetModelStatusResponse
)
RELOAD_CONFIG = Method(
    MODEL_SERVICE, "HandleReloadConfigRequest", wire.ReloadConfigRequest, wire.ReloadConfigResponse
)
HEALTH_CHECK = Method(HEALTH_SERVICE, "Check", wire.HealthCheckRequest, wire.HealthCheckResponse)

ALL = (
    PREDICT,
    CLASSIFY,
    REGRESS,
    MULTI_INFERENCE,
    GET_MODEL_METADATA,
    GET_MODEL_STATUS,
    RELOAD_CONFIG,
    HEALTH_CHECK,
)
