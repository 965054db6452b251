"""Answers to a question inside an exported classifier: those of the known questions that are most like it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer import contract
from trainer.intent.vectors import Floats
from trainer.keras_compat import tf


class KnownTexts(NamedTuple):
    """Texts that were answered before.

    Attributes:
        vectors: float32 [N, E] of length 1.
        texts: [N] texts.
        answers: [N] answers.
    """

    vectors: Floats
    texts: Sequence[str]
    answers: Sequence[str]


class AnswerSearch(tf.Module):  # type: ignore[misc]
    """Finds distinct answers; how well one fits is the cosine of its text that is most like the question.

    Args:
        known: Texts and answers, A of them distinct.
        k: Answers to find, at most A.
    """

    def __init__(self, known: KnownTexts, k: int) -> None:
        super().__init__(name="answer_search")
        answers, numbers = np.unique(np.asarray(known.answers, object), return_inverse=True)
        self._k = k
        self._vectors = tf.Variable(known.vectors, trainable=False)
        self._texts = tf.Variable(list(known.texts), trainable=False)
        self._answers = tf.Variable(answers.tolist(), trainable=False)
        self._numbers = tf.Variable(numbers.astype(np.int32), trainable=False)

    def __call__(self, questions: Any) -> dict[str, Any]:
        """The best answers to questions.

        Args:
            questions: float32 [B, E] vectors of length 1.

        Returns:
            "answer" string [B, K], best first, "text" string [B, K], the known text of each that is most like the
            question, and "score" float32 [B, K], the cosine of the two.
        """
        texts, answers, numbers = map(tf.convert_to_tensor, (self._texts, self._answers, self._numbers))
        count = tf.shape(answers)[0]
        cosines = tf.matmul(self._vectors, questions, transpose_b=True)
        fits = tf.math.unsorted_segment_max(cosines, numbers, count)
        places = tf.where(
            cosines == tf.gather(fits, numbers), tf.range(tf.shape(texts)[0])[:, tf.newaxis], tf.int32.max
        )
        closest = tf.transpose(tf.math.unsorted_segment_min(places, numbers, count))
        best = tf.math.top_k(tf.transpose(fits), k=self._k)
        return {
            "text": tf.gather(texts, tf.gather(closest, best.indices, batch_dims=1)),
            "answer": tf.gather(answers, best.indices),
            contract.SCORE: best.values,
        }
