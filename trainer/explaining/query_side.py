"""What each event of the history, each word of the query and each feature of the user adds to the query vector.

A retrieval score is the product of the query vector and the item's, so contributions to the vector serve all items of a
request: they are computed once and multiplied with each item. A hidden event or word is left out of the raw request,
and a hidden feature is missing in it: what the model says to such a request is what it would say to a user without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer import contract
from trainer.explaining.coalitions import coalitions, contributions, insertion_orders
from trainer.explaining.text_parts import join_parts, text_parts
from trainer.keras_compat import tf

Tensors = dict[str, Any]
_SEQUENCES = (contract.HISTORY_ITEM_ID, contract.HISTORY_TIMESTAMP, contract.HISTORY_EVENT)


@dataclass(frozen=True)
class Limits:
    """How much of a request is taken apart; what is beyond stays together.

    Attributes:
        history: Most recent known events; the model reads no more.
        items: Most items of a request; one with more is refused.
        words: Words of a text; the last one stands for the rest.
        turns: Insertion orders, each with its reverse. Eight are as near to the Shapley value as thirty drawn by chance
            (docs/benchmarks.md).
    """

    history: int
    items: int
    words: int = 24
    turns: int = 4


def query_contributions(
    inputs: Tensors,
    known_events: Any,
    embed: Callable[[Tensors], Any],
    limits: Limits,
    *,
    width: int,
    words: Any | None,
) -> Tensors:
    """Contributions to the query vectors of a batch, row by row.

    Args:
        inputs: The query side of a request, [B, ...] by name.
        known_events: bool [B, H], events of the history that the model knows.
        embed: Query vectors float32 [C, D] of such inputs [C, ...].
        limits: How much is taken apart.
        width: D.
        words: string [B, W] parts of the query, padded with ""; None = the model does not read it.

    Returns:
        "empty" float32 [B, D], the vector of a request without anything; "history" [B, H, D]; "words" [B, W, D]; and
        "user" [B, U, D] in the order of `user_features`. The sum over all of a row is its query vector.
    """
    columns = inputs | {"known": known_events}
    if words is not None:
        columns["words"] = words
    vectors = tf.TensorSpec([None, width], tf.float32)
    found: Tensors = tf.map_fn(
        lambda row: _of_row(row, lambda requests: tf.ensure_shape(embed(requests), [None, width]), limits),
        columns,
        fn_output_signature={
            "empty": tf.TensorSpec([width], tf.float32),
            "history": vectors,
            "words": vectors,
            "user": vectors,
        },
        parallel_iterations=1,  # a row may need all the memory that one is allowed
    )
    return found


def user_features(names: Sequence[str]) -> list[str]:
    """Which inputs of the query side are features of the user, in their order."""
    return sorted(set(names) - {*_SEQUENCES, contract.QUERY})


def parts_of(texts: Any, limits: Limits, max_characters: int) -> Any:
    """Strings [B, W], the words of string [B] texts as far as a model reads them."""
    return text_parts(tf.strings.substr(texts, 0, max_characters, unit="UTF8_CHAR"), limits.words)


def _of_row(row: Tensors, embed: Callable[[Tensors], Any], limits: Limits) -> Tensors:
    names = user_features([name for name in row if name not in ("known", "words")])
    recent = row["known"] & (tf.cumsum(tf.cast(row["known"], tf.int32), reverse=True) <= limits.history)
    events = tf.where(recent)
    words = row.get("words", tf.zeros([0], tf.string))
    heard = tf.boolean_mask(words, tf.not_equal(words, ""))
    sizes = [tf.shape(events)[0], tf.shape(heard)[0], len(names)]
    places = insertion_orders(tf.add_n(sizes), limits.turns)
    there = tf.split(coalitions(places), sizes, axis=1)
    vectors = embed(_requests(row, events[:, 0], heard, names, there))
    history, said, user = tf.split(contributions(vectors, places), sizes, axis=0)
    length, width = tf.shape(recent, tf.int64)[0], vectors.shape[-1]
    silent = tf.zeros([tf.shape(words)[0] - sizes[1], width])
    return {
        "empty": vectors[0],
        "history": tf.scatter_nd(events, history, [length, width]),
        "words": tf.concat([said, silent], axis=0),
        "user": user,
    }


def _requests(row: Tensors, events: Any, words: Any, names: Sequence[str], there: Sequence[Any]) -> Tensors:
    """The request of one user as each coalition would make it."""
    shown, heard, told = there
    rows = tf.shape(shown)[0]
    requests = {}
    for name in (name for name in _SEQUENCES if name in row):
        column = tf.gather(row[name], events)[tf.newaxis]
        requests[name] = (
            tf.where(shown, column, "")
            if name == contract.HISTORY_ITEM_ID
            else tf.repeat(column, rows, axis=0)
        )
    requests[contract.QUERY] = join_parts(words, heard)
    for place, name in enumerate(names):
        missing = "" if row[name].dtype == tf.string else np.float32(np.nan)
        requests[name] = tf.where(told[:, place], row[name], missing)
    return requests
