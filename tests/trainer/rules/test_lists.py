"""Lists under rules: the graph against plain Python, and what must hold whatever the numbers are."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.keras_compat import tf
from trainer.live_rules import Shelf, Wishes, choose
from trainer.rules.list_rules import ListRules
from trainer.rules.lists import CatalogueRules, Taken
from trainer.rules.masks import block_variants, by_category
from trainer.rules.permission import Permission
from trainer.top_k import exact_top_k

K, WINDOW, CATEGORIES, WIDTH = 5, 7, 4, 2


class Catalogue:
    """Random items whose scores and vectors are small fractions, so that sums are exact in any order."""

    def __init__(self, seed: int, items: int, rows: int) -> None:
        rng = np.random.default_rng(seed)
        self.scores = (rng.integers(-40, 40, (rows, items)) / 8).astype(np.float32)
        self.hidden = rng.random((rows, items)) < 0.2
        self.categories = np.full((items, WIDTH), -1, np.int32)
        for row in self.categories:
            wanted = rng.permutation(CATEGORIES)[: rng.integers(0, WIDTH + 1)]
            row[: len(wanted)] = wanted
        self.variants = rng.integers(-1, max(1, items // 2), items).astype(np.int64)
        self.vectors = rng.integers(-2, 3, (items, 3)).astype(np.float32)

    def shelf(self, row: int) -> Shelf:
        order = np.argsort(-self.scores[row], kind="stable")
        names = [{str(c) for c in categories if c >= 0} for categories in self.categories]
        shown = [int(item) for item in order if not self.hidden[row, item]]
        return Shelf(shown, self.scores[row], names, self.variants, self.vectors)

    def lists(self, rules: ListRules) -> tuple[Any, ...]:
        excluded = np.where(self.hidden, np.arange(len(self.variants)), -1).astype(np.int32)
        columns = (
            rules.max_per_category,
            rules.one_per_variant,
            rules.diversity,
            rules.exploration,
            rules.seed,
        )
        found = _lists(self.scores, excluded, self.categories, self.variants, self.vectors, *columns)
        return tuple(part.numpy() for part in found)


@tf.function(  # type: ignore[untyped-decorator]
    input_signature=[
        tf.TensorSpec(shape, dtype)
        for shape, dtype in (
            *(([None, None], tf.float32), ([None, None], tf.int32), ([None, WIDTH], tf.int32)),
            *(([None], tf.int64), ([None, 3], tf.float32), ([None], tf.int64), ([None], tf.bool)),
            *(([None], tf.float32), ([None], tf.float32), ([None], tf.int64)),
        )
    ]
)
def _lists(scores: Any, excluded: Any, categories: Any, variants: Any, vectors: Any, *columns: Any) -> Any:
    """Traced once for all sizes, as in an exported model."""

    none = tf.zeros([tf.shape(scores)[0], 0], tf.int32)
    nobody = tf.zeros([tf.shape(scores)[0]], tf.bool)

    def search(taken: Taken, first: Any, carried: Any) -> tuple[Any, Any]:
        used_up = (
            by_category(categories, tf.constant(CATEGORIES), none, nobody, none, taken),
            block_variants(variants, taken),
        )
        permission = Permission(tf.concat([excluded, taken.rows], axis=1), used_up)
        return exact_top_k(permission.apply(scores), WINDOW), carried

    catalogue = CatalogueRules(
        categories, tf.constant(CATEGORIES), variants, lambda rows: tf.gather(vectors, tf.maximum(rows, 0))
    )
    return catalogue.lists(search, ListRules(*columns), K)


def as_rules(wishes: list[Wishes]) -> ListRules:
    return ListRules(
        tf.constant([w.max_per_category for w in wishes], tf.int64),
        tf.constant([w.one_per_variant for w in wishes]),
        tf.constant([w.diversity for w in wishes], tf.float32),
        tf.constant([w.exploration for w in wishes], tf.float32),
        tf.constant([w.seed for w in wishes], tf.int64),
    )


wish = st.builds(
    Wishes,
    max_per_category=st.integers(0, 3),
    one_per_variant=st.booleans(),
    diversity=st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]),
    exploration=st.sampled_from([0.0, 0.0, 0.1, 2.0]),
    seed=st.integers(-(2**63), 2**63 - 1),
)
wish_lists = st.lists(wish, min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 40), wish_lists)
def test_the_graph_chooses_as_plain_python_does(seed: int, items: int, wishes: list[Wishes]) -> None:
    catalogue = Catalogue(seed, items, len(wishes))
    rows, scores, propensity, count = catalogue.lists(as_rules(wishes))
    for place, each in enumerate(wishes):
        shelf = catalogue.shelf(place)
        expected, chances = choose(each, shelf, K, WINDOW, [row for row in rows[place].tolist() if row >= 0])
        padding = K - len(expected)
        assert rows[place].tolist() == expected + [-1] * padding
        assert scores[place].tolist() == [*shelf.scores[expected], *[-np.inf] * padding]
        np.testing.assert_allclose(propensity[place], chances + [0.0] * padding, rtol=1e-4)
        assert count[place] == len(expected)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 40), wish_lists)
def test_what_holds_for_every_list(seed: int, items: int, wishes: list[Wishes]) -> None:
    catalogue = Catalogue(seed, items, len(wishes))
    rows, scores, propensity, _ = catalogue.lists(as_rules(wishes))
    for place, each in enumerate(wishes):
        shelf = catalogue.shelf(place)
        found = [row for row in rows[place].tolist() if row >= 0]
        assert len(set(found)) == len(found)
        assert not catalogue.hidden[place][found].any()
        held = Counter(name for row in found for name in shelf.categories[row])
        groups = [shelf.variants[row] for row in found if shelf.variants[row] >= 0]
        if each.max_per_category:
            assert max(held.values(), default=0) <= each.max_per_category
        if each.one_per_variant:
            assert len(set(groups)) == len(groups)
        if len(found) < K:  # then nothing is left that would fit
            for row in set(shelf.order) - set(found):
                full = each.max_per_category and any(
                    held[name] >= each.max_per_category for name in shelf.categories[row]
                )
                assert full or (each.one_per_variant and shelf.variants[row] in groups)
        assert (np.isfinite(scores[place]) == (rows[place] >= 0)).all()
        assert ((propensity[place] > 0) == (rows[place] >= 0)).all()
        if not each.exploration:
            assert set(propensity[place]) <= {0.0, 1.0}
        if not (each.exploration or each.diversity):
            assert (np.diff(scores[place][: len(found)]) <= 0).all()


def test_a_row_gets_the_same_list_whatever_stands_beside_it() -> None:
    wishes = [
        Wishes(exploration=1.0, seed=3),
        Wishes(),
        Wishes(diversity=0.5, exploration=0.5, seed=9),
        Wishes(max_per_category=1),
    ]
    catalogue = Catalogue(5, 40, len(wishes))
    together = catalogue.lists(as_rules(wishes))
    for place, each in enumerate(wishes):
        alone = Catalogue(5, 40, len(wishes))
        alone.scores, alone.hidden = alone.scores[[place]], alone.hidden[[place]]
        for one, all_rows in zip(alone.lists(as_rules([each])), together, strict=True):
            np.testing.assert_allclose(one[0], all_rows[place], rtol=1e-6)


def test_seeds_make_lists() -> None:
    catalogue = Catalogue(5, 40, 1)
    first, again, other = (
        catalogue.lists(as_rules([Wishes(exploration=3.0, seed=seed)]))[0].tolist() for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_places_are_drawn_as_often_as_their_propensity_says() -> None:
    """Three items, scores 0, ln 2, ln 4 at temperature 1: weights 1, 2, 4.

    First place: 1/7, 2/7, 4/7. After the item of weight 4 the next has 1/3 and 2/3. 8,000 draws have a standard
    deviation of at most 0.0056; the seeds are fixed, four of them are allowed.
    """
    draws = 8000
    catalogue = Catalogue(0, 3, draws)
    catalogue.scores = np.tile(np.log([1.0, 2.0, 4.0]).astype(np.float32), (draws, 1))
    catalogue.hidden[:] = False
    rows, _, propensity, _ = catalogue.lists(
        as_rules([Wishes(exploration=1.0, seed=s) for s in range(draws)])
    )
    for item, expected in enumerate((1 / 7, 2 / 7, 4 / 7)):
        mine = rows[:, 0] == item
        assert abs(mine.mean() - expected) < 0.0225
        np.testing.assert_allclose(propensity[mine, 0], expected, rtol=1e-5)
    after = rows[rows[:, 0] == 2]
    assert abs((after[:, 1] == 1).mean() - 2 / 3) < 0.0225
    np.testing.assert_allclose(propensity[:, 2], 1.0)  # whoever is left comes last
    assert (propensity[:, 3:] == 0).all()


def test_full_diversity_goes_where_nothing_was() -> None:
    """d = 1: after the first pick only the highest cosine with what was chosen counts."""
    catalogue = Catalogue(0, 4, 1)
    catalogue.scores = np.asarray([[4.0, 3.0, 2.0, 1.0]], np.float32)
    catalogue.hidden[:] = False
    catalogue.vectors = np.asarray([[1, 0, 0], [2, 0, 0], [1, 1, 0], [-1, 0, 0]], np.float32)
    rows = catalogue.lists(as_rules([Wishes(diversity=1.0)]))[0][0]
    # Item 0 first. Cosines with it: 1, 0.71, -1, so item 3; then the closest of 0 and 3: item 2 0.71, item 1 1.
    assert rows.tolist() == [0, 3, 2, 1, -1]


def test_half_diversity_by_hand() -> None:
    """d = 0.5, spread 4 - 1 = 3. After item 0: item 1 has 1.5 - 1.5 = 0, item 2 1 - 1.5 x 0.6 = 0.1, item 3 -1."""
    catalogue = Catalogue(0, 4, 1)
    catalogue.scores = np.asarray([[4.0, 3.0, 2.0, 1.0]], np.float32)
    catalogue.hidden[:] = False
    catalogue.vectors = np.asarray([[1, 0, 0], [2, 0, 0], [3, 4, 0], [1, 0, 0]], np.float32)
    rows = catalogue.lists(as_rules([Wishes(diversity=0.5)]))[0][0]
    assert rows.tolist()[:2] == [0, 2]


def test_caps_reach_far_down_the_catalogue() -> None:
    """Thirty items of one category stand first; with a cap of one the list goes on behind them, a search later."""
    catalogue = Catalogue(1, 40, 1)
    catalogue.scores = np.arange(40, 0, -1, dtype=np.float32)[np.newaxis]
    catalogue.hidden[:] = False
    catalogue.categories[:] = -1
    catalogue.categories[:30, 0] = 0
    rows = catalogue.lists(as_rules([Wishes(max_per_category=1)]))[0][0]
    assert rows.tolist() == [0, 30, 31, 32, 33]
    catalogue.categories[30:, 0] = 1
    rows = catalogue.lists(as_rules([Wishes(max_per_category=2)]))[0][0]
    assert rows.tolist() == [0, 1, 30, 31, -1]


def test_a_catalogue_smaller_than_the_list() -> None:
    catalogue = Catalogue(2, 1, 1)
    catalogue.hidden[:] = False
    rows, scores, propensity, _ = catalogue.lists(as_rules([Wishes(diversity=0.5, exploration=1.0)]))
    assert rows[0].tolist() == [0, -1, -1, -1, -1]
    assert np.isneginf(scores[0, 1:]).all()
    assert propensity[0].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
