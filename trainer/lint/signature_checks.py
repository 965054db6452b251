"""Checks of what callers see: can the server batch every signature, and are all inputs bounded?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from trainer.lint.findings import Finding
from trainer.lint.saved_model import SERVE_TAG, SavedModel

DEFAULT_SIGNATURE = "serving_default"
#: Names that Keras and TensorFlow give when nobody chose one.
_INHERITED_NAME = re.compile(r"(input|inputs|output|keras_tensor|dense|activation|args|unknown)(_\d+)*")


def check_signatures_exist(model: SavedModel) -> Iterator[Finding]:
    """The server finds a graph and a default signature."""
    if not any(SERVE_TAG in tags for tags in model.tags):
        found = " and ".join(str(sorted(tags)) for tags in model.tags)
        yield Finding(
            "error",
            "serve-tag",
            "saved_model.pb",
            f"the server loads the graph with the tag {SERVE_TAG!r}, found only {found}",
        )
    if not model.signatures:
        yield Finding(
            "error",
            "no-signature",
            "saved_model.pb",
            "there is no signature to call: pass `signatures=` to tf.saved_model.save",
        )
    elif DEFAULT_SIGNATURE not in model.signatures:
        yield Finding(
            "note",
            "no-default-signature",
            "saved_model.pb",
            f"callers that name no signature get {DEFAULT_SIGNATURE!r}, which is not among "
            + ", ".join(model.signatures),
        )


def check_batchable(model: SavedModel) -> Iterator[Finding]:
    """The first dimension of all inputs and outputs is the batch and has no fixed size.

    TensorFlow Serving puts requests into one batch by joining inputs along their first dimension and cutting
    outputs along theirs, so a scalar or a fixed size in one tensor fails every batched request.
    """
    for name, signature in model.signatures.items():
        for side, tensors in (("input", signature.inputs), ("output", signature.outputs)):
            for key in sorted(tensors):
                problem = _batch_problem(tensors[key].tensor_shape)
                if problem:
                    yield Finding(
                        "error",
                        "unbatchable",
                        f"{name}: {side} {key}",
                        f"{problem}, so the server cannot batch this signature. Expected a shape that starts "
                        "with an unknown dimension, such as [None] for a scalar value.",
                    )


def check_unbounded(model: SavedModel) -> Iterator[Finding]:
    """Names the inputs of which a caller may send any amount for one row."""
    for name, signature in model.signatures.items():
        wide = [key for key in sorted(signature.inputs) if _is_unbounded(signature.inputs[key].tensor_shape)]
        if wide:
            yield Finding(
                "note",
                "unbounded-input",
                f"{name}: {', '.join(wide)}",
                "a request may be of any width here: cut it in the graph, or limit messages at the server",
            )


def check_names(model: SavedModel) -> Iterator[Finding]:
    """Names that callers write down were chosen by someone."""
    for name, signature in model.signatures.items():
        inherited = [
            key
            for tensors in (signature.inputs, signature.outputs)
            for key in sorted(tensors)
            if _INHERITED_NAME.fullmatch(key)
        ]
        if inherited:
            yield Finding(
                "note",
                "inherited-name",
                f"{name}: {', '.join(inherited)}",
                "these names come from layers and change with them: choose names that callers can rely on",
            )


def _batch_problem(shape: Any) -> str:
    if shape.unknown_rank:
        return "its rank is unknown"
    if not shape.dim:
        return "it is a scalar"
    if shape.dim[0].size != -1:
        return f"its first dimension is fixed at {shape.dim[0].size}"
    return ""


def _is_unbounded(shape: Any) -> bool:
    return bool(shape.unknown_rank) or any(dim.size == -1 for dim in shape.dim[1:])
