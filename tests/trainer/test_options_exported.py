"""Model options together, from training to an export that answers as the live model does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.trainer.conftest import TINY, write_work
from trainer.config import load_config
from trainer.contract import RULES
from trainer.keras_compat import tf
from trainer.probes import neutral
from trainer.text_encoder import TextEncoder

OPTIONS = """
[train.model.item]
words = 50
whiten_text = true
fusion = "add"
id_dropout_events = 5
missing_id = "generated"

[train.long_tail]
cold_negatives = false
logit_adjustment = 0.3
effective_numbers = 0.9

[train.augmentation]
rate = 0.5

[train.retrieval]
softmax = "distinct"
similarity = "cosine"
temperature = 0.1
learned_temperature = true
label_smoothing = 0.1
"""


LEXICAL = """
[train.retrieval]
similarity = "cosine"
temperature = 0.1
learned_temperature = true
"""


def exported(settings: str, work: Path, encoder: TextEncoder) -> Any:
    """A model of these settings, trained, exported, which compares every signature with the live model, and loaded."""
    from trainer.export import export
    from trainer.training import train

    console = Console(quiet=True)
    write_work(work, encoder)
    (work / "tiny.toml").write_text(settings.format(work=work))
    config = load_config(work / "tiny.toml")
    train(config, "leave_last_out", console)
    return tf.saved_model.load(str(export(config, "leave_last_out", console)))


def request(signature: Any, history: Sequence[str] = ("",), query: str = "") -> dict[str, Any]:
    """One row of a user of whom nothing else is known, without rules."""
    names = signature.structured_input_signature[1]
    asked = {
        "history_item_id": tf.constant([list(history)]),
        "query": tf.constant([query]),
        "gender": tf.constant([""]),
        "age": tf.constant([np.nan], tf.float32),
    }
    rules = {name: tf.constant(neutral(name, 1)) for name in names if name in RULES}
    return {name: value for name, value in asked.items() if name in names} | rules


@pytest.mark.slow
def test_where_users_choose_again_an_exported_model_lists_their_history_too(tmp_path, encoder):
    settings = TINY.replace("[train]\n", "[train]\nrepeats = true\n").replace("k = 10", "k = 20")
    served = exported(settings, tmp_path, encoder).signatures["recommend"]
    given = request(served, history=["i1", "i3"])
    everything = set(served(**given)["item_id"].numpy()[0])
    assert {b"i1", b"i3"} <= everything
    given["exclude_item_id"] = tf.constant([["i3"]])
    assert everything - set(served(**given)["item_id"].numpy()[0]) == {b"i3"}


@pytest.mark.slow
def test_an_exported_model_finds_items_by_their_very_words(tmp_path, encoder):
    settings = TINY.replace("embedding_dim = 16", "embedding_dim = 16\nlexical_width = 64")
    served = exported(settings + LEXICAL, tmp_path, encoder).signatures
    answer = served["retrieve"](**request(served["retrieve"], query="i7"))
    assert answer["item_id"].numpy()[0, 0] == b"i7"  # a word that the little encoder does not know
    vector = served["embed_query"](**request(served["embed_query"], query="i7"))
    assert vector["embedding"].shape == (1, 16 + 64)


@pytest.mark.slow
def test_an_exported_model_reads_words_and_keeps_its_temperature(tmp_path, encoder):
    served = exported(TINY + OPTIONS, tmp_path, encoder)
    inputs = served.signatures["embed_item"].structured_input_signature[1]
    given = {
        name: tf.constant(np.full([2] + [1] * (spec.shape.rank - 1), ""), tf.string)
        if spec.dtype == tf.string
        else tf.zeros([2] * spec.shape.rank, spec.dtype)
        for name, spec in inputs.items()
    }
    text = next(name for name in given if "text" in name)
    vectors = [
        served.signatures["embed_item"](**{**given, text: tf.constant([words, words])})["embedding"].numpy()[
            0
        ]
        for words in ("zzz", "zzz yyy", "zzz film")  # of these words only "film" is known
    ]
    # The little encoder reads [UNK] for both of the first; what it reads in the third has another vector, and a word.
    assert np.abs(vectors[2] - vectors[0]).max() > 1e-3
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], rel=1e-4)
