from __future__ import annotations

import sys

import numpy as np
import pytest
from test_evaluation_baselines import ITEMS, SPLITS, checkerboard, one_query

from trainer.evaluation.baselines.base import HALF_LIVES, LearnOnce
from trainer.evaluation.baselines.ease import EASE
from trainer.evaluation.baselines.ials import IALS
from trainer.evaluation.baselines.item_text import BM25_B, BM25_K1, ItemText, TextIndex, words
from trainer.evaluation.baselines.registry import NAMES, candidates
from trainer.evaluation.baselines.tfrs_tutorial import TFRSTutorial
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import evaluate
from trainer.neighbours import ease

TEXTS = ["Dark star, dark night", "Star light", "Quiet garden", ""]


def test_learning_happens_once_for_the_same_arrays():
    calls = []
    learn = LearnOnce(lambda items, splits, size: calls.append(size) or len(calls))
    assert [learn(ITEMS, SPLITS, 5), learn(ITEMS, SPLITS, 5), learn(ITEMS.copy(), SPLITS, 5)] == [1, 1, 2]


@pytest.mark.parametrize("rows", [3, 1024])
def test_ease_minimizes_its_objective(monkeypatch, rows):
    monkeypatch.setattr(ease, "_ROWS_PER_BLOCK", rows)
    rng = np.random.default_rng(0)
    users = (rng.random((30, 8)) < 0.4).astype(float)
    weights = ease.ease_weights(users.T @ users, 2.0).astype(float)
    assert np.diag(weights).tolist() == [0] * 8

    def objective(candidate: np.ndarray) -> float:
        return np.square(users - users @ candidate).sum() + 2.0 * np.square(candidate).sum()

    for _ in range(50):
        step = rng.normal(scale=0.01, size=(8, 8))
        np.fill_diagonal(step, 0)
        assert objective(weights + step) > objective(weights)


@pytest.mark.parametrize("model", [EASE(), IALS(2)], ids=lambda model: model.name)
def test_linear_baselines_serve_an_empty_history_by_popularity(model):
    scores = model.fit(ITEMS, SPLITS, 5).scorer(one_query([]))(0, 1)
    assert scores.tolist() == [[3, 2, 1, 1, 0]]


def test_ease_refuses_what_it_cannot_invert():
    with pytest.raises(ValueError, match=r"up to 25,000 items, got 30,000"):
        EASE().fit(ITEMS, SPLITS, 30_000)
    with pytest.raises(ValueError, match="positive regularization, got -9"):
        EASE(-9.0).fit(ITEMS, SPLITS, 5)


@pytest.mark.parametrize("model", [EASE(10.0), IALS(8)], ids=lambda model: model.name)
def test_linear_baselines_solve_the_checkerboard(model):
    items, splits, queries = checkerboard()
    fitted = model.fit(items, splits, 20)
    assert evaluate(queries, fitted.scorer(queries), (1,)).metrics["recall@1"] == 1.0


def test_ials_agrees_with_the_least_squares_solution():
    items, splits, queries = checkerboard()
    fitted = IALS(4, regularization=0.5, alpha=3.0).fit(items, splits, 20)
    factors = fitted._model.item_factors.astype(float)
    seen = np.zeros(20)
    seen[queries.seen(0, 1)[1]] = 1
    # Hu, Koren and Volinsky (2008), eq. 4, with the library's confidence: alpha if seen, 1 if not.
    confidence = np.where(seen > 0, 3.0, 1.0)
    system = (factors * confidence[:, None]).T @ factors + 0.5 * np.eye(4)
    user = np.linalg.solve(system, factors.T @ (confidence * seen))
    assert fitted.scorer(queries)(0, 1)[0] == pytest.approx(factors @ user, abs=1e-3)


def test_ials_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"needs the package .* pip install 'twotower\[baselines\]'"
    ):
        IALS().fit(ITEMS, SPLITS, 5)


def test_words_are_folded():
    assert words("\uff24ark STAR's — Straße 7") == ["dark", "star", "s", "strasse", "7"]


def test_tf_idf_scores_are_cosines():
    index = TextIndex(TEXTS)
    scores = ItemText(index).fit(ITEMS[:6], SPLITS[:4], 4).scorer(one_query([0], target=3))(0, 1)[0]
    # dark (twice, in 1 text), star (2 texts), night (1 text); "Star light" shares one word.
    once, shared = np.log(5 / 2) + 1, np.log(5 / 3) + 1
    first = np.array([once * (1 + np.log(2)), shared, once])
    second = np.array([shared, once])
    assert scores[0] == pytest.approx(1.0)
    assert scores[1] == pytest.approx(shared * shared / np.linalg.norm(first) / np.linalg.norm(second))
    assert 0 > scores[2] > scores[3]  # no shared word: by popularity, below the others


def test_bm25_scores_of_a_free_text():
    scores = TextIndex(TEXTS, "bm25")
    got = ItemText(scores).score_texts(["STAR star unknown"])[0]
    idf = np.log1p((4 - 2 + 0.5) / (2 + 0.5))
    lengths, mean = np.array([4, 2]), 2.0
    expected = idf * (BM25_K1 + 1) / (1 + BM25_K1 * (1 - BM25_B + BM25_B * lengths / mean))
    assert got == pytest.approx([*expected, 0, 0])
    assert ItemText(scores).name == "BM25"


def test_texts_must_fit_the_catalogue():
    with pytest.raises(ValueError, match="each of 5 items, got 4"):
        ItemText(TextIndex(TEXTS)).fit(ITEMS, SPLITS, 5)


def test_an_empty_catalogue_of_words_scores_nothing():
    scores = (
        ItemText(TextIndex(["", ""]))
        .fit(np.array([1, 1]), np.array([0, 2]), 2)
        .scorer(one_query([0]))(0, 1)[0]
    )
    assert scores[1] > scores[0]


@pytest.mark.parametrize(("grid", "size"), [(EASE.grid(), 35), (IALS.grid(), 90), (ItemText.grid(TEXTS), 10)])
def test_grids_differ_and_hold_the_published_setting_without_recency(grid, size):
    settings = [candidate.settings() for candidate in grid]
    assert len({tuple(values.values()) for values in settings}) == len(settings) == size
    assert {values["half_life"] for values in settings} == set(HALF_LIVES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_candidates_that_rank(name):
    items, splits, queries = checkerboard()
    every = list(candidates(name, texts=[f"word{i % 2} film{i}" for i in range(20)]))
    assert len({str(candidate.settings()) for candidate in every}) == len(every)
    scores = every[0].fit(items, splits, 20).scorer(queries)(0, 3)
    assert scores.shape == (3, 20)
    assert np.isfinite(scores).all()


def test_the_tfrs_tutorial_learns_what_comes_next():
    # Twelve items in a circle; each user walks six steps, the seventh is asked.
    walks = (np.arange(36)[:, None] + np.arange(7)) % 12
    items, splits = walks[:, :6].ravel(), np.arange(37) * 6
    queries = EvaluationQueries.from_sequences(walks.ravel(), np.arange(37) * 7, np.full(36, 6))
    fitted = TFRSTutorial(width=16, learning_rate=0.3, epochs=60).fit(items, splits, 12)
    assert evaluate(queries, fitted.scorer(queries), (1,)).metrics["recall@1"] > 0.9
    counts = fitted.scorer(one_query([], target=0))(0, 1)[0]
    np.testing.assert_array_equal(
        counts, np.bincount(items, minlength=12)
    )  # popularity where nothing is known


def test_tuning_the_tfrs_tutorial_trains_each_width_and_rate_once_and_finds_what_each_alone_would_learn():
    walks = (np.arange(24)[:, None] + np.arange(6)) % 12
    items, splits = walks.ravel(), np.arange(25) * 6
    queries = EvaluationQueries.from_sequences(items, splits, np.full(24, 5))
    published, three, ten = list(TFRSTutorial.grid(seed=1))[:3]
    assert (published.settings()["epochs"], three.epochs, ten.epochs) == (3, 3, 10)
    for shared in (three, ten):
        alone = TFRSTutorial(seed=1, epochs=shared.epochs, batch=512).fit(items, splits, 12)
        shared.fit(items, splits, 12)
        np.testing.assert_array_equal(shared.scorer(queries)(0, 24), alone.scorer(queries)(0, 24))


def test_unknown_names_and_missing_texts_are_refused():
    with pytest.raises(ValueError, match="no baseline 'svd', expected one of popularity, item-knn"):
        candidates("svd")
    with pytest.raises(ValueError, match="needs the texts"):
        candidates("item-text")
