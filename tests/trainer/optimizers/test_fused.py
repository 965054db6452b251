"""TensorFlow's fused Adam in the place of Keras' dozen of ops."""

from __future__ import annotations

import numpy as np

from trainer.keras_compat import keras, tf
from trainer.layerwise import LayerwiseAdamW


def test_the_fused_step_is_that_of_keras():
    settings = {"learning_rate": 0.02, "weight_decay": 0.1, "global_clipnorm": 1.0}
    ours, keras_own = LayerwiseAdamW({}, **settings), keras.optimizers.AdamW(**settings)
    start = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    matrices = [keras.Variable(start, name=name) for name in ("ours", "keras_own")]
    for optimizer, matrix in zip((ours, keras_own), matrices, strict=True):
        optimizer.build([matrix])

    @tf.function(autograph=False)
    def step(gradient):
        for optimizer, matrix in zip((ours, keras_own), matrices, strict=True):
            optimizer.apply_gradients([(gradient, matrix)])

    for seed in range(6):
        step(np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32) * 10.0 ** (seed - 3))
        np.testing.assert_allclose(matrices[0].numpy(), matrices[1].numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(matrices[0].numpy() - start).max() > 0.03
    assert int(ours.iterations) == 6
