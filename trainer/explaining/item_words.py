"""What each word of an item's text adds to the item's vector.

BERT reads the whole text once. A text without some of its words is then taken to be the mean over the pieces of the
others as they were read in the whole text, which costs no further pass through BERT; words that have vectors of their
own are left out for good. What the item tower makes of that is computed for every coalition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainer.explaining.coalitions import coalitions, contributions, insertion_orders
from trainer.explaining.text_parts import join_parts
from trainer.keras_compat import tf
from trainer.text_encoder import TextEncoder

Tensors = dict[str, Any]


@dataclass(frozen=True)
class ReadParts:
    """The parts of texts as BERT read them in their place.

    Attributes:
        sums: float32 [K, W, E] sum over the pieces of each part.
        counts: float32 [K, W] pieces of each part; none of padding, and of what is cut off.
        frame: float32 [K, E] sum over [CLS] and [SEP].
    """

    sums: Any
    counts: Any
    frame: Any


def read_parts(parts: Any, encoder: TextEncoder) -> ReadParts:
    """Reads texts that are given in parts.

    Args:
        parts: string [K, W] as of `text_parts`.
        encoder: The BERT.
    """
    rows, width = tf.shape(parts)[0], tf.shape(parts)[1]
    pieces = encoder.pieces(tf.reshape(parts, [-1]))
    owners = tf.math.floormod(tf.cast(pieces.value_rowids(), tf.int32), tf.maximum(width, 1))
    ends = tf.gather(pieces.row_splits, tf.range(rows + 1) * width)
    own = encoder.max_tokens - 2

    def framed(values: Any, first: int | Any, last: int | Any) -> Any:
        inside = tf.RaggedTensor.from_row_splits(values, ends)[:, :own]
        return tf.concat([tf.fill([rows, 1], first), inside, tf.fill([rows, 1], last)], axis=1)

    text = framed(pieces.flat_values, encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id)
    owner = framed(owners, width, width)
    vectors = encoder.bert(text)
    segments = tf.cast(owner.value_rowids(), tf.int32) * (width + 1) + owner.flat_values
    cells = rows * (width + 1)
    sums = tf.reshape(
        tf.math.unsorted_segment_sum(vectors, segments, cells), [rows, width + 1, encoder.width]
    )
    counts = tf.math.unsorted_segment_sum(tf.ones_like(segments, tf.float32), segments, cells)
    return ReadParts(sums[:, :-1], tf.reshape(counts, [rows, width + 1])[:, :-1], sums[:, -1])


def word_contributions(
    raw: Tensors,
    ids: Any,
    parts: Any,
    read: ReadParts,
    tower: Callable[[Tensors, Any, Any], Any],
    *,
    text: str,
    width: int,
    turns: int,
) -> tuple[Any, Any]:
    """Contributions of the words to item vectors, item by item.

    Args:
        raw: Raw item features [K, ...] by name.
        ids: int32 [K] rows of the ID embedding, 0 = none.
        parts: string [K, W] words of the text, padded with "".
        read: The same, as BERT read them.
        tower: Item vectors float32 [C, D] of raw features [C, ...], ids [C] and text vectors [C, E].
        text: Name of the text feature.
        width: D.
        turns: Insertion orders, each with its reverse.

    Returns:
        float32 [K, D], the vectors of the items without their texts, and float32 [K, W, D].
    """

    def of_item(row: Tensors) -> tuple[Any, Any]:
        words = tf.boolean_mask(row["parts"], tf.not_equal(row["parts"], ""))
        count = tf.shape(words)[0]
        places = insertion_orders(count, turns)
        there = coalitions(places)
        rows = tf.shape(there)[0]
        repeated = {name: tf.repeat(row["raw"][name][tf.newaxis], rows, axis=0) for name in raw}
        repeated[text] = join_parts(words, there)
        left = _mean(there, row["sums"][:count], row["counts"][:count], row["frame"])
        vectors = tower(repeated, tf.fill([rows], row["ids"]), left)
        added = contributions(vectors, places)
        rest = tf.zeros([tf.shape(row["parts"])[0] - count, width])
        return vectors[0], tf.concat([added, rest], axis=0)

    rows = {
        "raw": raw,
        "ids": ids,
        "parts": parts,
        "sums": read.sums,
        "counts": read.counts,
        "frame": read.frame,
    }
    specs = (tf.TensorSpec([width], tf.float32), tf.TensorSpec([None, width], tf.float32))
    bare, added = tf.map_fn(of_item, rows, fn_output_signature=specs)
    return bare, added


def _mean(there: Any, sums: Any, counts: Any, frame: Any) -> Any:
    """float32 [C, E] text vectors of what is left; zeros where nothing is, as of an item without text."""
    shown = tf.cast(there, tf.float32)
    pieces = tf.linalg.matvec(shown, counts) + 2.0
    means = (tf.matmul(shown, sums) + frame) / pieces[:, tf.newaxis]
    return tf.where(tf.reduce_any(there, axis=1, keepdims=True), means, tf.zeros_like(means))
