"""The signatures of the served model: names, inputs, and their twins over serialized tf.train.Examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainer import contract
from trainer.features import FeatureSpecs
from trainer.keras_compat import tf
from trainer.model import TwoTowerModel
from trainer.serving_model import ServingModel, Tensors, user_input_specs


@dataclass(frozen=True)
class SignatureInputs:
    """Inputs of every signature, by name.

    Attributes:
        query_side: What is known of the user and the wish.
        filters: What must not be shown.
        item: Raw features of one item.
    """

    query_side: Tensors
    filters: Tensors
    item: Tensors


def signature_inputs(model: TwoTowerModel, item_text: str | None) -> SignatureInputs:
    """Derives the inputs from what the model reads.

    Args:
        model: The trained model.
        item_text: Name of the item text feature, None without one.
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
    filters = {
        name: _spec(name, tf.string, 2) for name in (contract.EXCLUDE_ITEM_ID, contract.ALLOW_CATEGORY)
    }
    return SignatureInputs(side, filters, _item_inputs(model.spec.item_specs, item_text))


def _item_inputs(specs: FeatureSpecs, item_text: str | None) -> Tensors:
    inputs = {item_text: _spec(item_text, tf.string, 1)} if item_text else {}
    inputs |= {spec.name: _spec(spec.name, tf.string, 2) for spec in specs.categories}
    inputs |= {spec.name: _spec(spec.name, tf.float32, 1) for spec in specs.numerics}
    return inputs | {
        name: tf.TensorSpec([None, width], tf.float32, name=name) for name, width in specs.vectors
    }


def _spec(name: str, dtype: Any, rank: int) -> Any:
    return tf.TensorSpec([None] * rank, dtype, name=name)


def build_signatures(served: ServingModel, inputs: SignatureInputs) -> dict[str, Any]:
    """Concrete functions by signature name, `serving_default` included.

    Args:
        served: Answers.
        inputs: See `signature_inputs`.
    """
    item_ids = {contract.ITEM_ID: _spec(contract.ITEM_ID, tf.string, 2)}
    one_item = {contract.ITEM_ID: _spec(contract.ITEM_ID, tf.string, 1)}
    wanted: dict[str, tuple[Callable[[Tensors], Tensors], Tensors]] = {
        "recommend": (served.recommend, inputs.query_side | inputs.filters),
        "retrieve": (served.retrieve, inputs.query_side | inputs.filters),
        "rank": (served.rank, inputs.query_side | item_ids),
        "embed_query": (served.embed_query, inputs.query_side),
        "similar_items": (served.similar_items, one_item),
    }
    if inputs.item:
        wanted["embed_item"] = (served.embed_item, inputs.item)
    signatures = {name: _traced(answer, specs, name) for name, (answer, specs) in wanted.items()}
    for name, (_, specs) in wanted.items():
        twin = f"{name}_{contract.EXAMPLES}"
        signatures[twin] = _traced_examples(signatures[name], specs, twin)
    signatures["describe"] = _traced(served.describe, {"detail": _spec("detail", tf.string, 1)}, "describe")
    signatures[contract.DEFAULT_SIGNATURE] = signatures["recommend"]
    return signatures


def _traced(answer: Callable[[Tensors], Tensors], specs: Tensors, name: str) -> Any:
    def signature(**inputs: Any) -> Tensors:
        return answer(inputs)

    signature.__name__ = name
    return tf.function(signature).get_concrete_function(**specs)


def _traced_examples(plain: Any, specs: Tensors, name: str) -> Any:
    def signature(examples: Any) -> Tensors:
        return dict(plain(**parse_examples(examples, specs)))

    signature.__name__ = name
    return tf.function(signature).get_concrete_function(
        examples=tf.TensorSpec([None], tf.string, name=contract.EXAMPLES)
    )


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
