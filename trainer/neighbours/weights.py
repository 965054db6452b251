"""How much each opinion counts in the order of a list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Blend:
    """Factors of what is added to the learned score.

    Retrieval score = learned score + `history_words` x BM25's score of the words of the history; ranking score =
    retrieval score + `correction` x the ranking head's + `neighbours` x the neighbours'.

    Attributes:
        correction: 0 = the ranking head is not heard, 1 = as it was trained.
        neighbours: Factor of the sum of the weights that lead from the history to an item.
        half_life: Events of the history after which one counts half for its neighbours; None = all count the same.
        history_words: Factor of the product of the sketches (`trainer/lexical.py`) of the history's items and an item.
        words_half_life: As `half_life`, for these.
    """

    correction: float = 1.0
    neighbours: float = 0.0
    half_life: float | None = None
    history_words: float = 0.0
    words_half_life: float | None = None
