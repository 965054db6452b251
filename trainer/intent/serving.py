"""The classifier as signatures: labels and their probabilities, best first, from texts or serialized Examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trainer import contract
from trainer.intent.answer_search import AnswerSearch, KnownTexts
from trainer.intent.classifier import IntentClassifier, unit_means
from trainer.intent.on_recommender import IntentHead
from trainer.keras_compat import tf
from trainer.packed_bert import FrozenBert
from trainer.signatures import parse_examples
from trainer.text_encoder import TextEncoder

CLASSIFY = "classify_intent"
"""For the Classify RPC: serialized tf.train.Examples with a feature `query`."""
PREDICT = "predict_intent"
"""For the Predict RPC: `query` string [B] to `label` string [B, C] and `score` float32 [B, C], best first."""
NEAREST = "nearest_answers"
"""For the Predict RPC: `query` string [B] to distinct `answer` and `text` string [B, K], `score` float32 [B, K]."""
CLASSIFY_METHOD = "tensorflow/serving/classify"

_QUERY = {contract.QUERY: tf.TensorSpec([None], tf.string, name=contract.QUERY)}


class Intents(tf.Module):  # type: ignore[misc]
    """Answers with every class, most likely first.

    Args:
        classes: [C] names.
        kernel: float32 [E, C] and
        bias: float32 [C] of the dense layer; they are copied.
    """

    def __init__(self, classes: Sequence[str], kernel: Any, bias: Any) -> None:
        super().__init__(name="intents")
        self._head = [tf.Variable(weight, trainable=False) for weight in (kernel, bias)]
        self._classes = tf.constant(list(classes))

    def vectors(self, texts: Any) -> Any:
        """float32 [B, E] of length 1 of string [B] texts."""
        raise NotImplementedError

    def scores(self, texts: Any) -> Any:
        """float32 [B, C] probabilities of string [B]."""
        kernel, bias = self._head
        return tf.nn.softmax(tf.matmul(self.vectors(texts), kernel) + bias)

    def ranked(self, texts: Any) -> tuple[Any, Any]:
        """Labels string [B, C] and probabilities float32 [B, C], best first."""
        scores = self.scores(texts)
        best = tf.math.top_k(scores, k=scores.shape[1])
        return tf.gather(self._classes, best.indices), best.values

    def signatures(self) -> dict[str, Any]:
        """Concrete functions by signature name."""

        def predict_intent(query: Any) -> dict[str, Any]:
            labels, scores = self.ranked(query)
            return {"label": labels, contract.SCORE: scores}

        def classify_intent(inputs: Any) -> dict[str, Any]:
            labels, scores = self.ranked(parse_examples(inputs, _QUERY)[contract.QUERY])
            return {"classes": labels, "scores": scores}

        examples = tf.TensorSpec([None], tf.string, name="inputs")
        return {
            PREDICT: tf.function(predict_intent).get_concrete_function(**_QUERY),
            CLASSIFY: tf.function(classify_intent).get_concrete_function(inputs=examples),
        }


class IntentModule(Intents):
    """The classifier with a BERT of its own.

    Args:
        classifier: The trained classifier; its weights are copied.
        encoder: Its tokenizer and limits, and the BERT as it was before.
        classes: [C] names.
        known: Texts and their answers to find for a query, vectors as `joined` makes them; None = none are found.
        k: How many answers.
    """

    def __init__(
        self,
        classifier: IntentClassifier,
        encoder: TextEncoder,
        classes: Sequence[str],
        known: KnownTexts | None = None,
        k: int = 0,
    ) -> None:
        super().__init__(classes, *(weight.value for weight in classifier.head.weights))
        self._bert = FrozenBert(classifier.backbone)
        self._pack, self._pool = _Hidden(encoder.pack), _Hidden(encoder.pool)
        self._search = None if known is None else AnswerSearch(known, k)
        self._before: Any = (
            None if known is None else encoder.bert
        )  # the backbone itself has been taught since

    def vectors(self, texts: Any) -> Any:
        """As the classifier makes them."""
        pieces = self._pack.function(texts)
        return unit_means(self._bert(pieces), pieces)

    def _question_vectors(self, texts: Any, before: Any) -> Any:
        """float32 [B, E + F] as `joined` makes them, by the classifier's BERT and the one before."""
        pieces = self._pack.function(texts)
        plain = self._pool.function(before(pieces), tf.cast(pieces.row_lengths(), tf.int32))
        both = [unit_means(self._bert(pieces), pieces), tf.math.l2_normalize(plain, axis=1)]
        return tf.concat(both, axis=1) * np.float32(0.5**0.5)

    def signatures(self) -> dict[str, Any]:
        """Those of every classifier, and the one that finds answers if there are any."""
        signatures, search, before = super().signatures(), self._search, self._before
        if search is not None and before is not None:

            def nearest_answers(query: Any) -> dict[str, Any]:
                return search(self._question_vectors(query, before))

            signatures[NEAREST] = tf.function(nearest_answers).get_concrete_function(**_QUERY)
        return signatures


class TowerIntents(Intents):
    """A dense layer on the text tower of a served recommender, which keeps the tower's variables.

    Args:
        head: What was learned.
        encode: float32 [B, E] text vectors of string [B].
    """

    def __init__(self, head: IntentHead, encode: Callable[[Any], Any]) -> None:
        super().__init__(head.classes, head.kernel, head.bias)
        self._hidden = _Hidden(encode)

    def vectors(self, texts: Any) -> Any:
        """As the recommender reads queries."""
        return tf.math.l2_normalize(self._hidden.function(texts), axis=1)


class _Hidden:
    """A function out of sight of TensorFlow's tracking: it would bring a Keras BERT along."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function


def mark_classify(folder: str) -> None:
    """Declares the signature as one for Classify in a written SavedModel.

    TensorFlow 2 writes every signature as one for Predict, and TensorFlow Serving's Classify refuses those.
    """
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(folder)
    updater.replace_method_name(CLASSIFY, CLASSIFY_METHOD, tags=["serve"])
    updater.save()
