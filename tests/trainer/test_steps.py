"""What a training step is made of: shapes, strings, precision, compilation."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trainer.test_model import batch, floats, make
from trainer.config import TrainConfig
from trainer.keras_compat import keras, tf
from trainer.optimizers.loss_scale import LossScale
from trainer.optimizers.make import make_optimizer
from trainer.precision import Dense, products_in

SOFTMAXES = {
    "sampled": {"uniform_negatives": 3, "popularity_negatives": 2},
    "all that are drawn": {"uniform_negatives": 4096},
    "drawn alone": {"in_batch_negatives": False, "uniform_negatives": 3},
    "distinct": {"softmax": "distinct", "uniform_negatives": 2, "label_smoothing": 0.1},
    "full": {"softmax": "full"},
}


def operations(function) -> list[tf.Operation]:
    """All of a concrete function and of the functions it calls."""
    graphs, seen = [function.graph], {}
    while graphs:
        graph = graphs.pop()
        for name in graph._functions:
            inner = graph._get_function(name)
            if inner is not None and hasattr(inner, "graph") and name not in seen:
                seen[name] = inner.graph
                graphs.append(inner.graph)
    return [operation for graph in [function.graph, *seen.values()] for operation in graph.get_operations()]


def with_optimizer(**changes):
    model = make(**changes)
    model.compile(optimizer=make_optimizer(model.config, 4))
    model.optimizer.build(model.trainable_variables)
    return model


def test_a_step_works_on_no_string():
    """Texts and categories were looked up and tokenized before, so that the step can be compiled."""
    step = tf.function(with_optimizer().train_step).get_concrete_function(batch())
    found = operations(step)
    assert len(found) > 500
    assert not [
        operation.name
        for operation in found
        if any(tensor.dtype == tf.string for tensor in [*operation.inputs, *operation.outputs])
    ]


@pytest.mark.parametrize("softmax", SOFTMAXES)
def test_fixed_shapes_do_not_change_the_losses(softmax):
    """Filled up or not: the same events are predicted against the same items."""
    changing, fixed = (
        floats(make(retrieval=SOFTMAXES[softmax], jit_compile=compiled).losses_of(batch()))
        for compiled in (False, True)
    )
    assert fixed == pytest.approx(changing, rel=1e-5)


@pytest.mark.parametrize("softmax", ["sampled", "distinct"])
def test_shapes_of_a_compiled_step_are_known_before(softmax):
    model = with_optimizer(retrieval=SOFTMAXES[softmax], jit_compile=True, table_optimizer="lazy_adam")
    step = tf.function(model.train_step).get_concrete_function(batch())
    unknown = [
        operation.name
        for operation in operations(step)
        if operation.type in ("Where", "Unique", "UniqueV2", "NonMaxSuppression", "DynamicPartition")
    ]
    assert unknown == []


def test_what_cannot_be_compiled_is_refused():
    for change in (
        {"model": {"history": {"skip_padding": True}}},
        {"model": {"item": {"words": 10}}},
        {"retrieval": {"hard_negatives": 3}},
        {"text": {"mode": "full"}},
    ):
        with pytest.raises(ValueError, match="needs shapes that change"):
            TrainConfig.model_validate({"jit_compile": True, **change})


def test_a_product_is_rounded_and_what_is_around_it_is_not():
    with products_in("mixed_bfloat16"):
        layer = Dense(1, use_bias=False)
        layer.build((None, 2))
    layer.kernel.assign([[1.0], [1.0]])
    # 1.01 is 1.0078125 in bfloat16, whose significand has 8 bits.
    assert layer(tf.constant([[1.01, 1.0]])).numpy().tolist() == [[2.0]]
    assert layer.kernel.dtype == "float32"
    assert layer(tf.ones([1, 2])).dtype == tf.float32
    plain = Dense(1)
    plain.build((None, 2))
    assert plain.compute_dtype == "float32"


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_losses_in_a_lower_precision_are_near(policy):
    expected = floats(make().losses_of(batch()))
    with products_in(policy):
        came = floats(make().losses_of(batch()))
    assert came == pytest.approx(expected, rel=0.03)
    assert came != expected


def test_a_scaled_loss_takes_the_same_step_and_leaves_out_one_that_overflows():
    models = [
        with_optimizer(precision=policy, table_optimizer="adagrad") for policy in ("float32", "mixed_float16")
    ]
    scale = models[1].optimizer
    assert isinstance(scale, LossScale)
    assert float(scale.dynamic_scale) == 2**15
    for model in models:
        tf.function(model.train_step)(batch())
    for plain, scaled in zip(models[0].trainable_variables, models[1].trainable_variables, strict=True):
        np.testing.assert_allclose(scaled, plain, atol=1e-4, err_msg=plain.path)
    assert int(scale.step_counter) == 1
    steep = models[1].ranking_head._value.kernel
    steep.assign(tf.fill(steep.shape, 1e38))  # the slope of what comes before it, times 2**15, is infinite
    before = [variable.numpy().copy() for variable in models[1].trainable_variables]
    tf.function(models[1].train_step)(batch())
    for variable, value in zip(models[1].trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)
    assert float(scale.dynamic_scale) == 2**14
    assert int(scale.step_counter) == 0
    assert int(scale.iterations) == 1


@pytest.mark.slow
@pytest.mark.parametrize("tables", ["adamw", "adagrad", "lazy_adam"])
def test_a_compiled_step_is_the_plain_one(tables):
    models = [with_optimizer(jit_compile=True, table_optimizer=tables) for _ in range(2)]
    logs = [
        floats(tf.function(model.train_step, jit_compile=compiled)(batch()))
        for model, compiled in zip(models, (False, True), strict=True)
    ]
    assert logs[1] == pytest.approx(logs[0], rel=1e-4)
    for plain, compiled in zip(models[0].trainable_variables, models[1].trainable_variables, strict=True):
        np.testing.assert_allclose(compiled, plain, atol=2e-4, err_msg=plain.path)


def test_without_weight_the_ranking_head_is_left_alone():
    model = make(ranking={"weight": 0.0, "value_weight": 0.0, "candidates": 8})
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    assert set(floats(model.losses_of(batch()))) == set(model.loss_weights) == {"retrieval_loss"}
    assert set(floats(model.train_step(batch()))) == {"loss", "retrieval_loss"}
