"""The Predict RPC: checks in the real server's order with its texts, and the response."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from serving.server.call import Array, Call, check_dtypes, decode_input, make_call
from serving.server.encoding import fill_tensor
from serving.server.errors import failed_precondition, invalid_argument
from serving.server.signature import DEFAULT_NAME, Signature, TensorSpec
from serving.wire import messages as wire


def find_signature(signatures: Mapping[str, Signature], name: str) -> Signature:
    """The signature that a Predict request names; "" means `serving_default`.

    Raises:
        ServingError: FAILED_PRECONDITION.
    """
    wanted = name or DEFAULT_NAME
    if wanted not in signatures:
        raise failed_precondition(f'Serving signature key "{wanted}" not found.')
    return signatures[wanted]


def plan(signature: Signature, request: Any) -> Call:
    """Checks a PredictRequest against the signature and builds the call.

    Raises:
        ServingError: INVALID_ARGUMENT, for the first of: number of inputs, an input that is missing or cannot
            be parsed, an unknown input, an output filter that does not fit, an input of the wrong type.
    """
    _check_count(signature, request.inputs)
    arrays, types = _read_inputs(signature, request.inputs)
    outputs = _filtered(signature, request.output_filter)
    check_dtypes(types)
    return make_call(signature, arrays, outputs)


def respond(
    request: Any,
    signature: Signature,
    version: int,
    call: Call,
    results: Sequence[Array],
    as_content: bool = False,
) -> Any:
    """The PredictResponse: outputs by alias, and which model, signature and version answered."""
    response = wire.PredictResponse()
    spec = response.model_spec
    spec.name, spec.signature_name = request.model_spec.name, signature.name
    spec.version.value = version
    for alias, index, dtype in call.fetch.outputs:
        fill_tensor(response.outputs[alias], results[index], dtype, as_content)
    return response


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _check_count(signature: Signature, inputs: Mapping[str, Any]) -> None:
    sent, wanted = set(inputs), set(signature.inputs)
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({{{_joined(sent)}}}) != "
            f"len({{{_joined(wanted)}}}). Sent extra: {{{_joined(sent - wanted)}}}. "
            f"Missing but required: {{{_joined(wanted - sent)}}}."
        )


def _read_inputs(
    signature: Signature, inputs: Mapping[str, Any]
) -> tuple[dict[str, Array], list[tuple[str, int, int]]]:
    arrays: dict[str, Array] = {}
    types = []
    used = []
    for alias, spec in signature.inputs.items():
        if alias in inputs:
            proto = inputs[alias]
            arrays[alias] = decode_input(alias, proto)
            types.append((spec.tensor_name, spec.dtype, proto.dtype))
            used.append(alias)
        elif alias in signature.defaults:
            arrays[alias] = signature.defaults[alias]
        else:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {spec.tensor_name}) not found in request and no "
                f"default value provided. Inputs expected to be in the request {{{_joined(inputs)}}}, or "
                f"default input alias set: {_joined(signature.defaults)}"
            )
    if len(used) != len(inputs):
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {_joined(used)}, "
            f"request input: {_joined(inputs)}"
        )
    return arrays, types


def _filtered(signature: Signature, output_filter: Iterable[str]) -> dict[str, TensorSpec] | None:
    chosen: dict[str, TensorSpec] = {}
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_joined(signature.outputs)}}}."
            )
        if alias in chosen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        chosen[alias] = signature.outputs[alias]
    return chosen or None
