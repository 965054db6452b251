"""The Classify, Regress and MultiInference RPCs: examples in, labels, scores or values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from serving.server.call import Array, Call, check_dtypes
from serving.server.errors import failed_precondition, invalid_argument, unimplemented
from serving.server.signature import (
    CLASSIFY_METHOD,
    DEFAULT_NAME,
    REGRESS_METHOD,
    Fetch,
    Signature,
    TensorSpec,
)
from serving.wire import messages as wire

Kind = Literal["classification", "regression"]
_METHODS: dict[Kind, str] = {"classification": CLASSIFY_METHOD, "regression": REGRESS_METHOD}
_STRING = 7


@dataclass(frozen=True)
class Task:
    """One signature of an inference request.

    Attributes:
        kind: what the answer is.
        signature: what is run.
        input: the tensor that takes serialized examples.
        outputs: role ("classes", "scores", "outputs") -> tensor, those that the signature has.
    """

    kind: Kind
    signature: Signature
    input: TensorSpec
    outputs: Mapping[str, TensorSpec]


def find_task(kind: Kind, signatures: Mapping[str, Signature], name: str, check_method: bool) -> Task:
    """The task of a Classify or Regress request.

    Args:
        kind: which RPC.
        signatures: of the model.
        name: signature name of the request; "" means `serving_default`.
        check_method: refuse signatures whose method_name is another (--enable_signature_method_name_check).

    Raises:
        ServingError: INVALID_ARGUMENT or FAILED_PRECONDITION: the signature does not fit.
    """
    wanted = name or DEFAULT_NAME
    if wanted not in signatures:
        raise invalid_argument(f"No signature was found with the name: {wanted}")
    return make_task(kind, signatures[wanted], check_method)


def make_task(kind: Kind, signature: Signature, check_method: bool) -> Task:
    """Checks that a signature can answer this kind of request; see `find_task`."""
    if check_method and signature.method_name != _METHODS[kind]:
        raise invalid_argument(
            f"Expected {kind} signature method_name to be {_METHODS[kind]}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    roles = _classification_outputs if kind == "classification" else _regression_outputs
    count_error = _output_count_error(kind, len(signature.outputs))
    if count_error:
        raise invalid_argument(count_error)
    if "inputs" not in signature.inputs:
        raise failed_precondition(f"No {kind} inputs found in SignatureDef: {signature.proto}")
    return Task(kind, signature, signature.inputs["inputs"], roles(signature))


def make_call(tasks: Sequence[Task], request_input: Any) -> tuple[Call, int]:
    """The one call that answers all tasks, and the number of examples in it.

    Raises:
        ServingError: INVALID_ARGUMENT without examples.
    """
    examples = serialized_examples(request_input)
    spec = tasks[0].input
    check_dtypes([(spec.tensor_name, spec.dtype, _STRING)])
    array = np.empty(len(examples), dtype=object)
    array[:] = examples
    tensors = sorted({spec.tensor_name for task in tasks for spec in task.outputs.values()})
    batchable = all(task.signature.batchable for task in tasks)
    return Call((spec.tensor_name,), (array,), Fetch(tuple(tensors), ()), batchable), len(examples)


def serialized_examples(request_input: Any) -> list[bytes]:
    """The examples of an `Input`, each with the shared context put before it.

    Raises:
        ServingError: INVALID_ARGUMENT "Input is empty."
    """
    kind = request_input.WhichOneof("kind")
    context = b""
    if kind == "example_list_with_context":
        context = request_input.example_list_with_context.context.SerializeToString()
    examples = getattr(request_input, kind).examples if kind else ()
    if not examples:
        raise invalid_argument("Input is empty.")
    return [context + example.SerializeToString() for example in examples]


def make_result(task: Task, count: int, by_tensor: Mapping[str, Array]) -> Any:
    """The ClassificationResult or RegressionResult of `count` examples.

    Raises:
        ServingError: INVALID_ARGUMENT: the model's outputs have another shape or type.
    """
    make = classification_result if task.kind == "classification" else regression_result
    return make(task, count, by_tensor)


def classification_result(task: Task, count: int, by_tensor: Mapping[str, Array]) -> Any:
    """The ClassificationResult of `count` examples.

    Raises:
        ServingError: INVALID_ARGUMENT: the model's outputs are not [examples, classes].
    """
    classes, scores = (
        by_tensor[task.outputs[role].tensor_name] if role in task.outputs else None
        for role in ("classes", "scores")
    )
    for role, array, kind, type_name in (
        ("classes", classes, "O", "DT_STRING"),
        ("scores", scores, "f", "DT_FLOAT"),
    ):
        if array is not None:
            _check_matrix(role, array, kind, type_name, count)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            "Tensors class and score should match in dim_size(1). Got "
            f"{classes.shape[1]} vs. {scores.shape[1]}"
        )
    result = wire.ClassificationResult()
    width = next(array.shape[1] for array in (classes, scores) if array is not None)
    for row in range(count):
        entry = result.classifications.add()
        for column in range(width):
            one = entry.classes.add()
            if classes is not None:
                one.label = _label(classes[row, column])
            if scores is not None:
                one.score = scores[row, column]
    return result


def regression_result(task: Task, count: int, by_tensor: Mapping[str, Array]) -> Any:
    """The RegressionResult of `count` examples.

    Raises:
        ServingError: INVALID_ARGUMENT: the model's output is not one float an example.
    """
    array = by_tensor[task.outputs["outputs"].tensor_name]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(array)}"
        )
    if array.shape[0] != count:
        raise invalid_argument(
            f"Input batch size did not match output batch size: {count} vs. {array.shape[0]}"
        )
    if array.dtype != np.float32:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {_type_name(array)}")
    result = wire.RegressionResult()
    for value in array.ravel().tolist():
        result.regressions.add(value=value)
    return result


def multi_tasks(request: Any, signatures: Mapping[str, Signature], check_method: bool) -> list[Task]:
    """The tasks of a MultiInferenceRequest: one model, one input tensor, each signature once.

    Raises:
        ServingError: INVALID_ARGUMENT or UNIMPLEMENTED: the tasks do not fit together.
    """
    tasks: list[Task] = []
    for entry in request.tasks:
        if not entry.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if entry.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid_argument(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        name = entry.model_spec.signature_name or DEFAULT_NAME
        if any(task.signature.name == name for task in tasks):
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        if name not in signatures:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        task = make_task(_kind_of(entry.method_name), signatures[name], check_method)
        if tasks and task.input.tensor_name != tasks[0].input.tensor_name:
            raise invalid_argument("Input tensor must be the same for all Signatures.")
        tasks.append(task)
    return tasks


def _kind_of(method: str) -> Kind:
    for kind, name in _METHODS.items():
        if method == name:
            return kind
    raise unimplemented(f"Unsupported signature method_name: {method}")


def _output_count_error(kind: Kind, count: int) -> str | None:
    if kind == "classification":
        return None if count in (1, 2) else f"Expected one or two output Tensors, found {count}"
    return None if count == 1 else "Expected one output Tensor."


def _classification_outputs(signature: Signature) -> dict[str, TensorSpec]:
    roles: tuple[str, ...] = ("classes", "scores")
    found = {role: signature.outputs[role] for role in roles if role in signature.outputs}
    if not found:
        raise failed_precondition(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature.proto}"
        )
    return found


def _regression_outputs(signature: Signature) -> dict[str, TensorSpec]:
    if "outputs" not in signature.outputs:
        raise failed_precondition(f"No regression outputs found in SignatureDef: {signature.proto}")
    return {"outputs": signature.outputs["outputs"]}


def _check_matrix(role: str, array: Array, kind: str, type_name: str, count: int) -> None:
    if array.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if array.dtype.kind != kind or (kind == "f" and array.dtype != np.float32):
        raise invalid_argument(f"Expected {role} Tensor of {type_name}. Got: {_type_name(array)}")
    if array.shape[0] != count:
        raise invalid_argument(f"Expected {role} output batch size of {count}. Got: {array.shape[0]}")


def _label(value: bytes) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError:
        raise invalid_argument(f"class label {value!r} is not valid UTF-8") from None


def _shape(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _type_name(array: Array) -> str:
    names = {"O": "STRING", "float32": "FLOAT", "float64": "DOUBLE", "float16": "HALF"}
    by_kind = names.get(array.dtype.kind, array.dtype.name.upper())
    return f"DT_{names.get(array.dtype.name, by_kind)}"
