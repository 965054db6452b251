"""What a signature of a SavedModel takes and gives, in plain Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

DEFAULT_NAME = "serving_default"
PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a signature.

    Attributes:
        tensor_name: the graph's tensor, e.g. "x:0".
        dtype: the DataType number, e.g. 1 for float.
        rank: number of dimensions, None when unknown.
        first_dim: size of dimension 0; None when it is free, unknown, or there is none.
    """

    tensor_name: str
    dtype: int
    rank: int | None
    first_dim: int | None


@dataclass(frozen=True)
class Fetch:
    """What to take from a run, worked out once a set of outputs.

    Attributes:
        tensors: tensor names, each once and sorted: the same outputs in another order are the same run.
        outputs: (alias, index into `tensors`, DataType number) of each output.
    """

    tensors: tuple[str, ...]
    outputs: tuple[tuple[str, int, int], ...]

    @classmethod
    def of(cls, specs: Mapping[str, TensorSpec]) -> Fetch:
        """The fetch of these outputs, by alias."""
        tensors = tuple(sorted({spec.tensor_name for spec in specs.values()}))
        outputs = tuple((alias, tensors.index(spec.tensor_name), spec.dtype) for alias, spec in specs.items())
        return cls(tensors, outputs)


@dataclass(frozen=True)
class Signature:
    """One signature of a model, its tensors keyed by alias.

    Attributes:
        name: the key in the SavedModel, e.g. "serving_default".
        method_name: e.g. "tensorflow/serving/predict"; TensorFlow 2 writes that for every signature.
        inputs: alias -> tensor.
        outputs: alias -> tensor.
        defaults: alias -> the array used when a request leaves the input out.
        proto: the `SignatureDef` itself.
    """

    name: str
    method_name: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    defaults: dict[str, npt.NDArray[Any]]
    proto: Any = field(repr=False, compare=False)

    @cached_property
    def feed_aliases(self) -> tuple[str, ...]:
        """Input aliases in the order of their tensors' names, each tensor once."""
        by_tensor = {spec.tensor_name: alias for alias, spec in self.inputs.items()}
        return tuple(by_tensor[name] for name in sorted(by_tensor))

    @cached_property
    def feeds(self) -> tuple[str, ...]:
        """Tensor names of the inputs, sorted."""
        return tuple(self.inputs[alias].tensor_name for alias in self.feed_aliases)

    @cached_property
    def fetch_all(self) -> Fetch:
        """The fetch of all outputs."""
        return Fetch.of(self.outputs)

    @cached_property
    def batchable(self) -> bool:
        """Whether rows of several requests may be joined: every tensor has a free first dimension."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(
            s.rank is not None and s.rank > 0 and s.first_dim is None for s in specs
        )


def _spec(info: Any) -> TensorSpec:
    shape = info.tensor_shape
    rank = None if shape.unknown_rank else len(shape.dim)
    first = shape.dim[0].size if rank else -1
    return TensorSpec(info.name, info.dtype, rank, first if first >= 0 else None)


def read_signatures(meta_graph: Any) -> dict[str, Signature]:
    """Reads all signatures of a `MetaGraphDef`, those of the loader itself (`__saved_model_*`) included.

    Returns:
        Signatures by name, in the order of their names.
    """
    result = {}
    for name in sorted(meta_graph.signature_def):
        proto = meta_graph.signature_def[name]
        result[name] = Signature(
            name=name,
            method_name=proto.method_name,
            inputs={alias: _spec(proto.inputs[alias]) for alias in sorted(proto.inputs)},
            outputs={alias: _spec(proto.outputs[alias]) for alias in sorted(proto.outputs)},
            defaults={alias: np.asarray(tf.make_ndarray(t)) for alias, t in sorted(proto.defaults.items())},
            proto=proto,
        )
    return result


def dtype_name(number: int) -> str:
    """TensorFlow's short name of a data type, as its error texts use it: float, double, half, string ..."""
    try:
        name = str(tf.as_dtype(number).name)
    except TypeError:
        return f"unknown dtype enum ({number})"
    return {"float32": "float", "float64": "double", "float16": "half"}.get(name, name)
