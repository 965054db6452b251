"""The causal Transformer and the query tower around it."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.features import CategorySpec, FeatureSpecs, NumericSpec
from trainer.keras_compat import tf
from trainer.query_tower import QueryTower, gap_buckets
from trainer.train_config import ModelConfig
from trainer.transformer import CausalSelfAttention, Packing, TransformerBlock, distance_buckets

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 9, 8)).astype(np.float32)


def scrambled(layer):
    """Weights that leave nothing at zero, the distance bias least of all."""
    rng = np.random.default_rng(5)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(scale=0.4, size=variable.shape))
    return layer


@pytest.fixture(scope="module")
def block():
    layer = TransformerBlock(8, 2, 9, 0.5, "block")
    layer.build((None, None, 8))
    return scrambled(layer)


def test_near_distances_have_a_bucket_each():
    buckets = distance_buckets(20)
    for distance in range(16):
        assert (np.diag(buckets, -distance) == distance).all()
    assert (buckets[np.triu_indices(20)] == 0).all()  # no event looks ahead; the place is masked anyway


def test_far_distances_share_buckets_and_never_fall():
    last_row = distance_buckets(400)[-1][::-1]  # by distance 0, 1, 2, ...
    assert (np.diff(last_row) >= 0).all()
    assert last_row.max() == 31
    # 16 + 16 ln(d / 16) / ln(128 / 16): d = 32 gives 16 + 16/3 = 21.3, d = 64 gives 26.7, d = 128 the last but one + 1.
    assert [last_row[d] for d in (16, 32, 64, 127, 128, 399)] == [16, 21, 26, 31, 31, 31]


def test_a_bias_of_distances_not_of_places():
    whole, part = distance_buckets(30), distance_buckets(10)
    np.testing.assert_array_equal(whole[20:, 20:], part)


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_later_events_do_not_change_earlier_rows(block, cut):
    changed = X.copy()
    changed[:, cut:] += RNG.normal(size=changed[:, cut:].shape)
    before, after = block(X).numpy(), block(changed).numpy()
    np.testing.assert_allclose(after[:, :cut], before[:, :cut], atol=1e-6)
    assert np.abs(after[:, cut:] - before[:, cut:]).max() > 1e-2


def test_padding_on_the_right_is_never_seen(block):
    np.testing.assert_allclose(block(X[:, :5]).numpy(), block(X).numpy()[:, :5], atol=1e-5)


def test_skipping_padding_gives_the_same_rows(block):
    mask = np.arange(9) < np.array([9, 4])[:, None]
    packing = Packing.of(tf.constant(mask))
    packed = packing.pack(tf.constant(X))
    assert packed.shape == (13, 8)
    came = packing.unpack(block(packed, packing=packing)).numpy()
    np.testing.assert_allclose(came[mask], block(X).numpy()[mask], atol=1e-5)
    assert (came[~mask] == 0).all()


def test_every_earlier_event_counts(block):
    before = block(X).numpy()[:, -1]
    for place in range(8):
        changed = X.copy()
        changed[:, place, 0] += 1.0  # one number of it: the normalization takes a common shift away
        assert np.abs(block(changed).numpy()[:, -1] - before).max() > 1e-4


def test_attention_is_a_softmax_over_the_past():
    layer = CausalSelfAttention(8, 2, 9, 0.0)
    layer.build((None, None, 8))
    scrambled(layer)
    qkv = X[0] @ layer._qkv.kernel.numpy() + layer._qkv.bias.numpy()
    bias, out = layer._bias.numpy(), []
    for head in range(2):
        query, key, value = (qkv[:, 8 * part + 4 * head : 8 * part + 4 * head + 4] for part in range(3))
        logits = query @ key.T / 2.0  # the square root of 4, a head's width
        for row in range(9):
            logits[row] += [bias[max(0, row - column), head] for column in range(9)]
            logits[row, row + 1 :] = -np.inf
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        out.append(weights / weights.sum(axis=1, keepdims=True) @ value)
    expected = np.concatenate(out, axis=1) @ layer._out.kernel.numpy() + layer._out.bias.numpy()
    np.testing.assert_allclose(layer(X).numpy()[0], expected, atol=1e-4)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="heads=3, width=8"):
        CausalSelfAttention(8, 3, 9, 0.0)


def test_gaps_are_counted_in_doublings_of_seconds():
    times = np.array([[100, 100, 102, 112, 112 + 86_400, 50, 60]], np.int64)
    mask = np.array([[1, 1, 1, 1, 1, 1, 0]], bool)
    # log2(1 + gap) + 1 for gaps 0, 2, 10, 86400: 1, 2.58, 4.46, 17.4; a step back counts as no gap.
    assert gap_buckets(tf.constant(times), tf.constant(mask)).numpy().tolist() == [[0, 1, 2, 4, 17, 1, 0]]


def test_gaps_are_bounded_and_unknown_times_have_none():
    times = np.array([[1, 2**40, 0, 5, 6]], np.int64)
    buckets = gap_buckets(tf.constant(times), tf.ones([1, 5], tf.bool)).numpy()[0]
    assert buckets.tolist()[:4] == [0, 31, 0, 0]  # 2^40 seconds; unknown; after an unknown one
    assert buckets[4] > 0


def test_a_longer_gap_never_has_a_lower_bucket():
    gaps = np.unique(np.geomspace(1, 2**31, 400).astype(np.int64))
    times = np.stack([np.full_like(gaps, 10), 10 + gaps], axis=1)
    buckets = gap_buckets(tf.constant(times), tf.ones(times.shape, tf.bool)).numpy()[:, 1]
    assert (np.diff(buckets) >= 0).all()


CONFIG = ModelConfig(
    embedding_dim=8,
    history={"max_length": 6, "blocks": 2, "time_gaps": True, "event_types": True, "dropout": 0.5},
)
USER = FeatureSpecs((CategorySpec("gender", ("F", "M")),), (NumericSpec("age", 0.0, 1.0),))
LENGTHS = np.array([0, 1, 4, 6])


@pytest.fixture(scope="module")
def tower():
    layer = QueryTower(CONFIG, user_specs=USER, text_width=3, event_types=2)
    layer.build()
    return scrambled(layer)


def history(lengths=LENGTHS):
    rng = np.random.default_rng(1)
    mask = np.arange(6) < np.asarray(lengths)[:, None]
    rows = len(lengths)
    return {
        "vectors": tf.constant((rng.normal(size=(rows, 6, 8)) * mask[:, :, None]).astype(np.float32)),
        "mask": tf.constant(mask),
        "timestamps": tf.constant(np.cumsum(rng.integers(1, 9999, (rows, 6)), axis=1) * mask),
        "events": tf.constant(rng.integers(0, 3, (rows, 6)) * mask, tf.int32),
    }


def users(rows=4, gender=1, age=0.5):
    return {"gender": tf.fill([rows, 1], gender), "numeric": tf.fill([rows, 1], age)}


def test_row_t_is_the_last_state_of_the_history_cut_to_t_events(tower):
    full = history([6, 6, 6, 6])
    states = tower.states(full, training=False).numpy()
    for length in range(7):
        inside = np.arange(6) < length
        cut = {
            name: tf.constant(value.numpy() * (inside[:, None] if name == "vectors" else inside))
            for name, value in full.items()
        }
        last = tower.states(cut, training=False).numpy()[:, length]
        np.testing.assert_allclose(last, states[:, length], atol=1e-5)


def test_calling_takes_the_state_after_the_last_event(tower):
    text = tf.zeros([4, 3])
    states = tower.states(history(), training=False)
    last = tf.gather(states, LENGTHS, batch_dims=1)
    np.testing.assert_allclose(
        tower(history(), users(), text).numpy(),
        tower.combine(last, users(), text, training=False).numpy(),
        atol=1e-6,
    )


def test_what_stands_in_the_padding_does_not_matter(tower):
    padded = history()
    padded["vectors"] += 10.0 * tf.cast(~padded["mask"], tf.float32)[:, :, None]
    padded["events"] = tf.where(padded["mask"], padded["events"], 2)
    text = tf.zeros([4, 3])
    np.testing.assert_allclose(
        tower(padded, users(), text).numpy(), tower(history(), users(), text).numpy(), atol=1e-5
    )


def test_times_event_types_user_and_text_all_count(tower):
    text = tf.zeros([4, 3])
    before = tower(history(), users(), text).numpy()
    later = history()
    later["timestamps"] *= 1000
    others = history() | {"events": tf.where(history()["mask"], 2 - history()["events"], 0)}
    long = LENGTHS >= 4
    for after in (tower(later, users(), text), tower(others, users(), text)):
        assert (np.abs(after.numpy() - before).max(axis=1)[long] > 1e-4).all()
    for changed in (
        tower(history(), users(gender=2), text),
        tower(history(), users(age=3.0), text),
        tower(history(), users(), tf.ones([4, 3])),
    ):
        assert (np.abs(changed.numpy() - before).max(axis=1) > 1e-4).all()


TEXTS = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)


def test_one_wish_is_the_text_itself_bit_for_bit(tower):
    alone = tower(history(), users(), tf.constant(TEXTS)).numpy()
    for width in (1, 3):
        wishes = np.zeros((4, width, 3), np.float32)
        wishes[:, width // 2] = TEXTS
        np.testing.assert_array_equal(tower(history(), users(), tf.constant(wishes)).numpy(), alone)
    silent = tower(history(), users(), tf.zeros([4, 3])).numpy()
    np.testing.assert_array_equal(tower(history(), users(), tf.zeros([4, 2, 3])).numpy(), silent)


def test_several_wishes_are_weighted_by_what_the_history_asks(tower):
    state = tf.constant(np.random.default_rng(4).normal(size=(4, 8)).astype(np.float32))
    wishes = np.stack([TEXTS, TEXTS[::-1], 0 * TEXTS], axis=1)
    first, last = (projection.kernel.numpy() for projection in tower._fusion._projections[::3])
    scores = np.einsum("qd,qwd->qw", state @ first, wishes @ last)[:, :2] / np.sqrt(8)
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    mean = np.einsum("qw,qwe->qe", weights, wishes[:, :2]).astype(np.float32)
    np.testing.assert_allclose(
        tower.combine(state, users(), tf.constant(wishes)).numpy(),
        tower.combine(state, users(), tf.constant(mean)).numpy(),
        rtol=1e-5,
    )
    other_order = tower.combine(state, users(), tf.constant(wishes[:, [2, 1, 0]])).numpy()
    np.testing.assert_allclose(
        other_order, tower.combine(state, users(), tf.constant(wishes)).numpy(), rtol=1e-5
    )


def test_what_is_not_wanted_is_taken_away_as_it_would_be_added_to_nobody(tower):
    unwanted = TEXTS[::-1] * np.array([1, 0, 1, 0], np.float32)[:, None]
    nobody = tower.states(history(), training=False)[:, 0]

    def added(texts):
        return (
            tower.combine(nobody, users(), tf.constant(texts))
            - tower.combine(nobody, users(), tf.zeros([4, 3]))
        ).numpy()

    wish, other = added(TEXTS), added(unwanted)
    shared = np.sum(other * wish, axis=1) / np.maximum(np.sum(wish * wish, axis=1), 1e-9)
    for wanted, alone in ((TEXTS, other - np.maximum(shared, 0)[:, None] * wish), (0 * TEXTS, other)):
        plain = tower(history(), users(), tf.constant(wanted)).numpy()
        spared = tower(history(), users(), tf.constant(wanted), tf.constant(unwanted)).numpy()
        np.testing.assert_array_equal(spared[1::2], plain[1::2])
        np.testing.assert_allclose(plain - spared, alone, atol=1e-5)
        none = tower(history(), users(), tf.constant(wanted), tf.zeros([4, 3])).numpy()
        np.testing.assert_array_equal(none, plain)
    assert np.abs(other[::2]).max() > 1e-2
    assert shared.max() > 0.1, "nothing is shared that could be left out"


def test_without_user_features_and_text_the_state_is_the_query():
    layer = QueryTower(
        ModelConfig(embedding_dim=8, history={"max_length": 6}),
        user_specs=FeatureSpecs(),
        text_width=0,
        event_types=0,
    )
    layer.build()
    plain = {name: history()[name] for name in ("vectors", "mask")}
    expected = tf.gather(layer.states(plain, training=False), LENGTHS, batch_dims=1)
    np.testing.assert_array_equal(layer(plain, None, None).numpy(), expected.numpy())


def test_dropout_is_for_training_alone(tower):
    states = [tower.states(history(), training=training).numpy() for training in (False, False, True)]
    np.testing.assert_array_equal(states[0], states[1])
    assert np.abs(states[0] - states[2]).max() > 1e-2


def test_a_tower_that_skips_padding_learns_the_same():
    history = {
        "vectors": tf.constant(X[:, :5]),
        "mask": tf.constant([[True] * 5, [True, True, False, False, False]]),
    }
    states = []
    for skip in (False, True):
        config = ModelConfig.model_validate(
            {
                "embedding_dim": 8,
                "history": {"max_length": 5, "dropout": 0.0, "skip_padding": skip, "blocks": 2},
            }
        )
        tower = QueryTower(config, user_specs=FeatureSpecs(), text_width=0, event_types=0)
        tower.build()
        scrambled(tower)
        states.append(tower.states(history, training=True).numpy())
    np.testing.assert_allclose(states[1][0], states[0][0], atol=1e-4)
    np.testing.assert_allclose(states[1][1, :3], states[0][1, :3], atol=1e-4)  # the start and two events
