"""What learns in each mode, and that chunks, low-rank updates and merging change nothing but memory and speed."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.text_modes.conftest import TEXTS
from trainer.errors import ConfigError
from trainer.keras_compat import keras, tf
from trainer.packed_bert import encode_packed, through_layers, weights_of
from trainer.text_chunks import Chunks
from trainer.text_modes.chunks import differentiable, in_chunks
from trainer.text_modes.trainable import TrainableBert
from trainer.train_config import LoraConfig, TextConfig

ALL = ("query", "key", "value", "output", "inner", "outer")
MODES = {
    "lora": TextConfig(mode="lora", lora=LoraConfig(rank=2)),
    "lora everywhere": TextConfig(
        mode="lora", lora=LoraConfig(rank=2, alpha=3.0, targets=ALL, layers=(2, 1))
    ),
    "top_layers": TextConfig(mode="top_layers", top_layers=2),
    "full": TextConfig(mode="full"),
}


graph = partial(tf.function, autograph=False)  # as Keras compiles a training step


def pieces_of(encoder, texts=TEXTS[1:]):
    return tf.function(encoder.pack)(tf.constant(list(texts)))


def trainable(encoder, config, limit=None) -> TrainableBert:
    made = TrainableBert(encoder.backbone, config, encoder.pool, seed=0)
    if limit is not None:
        made._limit = limit
    return made


def stir(variables, seed=0):
    """Moves weights away from zeros and ones."""
    for place, variable in enumerate(variables):
        variable.assign(variable + 0.3 * keras.random.normal(variable.shape, seed=seed + place))


@pytest.mark.parametrize(("mode", "pooling"), [("lora", "mean"), ("top_layers", "mean"), ("full", "cls")])
def test_training_begins_at_the_vectors_of_the_encoder(bert, mode, pooling):
    bert.pooling = pooling
    vectors = graph(trainable(bert, MODES[mode]))(pieces_of(bert))
    np.testing.assert_allclose(vectors, bert.encode_all(TEXTS[1:], 2), atol=1e-5)


def test_pooling_by_cls_takes_the_first_piece(bert):
    states = tf.reshape(tf.range(10.0), [5, 2])
    bert.pooling = "cls"
    np.testing.assert_array_equal(bert.pool(states, tf.constant([2, 3])), [[0, 1], [4, 5]])
    bert.pooling = "mean"
    np.testing.assert_array_equal(bert.pool(states, tf.constant([2, 3])), [[1, 2], [6, 7]])


def gradients(made, pieces, limits=(1000,)):
    """Of a loss that weighs every number differently."""

    @graph
    def run(limit):
        made._limit = limit
        with tf.GradientTape() as tape:
            vectors = made(pieces)
            vectors = tf.gather(vectors, tf.range(tf.shape(vectors)[0]))  # as a step does with distinct texts
            weight = tf.reshape(tf.range(tf.size(vectors), dtype=tf.float32), tf.shape(vectors))
            loss = tf.reduce_sum(tf.sin(vectors) * weight)
        slopes = tape.gradient(loss, [variable.value for variable in made.variables])
        return vectors, [tf.convert_to_tensor(slope) for slope in slopes]

    return [run(tf.constant(limit)) for limit in limits]


@pytest.mark.parametrize("mode", MODES)
def test_gradients_by_chunks_are_those_of_one_pass(bert, mode):
    """Against the plain forward pass over all texts, differentiated by TensorFlow alone."""
    made, pieces = trainable(bert, MODES[mode]), pieces_of(bert)
    stir(made.variables)
    heads = int(bert.backbone.num_heads)

    class Plain:
        variables = made.variables

        def __call__(self, pieces):
            lengths = tf.cast(pieces.row_lengths(), tf.int32)
            return bert.pool(encode_packed(made.weights(), pieces, heads), lengths)

    [(expected, slopes)] = gradients(Plain(), pieces)
    for slope, variable in zip(slopes, made.variables, strict=True):
        moves = float(tf.reduce_max(tf.abs(slope)))
        assert (
            moves > 1e-6 or "key/bias" in variable.path
        )  # a softmax does not see what is added to all scores
    for vectors, came in gradients(made, pieces, (9, 16, 1000)):  # longest text: 9 pieces
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
        for one, other, variable in zip(slopes, came, made.variables, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4, err_msg=variable.path)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 9), max_size=12), st.integers(9, 30))
def test_chunks_hold_every_text_once(lengths, limit):
    chunks = Chunks(tf.constant(lengths, tf.int32), limit)
    pieces = tf.range(sum(lengths))
    parts = [chunks.lengths(chunk).numpy().tolist() for chunk in range(int(chunks.count))]
    assert [length for part in parts for length in part] == lengths
    assert all(parts)
    assert all(sum(part) < limit + 9 for part in parts)
    found = [chunks.pieces(pieces, chunk).numpy() for chunk in range(int(chunks.count))]
    np.testing.assert_array_equal(np.concatenate([*found, np.zeros(0)]), np.arange(sum(lengths)))


def test_no_text_at_all(bert):
    made = trainable(bert, MODES["full"])
    none = pieces_of(bert)[:0]
    [(vectors, slopes)] = gradients(made, none)
    assert vectors.shape == (0, 8)
    assert all(not np.any(slope) for slope in slopes)
    states, lengths = tf.zeros([0, 8]), tf.zeros([0], tf.int32)
    layers = weights_of(bert.backbone).layers
    rows = graph(
        lambda: in_chunks(lambda x, sizes, _: through_layers(layers, x, sizes, 2), states, lengths, (), 9)
    )()
    assert rows.shape == (0, 8)


def test_only_the_named_part_learns(bert):
    layers = bert.backbone.transformer_layers
    top = {weight.path for layer in layers[1:] for weight in layer.weights}
    assert {variable.path for variable in trainable(bert, MODES["top_layers"]).variables} == top
    everything = {weight.path for weight in bert.backbone.weights} - {
        weight.path for weight in bert.backbone.pooled_dense.weights
    }
    assert {variable.path for variable in trainable(bert, MODES["full"]).variables} == everything
    low_rank = trainable(bert, MODES["lora"]).variables
    assert {variable.path for variable in low_rank} == {
        f"lora_{layer}_{target}_{way}"
        for layer in range(3)
        for target in ("query", "value")
        for way in ("down", "up")
    }
    assert sum(int(np.prod(variable.shape)) for variable in low_rank) == 3 * 2 * 2 * (8 * 2)
    some = trainable(bert, MODES["lora everywhere"]).variables
    assert {variable.path.split("_")[1] for variable in some} == {"1", "2"}


@pytest.mark.parametrize("mode", ["lora", "lora everywhere"])
def test_merged_updates_need_no_ops_of_their_own(bert, mode):
    """The encoder, which knows nothing of low-rank updates, gives the vectors of the BERT that has them."""
    made, pieces = trainable(bert, MODES[mode]), pieces_of(bert)
    before = bert.encode_all(TEXTS[1:], 8)
    stir(made.variables)
    learned = [variable.numpy() for variable in made.variables]
    expected = graph(made)(pieces).numpy()
    assert np.abs(expected - before).max() > 0.01
    for _ in range(2):  # a checkpoint may be loaded twice
        for variable, value in zip(made.variables, learned, strict=True):
            variable.assign(value)
        made.merge()
        bert.take_weights()
        np.testing.assert_allclose(bert.encode_all(TEXTS[1:], 8), expected, atol=1e-5)
        np.testing.assert_allclose(graph(made)(pieces), expected, atol=1e-5)


def test_alpha_over_rank_scales_the_update(bert):
    """An update of alpha 6 is twice one of alpha 3 (Hu 2021, section 4.1)."""
    deltas = []
    kernel = bert.backbone.transformer_layers[1]._feedforward_intermediate_dense.kernel
    for alpha in (3.0, 6.0):
        lora = LoraConfig(rank=2, alpha=alpha, targets=("inner",), layers=(1,))
        made = trainable(bert, TextConfig(mode="lora", lora=lora))
        before = kernel.numpy()
        down, up = made.variables
        up.assign(tf.ones(up.shape))
        made.merge()
        deltas.append(kernel.numpy() - before)
        np.testing.assert_allclose(deltas[-1], (alpha / 2) * (down.numpy() @ np.ones(up.shape)), atol=1e-5)
        kernel.assign(before)
    np.testing.assert_allclose(deltas[1], 2 * deltas[0], atol=1e-5)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (TextConfig(mode="top_layers", top_layers=4), "has 3 layers"),
        (TextConfig(mode="lora", lora=LoraConfig(layers=(0, 3))), "are 0 to 2"),
    ],
)
def test_layers_that_are_not_there(bert, config, says):
    with pytest.raises(ConfigError, match=says):
        trainable(bert, config)


def test_lower_layers_learn_more_slowly(bert):
    factors = trainable(bert, MODES["lora"]).factors(0.5)
    assert [factors[f"lora_{layer}_query_up"] for layer in range(3)] == [0.25, 0.5, 1.0]
    full = trainable(bert, MODES["full"])
    embeddings = bert.backbone.token_embedding.trainable_weights[0].path
    assert full.factors(0.5)[embeddings] == 0.125


def test_a_direct_pass_is_taken_where_it_fits():
    """One chunk is encoded once, in groups; more are encoded once for the vectors and once for the gradient."""
    runs: list[int] = []

    def forward(states, lengths, weights):
        ran = tf.numpy_function(lambda: np.int64(runs.append(1) or len(runs)), [], tf.int64)
        with tf.control_dependencies([ran]):
            states = tf.identity(states)
        return tf.math.segment_sum(states * weights[0], tf.repeat(tf.range(tf.size(lengths)), lengths))

    @graph
    def run(limit):
        states, lengths, weight = tf.ones([6, 2]), tf.constant([2, 2, 2]), tf.ones([2])
        with tf.GradientTape() as tape:
            tape.watch(weight)
            vectors = differentiable(forward, states, lengths, [weight], [True], limit, states_learn=False)
            loss = tf.reduce_sum(vectors)
        return tape.gradient(loss, weight)

    np.testing.assert_array_equal(run(tf.constant(6)), [6, 6])
    assert len(runs) == 4  # groups, of which one is empty
    np.testing.assert_array_equal(run(tf.constant(2)), [6, 6])
    assert len(runs) == 4 + 2 * 3
