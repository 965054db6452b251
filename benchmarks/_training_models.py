"""What benchmarks/training.py compares: steps of the product's model and of the TFRS tutorial's two tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import TrainConfig
from trainer.embedding_table import EmbeddingTable
from trainer.features import FeatureSpecs
from trainer.keras_compat import keras, tf, tfrs
from trainer.model import TwoTowerModel
from trainer.model_inputs import CatalogueTables, ModelSpec
from trainer.optimizers.make import make_optimizer
from trainer.precision import products_in

Step = Callable[[], Any]
WIDTH, BATCH, USERS, TEXT = 64, 512, 100_000, 384
_RNG = np.random.default_rng(0)


def zipf(size: int, shape: tuple[int, ...]) -> np.ndarray:
    """int32 item numbers, item i as often as 1 / (i + 10)."""
    weights = 1 / (np.arange(size) + 10)
    return _RNG.choice(size, shape, p=weights / weights.sum()).astype(np.int32)


def tutorial(items: int, kind: str, users: int = USERS) -> Step:
    """A step of the TFRS tutorial: a table of users, one of items, softmax in the batch.

    Args:
        items: Rows of the items' table.
        kind: "ours", "ours, lazy Adam", "Keras 3 Adam", "Keras 3 Adagrad" or "tf_keras Adagrad".
        users: Rows of the users' table.
    """
    tables, apply = _with_tf_keras(users, items) if kind.startswith("tf_keras") else _with(kind, users, items)
    task = tfrs.tasks.Retrieval()
    variables = [table.trainable_variables[0] for table in tables]

    @tf.function
    def step(user: Any, item: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = task(tables[0](user), tables[1](item), compute_metrics=False)
        apply(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    batches = [(tf.constant(zipf(users, (BATCH,))), tf.constant(zipf(items, (BATCH,)))) for _ in range(8)]
    return _taking_turns(step, batches)


def sequential_tutorial(items: int) -> Step:
    """A step of the TFRS tutorial on sequences: a GRU over the last ten items, softmax in the batch, Adagrad."""
    query = tf.keras.Sequential([tf.keras.layers.Embedding(items, WIDTH), tf.keras.layers.GRU(WIDTH)])
    candidates = tf.keras.layers.Embedding(items, WIDTH)
    query.build((None, 10))
    candidates.build(None)
    variables = [*query.trainable_variables, *candidates.trainable_variables]
    task, optimizer = tfrs.tasks.Retrieval(), tf.keras.optimizers.Adagrad(0.1)

    @tf.function
    def step(context: Any, item: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = task(query(context, training=True), candidates(item), compute_metrics=False)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    batches = [(tf.constant(zipf(items, (BATCH, 10))), tf.constant(zipf(items, (BATCH,)))) for _ in range(8)]
    return _taking_turns(step, batches)


def _with_tf_keras(users: int, items: int) -> tuple[list[Any], Any]:
    tables = [tf.keras.layers.Embedding(rows, WIDTH) for rows in (users, items)]
    for table in tables:
        table.build(None)
    return tables, tf.keras.optimizers.Adagrad(0.1).apply_gradients


def _with(kind: str, users: int, items: int) -> tuple[list[Any], Any]:
    layer = EmbeddingTable if kind.startswith("ours") else keras.layers.Embedding
    tables = [layer(rows, WIDTH) for rows in (users, items)]
    for table in tables:
        table.build(None)
    rule = "lazy_adam" if kind.endswith("Adam") else "adagrad"
    optimizer = {
        "Keras 3 Adam": lambda: keras.optimizers.Adam(0.001),
        "Keras 3 Adagrad": lambda: keras.optimizers.Adagrad(0.1),
    }.get(kind, lambda: make_optimizer(TrainConfig(table_optimizer=rule, warmup_steps=0), 10**6))()
    optimizer.build([table.trainable_variables[0] for table in tables])
    return tables, optimizer.apply_gradients


def product(items: int, windows: int, length: int, text: int = 0, **changes: Any) -> tuple[Step, int]:
    """A training step of the product's model on histories of `length` events, and how many events it predicts.

    Args:
        items: Of the catalogue.
        windows: Histories in a step.
        length: Of each.
        text: Width of the items' text vectors, 0 = IDs alone.
        changes: Of `[train]`.
    """
    model = fitted(items, length, text, **changes)
    step = tf.function(model.train_step, jit_compile=model.config.jit_compile)
    batches = [(_histories(items, windows, length),) for _ in range(8)]
    return _taking_turns(step, batches), min(windows * length, model.config.retrieval.queries_per_step)


def fitted(items: int, length: int, text: int, **changes: Any) -> TwoTowerModel:
    """The product's model with its optimizer, ready for `fit`; arguments as of `product`."""
    keras.utils.set_random_seed(1)
    settings = {
        "model": {"embedding_dim": WIDTH, "query_text": bool(text), "history": {"max_length": length}},
        **changes,
    }
    spec = ModelSpec(items, text, FeatureSpecs(), FeatureSpecs(), ())
    config = TrainConfig.model_validate(settings)
    with products_in(config.precision):
        model = TwoTowerModel(config, spec)
    share = 1 / (np.arange(items) + 10)
    inputs = {"id": tf.range(1, items + 1, dtype=tf.int32)}
    if text:
        inputs["text"] = tf.random.normal([items, text])
    model.catalogue = CatalogueTables(
        inputs=inputs,
        share=tf.constant(share / share.sum(), tf.float32),
        scale=tf.zeros([items]),
        query_views=tf.random.normal([items, 2, text]) if text else tf.zeros([items, 0, 0]),
    )
    optimizer = make_optimizer(model.config, 10**6)
    model.compile(optimizer=optimizer, jit_compile=False)
    optimizer.build(model.trainable_variables)
    return model


def _histories(items: int, windows: int, length: int) -> dict[str, Any]:
    return {
        "items": tf.constant(zipf(items, (windows, length))),
        "predicted": tf.ones([windows, length], tf.bool),
        "values": tf.ones([windows, length]),
    }


def bert_for_every_item(encoder: Path, tokens: int = 32) -> Step:
    """The tutorial's step with a frozen BERT that reads the texts of all items of the batch, padded."""
    from trainer.text_encoder import load_text_encoder

    backbone = load_text_encoder(str(encoder), max_tokens=tokens, max_characters=2048).backbone
    head = tutorial(1682, "tf_keras Adagrad", users=943)
    pieces = {
        "token_ids": tf.random.uniform([BATCH, tokens], 1000, 20_000, tf.int32),
        "segment_ids": tf.zeros([BATCH, tokens], tf.int32),
        "padding_mask": tf.ones([BATCH, tokens], tf.int32),
    }
    read = tf.function(lambda: tf.reduce_mean(backbone(pieces)["sequence_output"], axis=1))

    def step() -> Any:
        read()
        return head()

    return step


def _taking_turns(step: Any, batches: list[tuple[Any, ...]]) -> Step:
    turn = iter(range(10**9))
    return lambda: step(*batches[next(turn) % len(batches)])
