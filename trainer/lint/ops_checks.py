"""Checks of the ops in the graph and in its functions."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer.lint.findings import Finding
from trainer.lint.ops import registered_ops
from trainer.lint.saved_model import Node, SavedModel, read_saved_model

#: Registered everywhere, but their kernels call back into the Python process that built the graph.
_PYTHON_OPS = frozenset({"EagerPyFunc", "PyFunc", "PyFuncStateless"})
#: Steps of optimizers, and the ops that read training data.
_TRAINING_OP = re.compile(
    r"(Resource)?(Sparse)?Apply(Ada|Adagrad|Adam|AdaMax|AddSign|Centered|Ftrl|GradientDescent|Keras|Momentum"
    r"|PowerSign|Proximal|RMSProp)\w*|Iterator(V2|GetNext\w*)?|MakeIterator|OneShotIterator|AnonymousIterator\w*"
)
#: Change a variable; in a served signature that is a state which requests share.
_ASSIGNING_OP = re.compile(
    r"Assign(Add|Sub)?(VariableOp)?|(Resource)?Scatter(Nd)?(Update|Add|Sub|Mul|Div|Min|Max)"
)
_SHOWN = 3


def unregistered_ops(saved_model_dir: Path | str, serving: str = "2.20") -> list[str]:
    """The ops of a SavedModel that a stock TensorFlow Serving does not know.

    One of them anywhere is too many: functions that no signature calls are looked at too.

    Args:
        saved_model_dir: The folder that holds `saved_model.pb`.
        serving: TensorFlow Serving's release, see :func:`trainer.lint.ops.releases`.

    Returns:
        Their names, sorted; empty = all ops are known.

    Raises:
        FileNotFoundError: if the folder holds no SavedModel.
        ValueError: if the file is broken or the release unknown.
    """
    return sorted(_unregistered(read_saved_model(Path(saved_model_dir)), serving))


def check_registered(model: SavedModel, serving: str, besides: Sequence[str] = ()) -> Iterator[Finding]:
    """Every op is registered by the server, by its release or besides."""
    for op, nodes in sorted(_unregistered(model, serving).items()):
        if any(op == name or (name.endswith(">") and op.startswith(name)) for name in besides):
            yield Finding(
                "note",
                "added-op",
                _places(nodes),
                f"TensorFlow Serving {serving} has no op {op!r} of its own; only a server that was built with it loads "
                "the model.",
            )
            continue
        yield Finding(
            "error",
            "unregistered-op",
            _places(nodes),
            f"TensorFlow Serving {serving} has no op {op!r}: it does not load the model, or fails its "
            "requests. Compose it from ops of core TensorFlow, or serve with a release that has it. If your server was "
            "built with it, say so: export.server_ops, or --server-op.",
        )


def check_python_ops(model: SavedModel) -> Iterator[Finding]:
    """No op needs a Python interpreter."""
    found = [node for node in model.nodes() if node.proto.op in _PYTHON_OPS]
    if found:
        yield Finding(
            "error",
            "python-op",
            _places(found),
            f"{found[0].proto.op} calls Python (tf.py_function, tf.numpy_function), which a server does not "
            "run: requests that reach it fail. Write it with TensorFlow ops.",
        )


def check_training_ops(model: SavedModel) -> Iterator[Finding]:
    """Nothing of the training is left in the graph."""
    found = [node for node in model.nodes() if _TRAINING_OP.fullmatch(node.proto.op)]
    if found:
        names = ", ".join(sorted({node.proto.op for node in found}))
        yield Finding(
            "warning",
            "training-op",
            _places(found),
            f"ops of training are in the file: {names}. Export a module with the served functions only.",
        )


def check_assigning_ops(model: SavedModel) -> Iterator[Finding]:
    """No request changes a variable."""
    found = [node for node in model.served_nodes() if _ASSIGNING_OP.fullmatch(node.proto.op)]
    if found:
        names = ", ".join(sorted({node.proto.op for node in found}))
        yield Finding(
            "warning",
            "assigns-variable",
            _places(found),
            f"a signature changes variables ({names}), so answers depend on earlier requests. "
            "Call layers with training=False and keep counters out of signatures.",
        )


def _unregistered(model: SavedModel, serving: str) -> dict[str, list[Node]]:
    known = registered_ops(serving)
    # A function can be called by its own name as an op.
    functions = {function.signature.name for function in model.graph.graph_def.library.function}
    found: dict[str, list[Node]] = defaultdict(list)
    for node in model.nodes():
        if node.proto.op not in known and node.proto.op not in functions:
            found[node.proto.op].append(node)
    return found


def _places(nodes: list[Node]) -> str:
    shown = ", ".join(node.place for node in nodes[:_SHOWN])
    return shown if len(nodes) <= _SHOWN else f"{shown} and {len(nodes) - _SHOWN} more"
