"""Row by row updates against dense ones, groups with rates of their own, and what a step of the model touches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.test_model import batch, make
from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.embedding_table import EmbeddingTable
from trainer.keras_compat import keras, tf
from trainer.optimizers.grouped import GroupedAdamW
from trainer.optimizers.groups import Group, is_table
from trainer.optimizers.make import make_optimizer
from trainer.optimizers.rows import Adagrad, LazyAdam, summed, summed_in_place

ROWS, WIDTH = 6, 3


def table(name: str = "table", rows: int = ROWS) -> EmbeddingTable:
    keras.utils.set_random_seed(1)
    layer = EmbeddingTable(rows, WIDTH, name=name)
    layer.build(None)
    return layer


def slices(rows: list[int], values: np.ndarray) -> tf.IndexedSlices:
    return tf.IndexedSlices(
        tf.constant(values, tf.float32), tf.constant(rows, tf.int32), tf.constant([ROWS, WIDTH])
    )


def dense(rows: list[int], values: np.ndarray) -> np.ndarray:
    out = np.zeros((ROWS, WIDTH), np.float32)
    np.add.at(out, rows, values)
    return out


def steps_of_slices(min_steps: int = 1):
    """Steps of (row, seed) lists; rows repeat."""
    rows = st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=8)
    return st.lists(st.tuples(rows, st.integers(0, 2**31 - 1)), min_size=min_steps, max_size=4)


def values_of(rows: list[int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(rows), WIDTH)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(steps_of_slices(), st.sampled_from([0.5, 100.0]), st.booleans())
def test_adagrad_by_rows_is_adagrad_on_the_whole_table(steps, clip, fixed):
    """Keras' dense Adagrad with the gradients added up: same norm, same clipping, same table."""
    ours, theirs = table(), table()
    settings = {"learning_rate": 0.1, "weight_decay": 0.0, "global_clipnorm": clip, "fixed_shapes": fixed}
    rowwise = GroupedAdamW(tables=Adagrad(), **settings)
    whole = keras.optimizers.Adagrad(0.1, global_clipnorm=clip)
    for layer, optimizer in ((ours, rowwise), (theirs, whole)):
        optimizer.build(layer.trainable_variables)
    for rows, seed in steps:
        values = values_of(rows, seed)
        rowwise.apply_gradients([(slices(rows, values), ours.trainable_variables[0])])
        whole.apply_gradients([(tf.constant(dense(rows, values)), theirs.trainable_variables[0])])
    np.testing.assert_allclose(ours.embeddings.numpy(), theirs.embeddings.numpy(), rtol=1e-5, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(steps_of_slices(), st.sampled_from([0.0, 0.1]))
def test_lazy_adam_is_adamw_where_every_row_is_read(steps, decay):
    ours, theirs = table(), table()
    lazy = GroupedAdamW(tables=LazyAdam(), learning_rate=0.01, weight_decay=decay, global_clipnorm=1.0)
    whole = keras.optimizers.AdamW(0.01, weight_decay=decay, global_clipnorm=1.0)
    for layer, optimizer in ((ours, lazy), (theirs, whole)):
        optimizer.build(layer.trainable_variables)
    for rows, seed in steps:
        all_rows = [*rows, *range(ROWS)]
        values = values_of(all_rows, seed)
        lazy.apply_gradients([(slices(all_rows, values), ours.trainable_variables[0])])
        whole.apply_gradients([(tf.constant(dense(all_rows, values)), theirs.trainable_variables[0])])
    np.testing.assert_allclose(ours.embeddings.numpy(), theirs.embeddings.numpy(), rtol=1e-4, atol=1e-6)


def test_lazy_adam_leaves_rows_that_are_not_read():
    """AdamW would move row 0 on by its momentum in the second step."""
    layer = table()
    lazy = GroupedAdamW(tables=LazyAdam(), learning_rate=0.01, weight_decay=0.1)
    lazy.build(layer.trainable_variables)
    before = layer.embeddings.numpy().copy()
    lazy.apply_gradients([(slices([0], np.ones((1, WIDTH))), layer.trainable_variables[0])])
    between = layer.embeddings.numpy().copy()
    lazy.apply_gradients([(slices([2, 2], np.ones((2, WIDTH))), layer.trainable_variables[0])])
    after = layer.embeddings.numpy()
    np.testing.assert_array_equal(between[1:], before[1:])
    np.testing.assert_array_equal(after[[0, 1, 3, 4, 5]], between[[0, 1, 3, 4, 5]])
    # The first step of Adam has the length of the rate: 0.01, and 0.1 * 0.01 of the row itself decays.
    np.testing.assert_allclose(between[0], before[0] * (1 - 0.001) - 0.01, rtol=1e-5)


def test_slices_of_a_row_are_added_up():
    given = slices([4, 1, 4], np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]))
    once, square = summed(given)
    assert once.indices.numpy().tolist() == [4, 1]
    assert once.values.numpy().tolist() == [[8, 10, 12], [4, 5, 6]]
    again, same = summed_in_place(given)
    assert again.indices.numpy().tolist() == [1, 4, 4]
    assert again.values.numpy().tolist() == [[4, 5, 6], [8, 10, 12], [8, 10, 12]]
    assert float(square) == float(same) == 16 + 25 + 36 + 64 + 100 + 144


def test_the_default_is_keras_adamw_bit_by_bit():
    config = TrainConfig(epochs=2, warmup_steps=2, weight_decay=0.01)
    ours = make_optimizer(config, 10)
    theirs = keras.optimizers.AdamW(
        ours._learning_rate, weight_decay=0.01, global_clipnorm=config.clip_norm, name="adamw"
    )
    layers = [table(), table()]
    for layer, optimizer in zip(layers, (ours, theirs), strict=True):
        optimizer.build(layer.trainable_variables)
        for seed in range(5):
            gradient = slices([1, 3, 1], 3 * values_of([1, 3, 1], seed))
            optimizer.apply_gradients([(gradient, layer.trainable_variables[0])])
    np.testing.assert_array_equal(layers[0].embeddings.numpy(), layers[1].embeddings.numpy())
    assert [variable.path for variable in ours.variables] == [variable.path for variable in theirs.variables]


def test_beside_tables_the_fused_step_is_that_of_keras():
    variables = [keras.Variable(values_of([0, 1], 3), name="kernel") for _ in range(2)]
    settings = {"learning_rate": 0.01, "weight_decay": 0.1, "global_clipnorm": 1.0}
    for variable, optimizer in zip(
        variables,
        (GroupedAdamW(tables=Adagrad(), **settings), keras.optimizers.AdamW(**settings)),
        strict=True,
    ):
        optimizer.build([variable])
        for seed in range(5):
            optimizer.apply_gradients([(tf.constant(values_of([0, 1], seed)), variable)])
    np.testing.assert_allclose(variables[0].numpy(), variables[1].numpy(), rtol=1e-5)


def test_a_group_learns_at_its_own_rate():
    """The first step of Adam is as long as the rate, whatever the gradient; decay follows the group's rate too."""
    slow, fast = (keras.Variable([[1.0]], name=name) for name in ("slow", "fast"))
    group = Group("slow", lambda variable: variable.name == "slow", lambda step: tf.constant(0.01))
    optimizer = GroupedAdamW((group,), learning_rate=0.1, weight_decay=0.5)
    optimizer.build([slow, fast])
    optimizer.apply_gradients([(tf.constant([[3.0]]), slow), (tf.constant([[5.0]]), fast)])
    assert float(slow[0, 0]) == pytest.approx(1 - 0.5 * 0.01 - 0.01, abs=1e-6)
    assert float(fast[0, 0]) == pytest.approx(1 - 0.5 * 0.1 - 0.1, abs=1e-6)


def test_the_first_group_that_wants_a_variable_has_it():
    config = TrainConfig(table_optimizer="adagrad", warmup_steps=0)
    own = Group("own", is_table, lambda step: tf.constant(0.0))
    layer = table()
    before = layer.embeddings.numpy().copy()
    optimizer = make_optimizer(config, 10, (own,))
    optimizer.build(layer.trainable_variables)
    optimizer.apply_gradients([(slices([0], np.ones((1, WIDTH))), layer.trainable_variables[0])])
    np.testing.assert_array_equal(layer.embeddings.numpy(), before)  # its rate is zero


@pytest.mark.parametrize(("optimizer", "rate"), [("adagrad", 0.1), ("lazy_adam", 3e-3), ("adamw", 3e-3)])
def test_the_rate_of_tables(optimizer, rate):
    config = TrainConfig(table_optimizer=optimizer, warmup_steps=0, epochs=1)
    layer = table()
    before = layer.embeddings.numpy().copy()
    made = make_optimizer(config, 10**6)
    made.build(layer.trainable_variables)
    made.apply_gradients([(slices([0], np.ones((1, WIDTH))), layer.trainable_variables[0])])
    # Adagrad: rate / sqrt(.1 + 1); Adam: the rate. The cosine has hardly begun to fall.
    moved = rate / 1.1**0.5 if optimizer == "adagrad" else rate
    np.testing.assert_allclose(before[0] - layer.embeddings.numpy()[0], moved, rtol=1e-4)


def test_a_table_that_was_read_as_a_whole_is_refused():
    layer = table()
    optimizer = GroupedAdamW(tables=Adagrad(), learning_rate=0.1)
    optimizer.build(layer.trainable_variables)
    with pytest.raises(TypeError, match="read as a whole"):
        optimizer.apply_gradients([(tf.ones([ROWS, WIDTH]), layer.trainable_variables[0])])


@pytest.fixture(params=["adagrad", "lazy_adam"])
def by_rows(request):
    """A model of 8 items whose step draws 2 of them and has 5 at most in its histories."""
    changes = {
        "table_optimizer": request.param,
        "retrieval": {"uniform_negatives": 2, "popularity_negatives": 2},
    }
    model = make(**changes)
    model.compile(optimizer=make_optimizer(model.config, 4))
    model.optimizer.build(model.trainable_variables)
    return model


def test_a_sampled_step_never_reads_a_table_as_a_whole(by_rows):
    """Neither weights nor their slots: reading them would cost what the catalogue costs."""
    graph = tf.function(by_rows.train_step).get_concrete_function(batch()).graph
    rows = {variable.shape[0] for variable in by_rows.trainable_variables if is_table(variable)}
    assert rows == {7, 3}  # six items and none; two genders and none
    handles = {
        variable.value.handle.ref()
        for variable in [*by_rows.variables, *by_rows.optimizer.variables]
        if len(variable.shape) == 2 and variable.shape[0] in rows and "embeddings" in variable.path
    }
    assert len(handles) == len(rows) * (2 if by_rows.config.table_optimizer == "adagrad" else 3)
    inside = {inner.ref() for outer, inner in graph.captures if outer.ref() in handles}
    assert len(inside) == len(handles)
    readers = {op.type for op in graph.get_operations() for tensor in op.inputs if tensor.ref() in inside}
    allowed = {
        "ResourceGather",
        "ResourceScatterUpdate",
        "ResourceScatterSub",
        "ResourceSparseApplyAdagradV2",
    }
    assert readers <= allowed | {"VariableShape"}


def test_a_training_by_rows_goes_on_from_a_checkpoint_with_the_same_bits(by_rows, tmp_path):
    step = tf.function(by_rows.train_step)
    variables = [*by_rows.variables, *by_rows.optimizer.variables]
    step(batch())
    save_checkpoint(tmp_path / "last", variables, {"epoch": 0})
    step(batch())
    expected = [variable.numpy().copy() for variable in variables]
    step(batch())
    assert any((variable.numpy() != value).any() for variable, value in zip(variables, expected, strict=True))
    load_checkpoint(tmp_path / "last", variables)
    step(batch())
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)
