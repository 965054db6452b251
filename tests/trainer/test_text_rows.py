"""How much BERT computes for a batch of texts: a row a word piece, and nothing for texts that are empty."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.keras_compat import tf
from trainer.text_encoder import TextEncoder


class Counting(tf.Module):  # type: ignore[misc]
    """A forward pass that counts, in the graph, how often it runs and over how many rows."""

    def __init__(self, bert: Any) -> None:
        super().__init__()
        self._bert = bert
        self.calls, self.rows = tf.Variable(0), tf.Variable(0)

    def __call__(self, pieces: Any) -> Any:
        self.calls.assign_add(1)
        self.rows.assign_add(tf.size(pieces.flat_values))
        return self._bert(pieces)


@pytest.fixture(scope="module")
def counted(encoder: TextEncoder) -> Any:
    """Calls and rows of BERT for a batch of texts, as a served query is encoded."""
    bert = Counting(encoder.bert)
    spec = tf.TensorSpec([None], tf.string)
    encode = tf.function(encoder.with_bert(bert).encode_present, input_signature=[spec])

    def count(texts: list[str]) -> tuple[int, int]:
        before = int(bert.calls.numpy()), int(bert.rows.numpy())
        encode(tf.constant(texts, tf.string))
        return int(bert.calls.numpy()) - before[0], int(bert.rows.numpy()) - before[1]

    return count


@pytest.mark.parametrize(
    ("texts", "rows"),
    [
        (["film"], 3),  # [CLS] film [SEP]
        (["a sad film"], 5),
        (["film", "a sad film"], 3 + 5),  # nothing is padded
        (["film", "", "dark", "  "], 3 + 3),  # what is empty has no row either
        (["film " * 500], 16),  # max_tokens
    ],
)
def test_a_row_for_each_word_piece(counted: Any, texts: list[str], rows: int) -> None:
    assert counted(texts) == (1, rows)


@pytest.mark.parametrize("texts", [[""], ["  \t\n"], ["", " ", ""], []])
def test_no_text_no_bert(counted: Any, texts: list[str]) -> None:
    assert counted(texts) == (0, 0)
