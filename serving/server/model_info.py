"""GetModelStatus and GetModelMetadata."""

from __future__ import annotations

from typing import Any

from serving.server.errors import invalid_argument, not_found
from serving.server.model import LoadedModel
from serving.server.states import StateMonitor
from serving.wire import messages as wire

_KNOWN_FIELD = "signature_def"


def model_status(monitor: StateMonitor, request: Any) -> Any:
    """The GetModelStatusResponse: all versions ever seen, highest first, or the one asked for.

    A version label in the request is ignored, as the real server ignores it.

    Raises:
        ServingError: INVALID_ARGUMENT without a model spec; NOT_FOUND for an unknown model or version.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    name = request.model_spec.name
    versions = monitor.versions(name)
    if request.model_spec.HasField("version"):
        wanted = request.model_spec.version.value
        versions = [(number, state) for number, state in versions if number == wanted]
        if not versions:
            raise not_found(f"Could not find version {wanted} of model {name}")
    if not versions:
        raise not_found(f"Could not find any versions of model {name}")
    response = wire.GetModelStatusResponse()
    for number, state in versions:
        entry = response.model_version_status.add(version=number, state=int(state.state))
        entry.status.error_code = state.error.number if state.error else 0
        entry.status.error_message = state.error.message if state.error else ""
    return response


def check_metadata_request(request: Any) -> None:
    """Checks a GetModelMetadataRequest before a model is looked up.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != _KNOWN_FIELD:
            raise invalid_argument(f"Metadata field {field} is not supported")


def model_metadata(name: str, version: int, model: LoadedModel) -> Any:
    """The GetModelMetadataResponse: all signatures of a version, packed as the real server packs them."""
    response = wire.GetModelMetadataResponse()
    response.model_spec.name = name
    response.model_spec.version.value = version
    response.metadata[_KNOWN_FIELD].CopyFrom(wire.pack_signature_def(signature_map(model)))
    return response


def signature_map(model: LoadedModel) -> Any:
    """All signatures of a model as a `SignatureDefMap`."""
    result = wire.SignatureDefMap()
    for name, signature in model.signatures.items():
        result.signature_def[name].MergeFromString(signature.proto.SerializeToString())
    return result
