"""An export, asked as a stranger would ask it."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


def test_every_signature_of_the_contract_is_there(exported: Path) -> None:
    loaded = tf.saved_model.load(str(exported))
    plain = {"recommend", "retrieve", "rank", "embed_query", "embed_item", "similar_items"}
    assert set(loaded.signatures) == plain | {f"{name}_examples" for name in plain} | {
        "describe",
        "serving_default",
    }
