"""Shapley values by insertion orders: what each player adds when players come in one by one.

The Shapley value of a player is what it adds, averaged over all orders in which the players may come (Shapley 1953).
Here some orders stand for all: each is followed by its reverse (antithetic sampling, Mitchell 2022, section 4.1), and
further ones are the first one turned, so that every player comes early, in the middle and late equally often. Along any
one order the contributions add up to the difference between everybody and nobody, so they do in the mean. A game whose
value is a sum of the players' own has the same contributions in every order: there the result is exact.
"""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import tf

_STEP, _MODULUS = 40_503, 65_536
"""Multiplicative hashing (Knuth, The Art of Computer Programming 3, section 6.4): neighbours come far apart."""


def insertion_orders(players: Any, turns: int) -> Any:
    """The place of each player in each order, the same for the same number of players.

    Args:
        players: int32 scalar M, at most 65,536.
        turns: How many orders; each has its reverse beside it.

    Returns:
        int32 [2 turns, M], each row a permutation of 0 .. M - 1.
    """
    keys = tf.math.floormod(tf.range(players) * _STEP, _MODULUS)
    first = tf.argsort(tf.argsort(keys, stable=True), stable=True)
    shifts = tf.range(turns) * players // turns
    turned = tf.math.floormod(first + shifts[:, tf.newaxis], tf.maximum(players, 1))
    return tf.concat([turned, players - 1 - turned], axis=0)


def coalitions(places: Any) -> Any:
    """Who is there before, between and after the arrivals.

    Args:
        places: int32 [O, M] as of `insertion_orders`.

    Returns:
        bool [O (M + 1), M]: for each order first nobody, at last everybody.
    """
    orders, players = tf.shape(places)[0], tf.shape(places)[1]
    there = places[:, tf.newaxis, :] < tf.range(players + 1)[tf.newaxis, :, tf.newaxis]
    return tf.reshape(there, [orders * (players + 1), players])


def contributions(values: Any, places: Any) -> Any:
    """What each player adds, averaged over the orders.

    Args:
        values: float32 [O (M + 1), D] values of the `coalitions`; vectors will do, because contributions are linear.
        places: int32 [O, M] as of `insertion_orders`.

    Returns:
        float32 [M, D]; their sum is the value of everybody less that of nobody.
    """
    orders, players = tf.shape(places)[0], tf.shape(places)[1]
    along = tf.reshape(values, [orders, players + 1, values.shape[-1]])
    added = along[:, 1:] - along[:, :-1]
    return tf.reduce_mean(tf.gather(added, places, batch_dims=1), axis=0)
