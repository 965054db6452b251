"""The signatures of the served model: names, inputs, and their twins over serialized tf.train.Examples."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer import contract
from trainer.features import FeatureSpecs
from trainer.keras_compat import tf
from trainer.listing import Tensors
from trainer.model import TwoTowerModel
from trainer.rules.list_rules import NEUTRAL
from trainer.serving_model import ServingModel, user_input_specs


@dataclass(frozen=True)
class SignatureInputs:
    """Inputs of every signature, by name.

    Attributes:
        query_side: What is known of the user and the wish.
        rules: What a list may hold; a server fills in those that a request leaves out.
        item: Raw features of one item.
        explained: Whether there is a signature `explain`.
    """

    query_side: Tensors
    rules: Tensors
    item: Tensors
    explained: bool = False


def signature_inputs(
    model: TwoTowerModel, item_text: str | None, *, explained: bool = False
) -> SignatureInputs:
    """Derives the inputs from what the model reads.

    Args:
        model: The trained model.
        item_text: Name of the item text feature, None without one.
        explained: Whether there is a signature `explain`.
    """
    side = {contract.HISTORY_ITEM_ID: _spec(contract.HISTORY_ITEM_ID, tf.string, 2)}
    history = model.config.model.history
    if history.time_gaps:
        side[contract.HISTORY_TIMESTAMP] = _spec(contract.HISTORY_TIMESTAMP, tf.int64, 2)
    if history.event_types:
        side[contract.HISTORY_EVENT] = _spec(contract.HISTORY_EVENT, tf.string, 2)
    side[contract.QUERY] = _spec(contract.QUERY, tf.string, 1)
    if model.config.model.user_features:
        side |= user_input_specs(model.spec.user_specs)
    rules = {name: _spec(name, dtype, np.ndim(row)) for name, (dtype, row) in NEUTRAL.items()}
    return SignatureInputs(side, rules, _item_inputs(model.spec.item_specs, item_text), explained)


def _item_inputs(specs: FeatureSpecs, item_text: str | None) -> Tensors:
    inputs = {item_text: _spec(item_text, tf.string, 1)} if item_text else {}
    inputs |= {spec.name: _spec(spec.name, tf.string, 2) for spec in specs.categories}
    inputs |= {spec.name: _spec(spec.name, tf.float32, 1) for spec in specs.numerics}
    return inputs | {
        name: tf.TensorSpec([None, width], tf.float32, name=name) for name, width in specs.vectors
    }


def _spec(name: str, dtype: Any, rank: int) -> Any:
    return tf.TensorSpec([None] * rank, dtype, name=name)


def inputs_of(inputs: SignatureInputs) -> dict[str, Tensors]:
    """Inputs by name of every signature that has a twin `*_examples`; each is a method of `ServingModel`.

    Args:
        inputs: See `signature_inputs`.
    """
    item_ids = {contract.ITEM_ID: _spec(contract.ITEM_ID, tf.string, 2)}
    by_signature = {
        "recommend": inputs.query_side | inputs.rules,
        "retrieve": inputs.query_side | inputs.rules,
        "rank": inputs.query_side | item_ids,
        "embed_query": inputs.query_side,
        "similar_items": {contract.ITEM_ID: _spec(contract.ITEM_ID, tf.string, 1)},
    }
    if inputs.item:
        by_signature["embed_item"] = inputs.item
    if inputs.explained:
        by_signature["explain"] = inputs.query_side | item_ids
    return by_signature


def build_signatures(served: ServingModel, inputs: SignatureInputs) -> dict[str, Any]:
    """Functions by signature name, `serving_default` included.

    Rules have default values, which a server takes for inputs that a request does not have. They are one row, which the
    graph repeats.

    Args:
        served: Answers.
        inputs: See `signature_inputs`.
    """
    specs = inputs_of(inputs)
    signatures = {name: _traced(getattr(served, name), specs[name], name) for name in specs}
    for name in specs:
        twin = f"{name}_{contract.EXAMPLES}"
        signatures[twin] = _traced_examples(signatures[name], specs[name], twin)
    if "embed_item" in specs:
        # No signature, because no caller needs it: `twotower index refresh` calls it by this name.
        by_id = specs["embed_item"] | {contract.ITEM_ID: _spec(contract.ITEM_ID, tf.string, 1)}
        setattr(served, contract.EMBED_KNOWN, _traced(served.embed_known_item, by_id, contract.EMBED_KNOWN))
    signatures["describe"] = _traced(served.describe, {"detail": _spec("detail", tf.string, 1)}, "describe")
    signatures[contract.DEFAULT_SIGNATURE] = signatures["recommend"]
    return signatures


def _traced(answer: Callable[[Tensors], Tensors], specs: Tensors, name: str) -> Any:
    """A function with one named argument an input; TensorFlow saves the defaults of arguments for the server."""
    names = sorted(specs, key=lambda name: name in contract.RULES)  # arguments with defaults come last

    def signature(*values: Any) -> Tensors:
        return answer(dict(zip(names, values, strict=True)))

    signature.__name__ = name
    signature.__signature__ = inspect.Signature([_parameter(name) for name in names])  # type: ignore[attr-defined]
    return tf.function(signature, input_signature=[specs[name] for name in names])


def _parameter(name: str) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    default = tf.constant(NEUTRAL[name][1], NEUTRAL[name][0]) if name in NEUTRAL else empty
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)


def _traced_examples(plain: Any, specs: Tensors, name: str) -> Any:
    def signature(inputs: Tensors) -> Tensors:
        return dict(plain(**parse_examples(inputs[contract.EXAMPLES], specs)))

    return _traced(signature, {contract.EXAMPLES: _spec(contract.EXAMPLES, tf.string, 1)}, name)


def parse_examples(examples: Any, specs: Tensors) -> Tensors:
    """Serialized tf.train.Examples to the inputs of a signature; a feature that is missing is empty.

    Args:
        examples: string [B].
        specs: Inputs by name; the features have the same names. Lists are padded with "" and 0; a missing number is
            NaN, which the model takes for the mean.
    """
    features = {
        name: tf.io.RaggedFeature(spec.dtype)
        if spec.shape.rank == 2 and spec.shape[1] is None
        else tf.io.FixedLenFeature(spec.shape[1:], spec.dtype, _default(spec))
        for name, spec in specs.items()
    }
    parsed = tf.io.parse_example(examples, features)
    return {
        name: value.to_tensor() if isinstance(value, tf.RaggedTensor) else value
        for name, value in parsed.items()
    }


def _default(spec: Any) -> Any:
    if spec.shape.rank == 2:
        return [0.0] * spec.shape[1]
    return {tf.string: "", tf.float32: float("nan")}.get(spec.dtype, 0)
