"""What a text costs a server: BERT computes as many rows as there are word pieces, and none where nothing is asked.

Executed nodes and the shapes of what they computed are taken from the session's own trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

WIDTH = 8  # of the BERT in tests/trainer/conftest.py
TOKENIZER = "FastWordpieceTokenizeWithOffsets"


class Traced:
    def __init__(self, folder: Path) -> None:
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        self.meta = tf.compat.v1.saved_model.load(self.session, ["serve"], str(folder))

    def ask(self, queries: list[str]) -> list[tuple[str, list[tuple[int, ...]]]]:
        """Label and output shapes of every node that `embed_query` executed for queries without history."""
        signature = self.meta.signature_def["embed_query"]
        rows = len(queries)
        values = {
            "history_item_id": np.full((rows, 1), "", object),
            "query": np.asarray(queries, object),
            "gender": np.full(rows, "F", object),
            "age": np.full(rows, 30.0, np.float32),
        }
        feed = {signature.inputs[name].name: value for name, value in values.items()}
        metadata = tf.compat.v1.RunMetadata()
        options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
        self.session.run(signature.outputs["embedding"].name, feed, options=options, run_metadata=metadata)
        return [
            (
                node.timeline_label or node.node_name,
                [tuple(dim.size for dim in out.tensor_description.shape.dim) for out in node.output],
            )
            for device in metadata.step_stats.dev_stats
            for node in device.node_stats
        ]


@pytest.fixture(scope="module")
def traced(exported: Path) -> Iterator[Traced]:
    model = Traced(exported)
    yield model
    model.session.close()


def tokenizer_calls(nodes: list[tuple[str, Any]]) -> int:
    return sum(TOKENIZER in label for label, _ in nodes)


def rows_of_bert(nodes: list[tuple[str, list[tuple[int, ...]]]]) -> set[int]:
    """Rows of the products that make queries, keys and values side by side: [T, 3 W]."""
    return {
        shape[0]
        for label, shapes in nodes
        if "MatMul" in label
        for shape in shapes
        if shape[1:] == (3 * WIDTH,)
    }


@pytest.mark.parametrize(
    ("queries", "pieces"),
    [
        (["film"], 3),  # [CLS] film [SEP]
        (["a sad film"], 5),
        (["film", "a sad film", "", "dark"], 3 + 5 + 3),  # an empty text beside others has no row either
        (["film " * 500], 16),  # max_tokens
    ],
)
def test_bert_computes_as_many_rows_as_there_are_word_pieces(traced, queries, pieces):
    assert rows_of_bert(traced.ask(queries)) == {pieces}


@pytest.mark.parametrize("queries", [[""], ["  \t\n"], ["", " ", ""]])
def test_without_text_neither_tokenizer_nor_bert_is_called(traced, queries):
    nodes = traced.ask(queries)
    assert nodes
    assert tokenizer_calls(nodes) == 0
    assert rows_of_bert(nodes) == set()


def test_with_text_the_tokenizer_is_called_once(traced):
    assert tokenizer_calls(traced.ask(["film", "", "dark"])) == 1
