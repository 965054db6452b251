"""Items whose texts share words: TF-IDF and BM25, which need no interaction at all."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from trainer.evaluation.baselines.base import (
    HALF_LIVES,
    SparseRows,
    history_matrix,
    item_counts,
    popularity_for_zeros,
)
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import Scorer, Scores

_WORD = re.compile(r"\w+")
#: Lucene's defaults.
BM25_K1, BM25_B = 1.2, 0.75
Weighting = Literal["tf-idf", "bm25"]


class TextIndex:
    """Bag-of-words vectors of a catalogue, made once and shared by baselines.

    Args:
        texts: One text an item, in the order of the catalogue; "" = none.
        weighting: ``tf-idf``: ``(1 + ln tf) (ln((1 + N) / (1 + df)) + 1)``, unit length, so that products are
            cosines. ``bm25``: Robertson and Zaragoza (2009) with Lucene's defaults and its idf
            ``ln(1 + (N - df + .5) / (df + .5))``; the asking side counts words once.
    """

    def __init__(self, texts: Sequence[str], weighting: Weighting = "tf-idf") -> None:
        self.weighting = weighting
        self._columns: dict[str, int] = {}
        counts = self._count(texts, grow=True)
        frequency = np.bincount(counts.indices, minlength=counts.shape[1])
        if weighting == "bm25":
            self._idf = np.log1p((len(texts) - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
            self.documents = self._bm25(counts)
        else:
            self._idf = (np.log((1 + len(texts)) / (1 + frequency)) + 1).astype(np.float32)
            self.documents = self._tf_idf(counts)
        self.queries = self._as_query(counts)

    def embed(self, texts: Sequence[str]) -> SparseRows:
        """Texts as the asking side of a product with `documents`; words outside the catalogue are ignored."""
        return self._as_query(self._count(texts, grow=False))

    def _as_query(self, counts: SparseRows) -> SparseRows:
        if self.weighting == "tf-idf":
            return self._tf_idf(counts)
        return sparse.csr_matrix(
            (np.ones_like(counts.data), counts.indices, counts.indptr), shape=counts.shape
        )

    def _count(self, texts: Sequence[str], *, grow: bool) -> SparseRows:
        """Word counts, CSR [len(texts), words]."""
        indptr, indices, data = [0], [], []
        for text in texts:
            for word, count in Counter(words(text)).items():
                column = (
                    self._columns.setdefault(word, len(self._columns)) if grow else self._columns.get(word)
                )
                if column is not None:
                    indices.append(column)
                    data.append(count)
            indptr.append(len(indices))
        return sparse.csr_matrix(
            (np.array(data, np.float32), indices, indptr), (len(texts), len(self._columns))
        )

    def _tf_idf(self, counts: SparseRows) -> SparseRows:
        vectors = counts.copy()
        vectors.data = (1 + np.log(counts.data)) * self._idf[counts.indices]
        norm = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1), np.float32).ravel())
        vectors.data /= np.repeat(norm, np.diff(vectors.indptr))
        return vectors

    def _bm25(self, counts: SparseRows) -> SparseRows:
        vectors, lengths = counts.copy(), np.asarray(counts.sum(axis=1), np.float32).ravel()
        mean = max(float(lengths.mean()), 1.0) if len(lengths) else 1.0
        slack = np.repeat(BM25_K1 * (1 - BM25_B + BM25_B * lengths / mean), np.diff(counts.indptr))
        vectors.data = self._idf[counts.indices] * counts.data * (BM25_K1 + 1) / (counts.data + slack)
        return vectors


class ItemText:
    """Scores candidates by the words they share with the history's items.

    Args:
        index: The catalogue's texts.
        half_life: Events after which a history event counts half; None = all count the same.
    """

    def __init__(self, index: TextIndex, half_life: float | None = None) -> None:
        self.index, self.half_life = index, half_life
        self._counts = np.zeros(0, np.float32)

    @classmethod
    def grid(cls, texts: Sequence[str]) -> Iterator[ItemText]:
        """The 10 settings that tuning tries."""
        weightings: tuple[Weighting, ...] = ("tf-idf", "bm25")
        for weighting in weightings:
            index = TextIndex(texts, weighting)
            for half_life in HALF_LIVES:
                yield cls(index, half_life)

    @property
    def name(self) -> str:
        """The weighting, as it is known."""
        return {"tf-idf": "TF-IDF", "bm25": "BM25"}[self.index.weighting]

    def settings(self) -> dict[str, object]:
        """The settings by name."""
        return {"weighting": self.index.weighting, "half_life": self.half_life}

    def fit(
        self, train_items: npt.NDArray[np.integer], row_splits: npt.NDArray[np.integer], num_items: int
    ) -> ItemText:
        """Counts events for the order of items without a shared word; the texts need no training.

        Raises:
            ValueError: if there is not one text an item.
        """
        if self.index.documents.shape[0] != num_items:
            raise ValueError(
                f"the text baseline needs one text for each of {num_items} items, "
                f"got {self.index.documents.shape[0]}"
            )
        self._counts = item_counts(train_items, num_items)
        return self

    def scorer(self, queries: EvaluationQueries) -> Scorer:
        """Sums the similarities to each history's texts; popularity orders what shares no word."""
        documents = self.index.documents.T.tocsr()

        def score(start: int, stop: int) -> Scores:
            history = history_matrix(queries, start, stop, documents.shape[1], self.half_life)
            scores: Scores = (history @ self.index.queries @ documents).toarray()
            return popularity_for_zeros(scores, self._counts)

        return score

    def score_texts(self, texts: Sequence[str]) -> Scores:
        """Scores of free-text queries, float32 [len(texts), N]; 0 = no shared word."""
        scores: Scores = (self.index.embed(texts) @ self.index.documents.T).toarray()
        return scores


def words(text: str) -> list[str]:
    """The words of a text, without case and compatibility forms."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
