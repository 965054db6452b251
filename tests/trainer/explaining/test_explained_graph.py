"""`explain` as any caller asks it, beside the live model and beside what follows from its definition."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from trainer.config import ProjectConfig
from trainer.dataset import DatasetDirectory
from trainer.explaining.build import build_serving_model, described_items
from trainer.explaining.text_parts import text_parts
from trainer.index import ItemIndex
from trainer.indexes.table import VectorTable
from trainer.keras_compat import tf
from trainer.live import LiveModel, item_categories
from trainer.probes import Probes
from trainer.refresh.items_file import items_of
from trainer.rules.list_rules import NEUTRAL
from trainer.scoring import encode_catalogue
from trainer.sequences import load_sequences
from trainer.signatures import _traced, inputs_of, signature_inputs
from trainer.verification import check_same
from trainer.workbench import Workbench

SIGNATURES = ("explain", "retrieve", "rank", "embed_query")


@pytest.fixture(scope="module")
def bench(config: ProjectConfig) -> Workbench:
    """A model that has learned nothing, with weights large enough to tell everything apart."""
    dataset = DatasetDirectory.open(config.dataset_dir("leave_last_out"))
    bench = Workbench.open(config, dataset, Console(quiet=True))
    rng = np.random.default_rng(0)
    for weight in (*bench.model.query_tower.weights, *bench.model.item_tower.weights):
        if len(weight.shape) > 1:
            weight.assign(rng.normal(0, 0.4, weight.shape))
    return bench


@pytest.fixture(scope="module")
def loaded(config: ProjectConfig, bench: Workbench) -> Any:
    """Its signatures, as an export traces them."""
    wanted = config.export.model_copy(update={"explanations": True, "explanation_items": 12})
    preparation = bench.preparation
    inputs, catalogue = (
        signature_inputs(bench.model, preparation.item_text, explained=True),
        preparation.catalogue,
    )
    index = ItemIndex(
        catalogue.item_ids,
        VectorTable(encode_catalogue(bench.model).numpy()),
        catalogue.counts,
        item_categories(bench),
        id_rows=bench.model.known_catalogue.inputs["id"].numpy(),
        descriptions=described_items(wanted, bench, inputs, list(items_of(catalogue, inputs.item))),
    )
    served = build_serving_model(wanted, bench, index, inputs, {"limits": {"history": 6}})
    specs = inputs_of(inputs)
    traced = {name: _traced(getattr(served, name), specs[name], name) for name in SIGNATURES}
    functions = {name: function.get_concrete_function() for name, function in traced.items()}
    return SimpleNamespace(signatures=functions, inputs=inputs, config=wanted, served=served)


def test_the_graph_says_what_the_live_model_says(loaded: Any, bench: Workbench) -> None:
    test = load_sequences(bench.dataset, "test", bench.preparation.catalogue)
    asked = Probes(bench.preparation, test, loaded.inputs).of("explain", 4)
    live = LiveModel(bench, 10, 6, explains=loaded.config).answer("explain", asked)
    specs = inputs_of(loaded.inputs)["explain"]
    given = {name: tf.constant(value, specs[name].dtype) for name, value in asked.items()}
    came = {name: value.numpy() for name, value in loaded.signatures["explain"](**given).items()}
    assert live.keys() == came.keys()
    for name, expected in live.items():
        found = came[name].astype("S") if came[name].dtype == object else came[name]
        check_same("explain", name, expected, found, live)


def ask(loaded: Any, signature: str, **inputs: Any) -> dict[str, Any]:
    given = {name: tf.constant(value) for name, value in inputs.items()}
    return {name: value.numpy() for name, value in loaded.signatures[signature](**given).items()}


def side(histories: list[list[str]], queries: list[str]) -> dict[str, Any]:
    rows = len(histories)
    return {
        "history_item_id": histories, "query": queries, "gender": ["F"] * rows, "age": [30.0] * rows,
    }  # fmt: skip


def explain(
    loaded: Any, histories: list[list[str]], queries: list[str], items: list[list[str]]
) -> dict[str, Any]:
    return ask(loaded, "explain", **side(histories, queries), item_id=items)


def total(answer: dict[str, Any]) -> Any:
    names = ("history_contribution", "query_word_contribution", "user_feature_contribution")
    return answer["baseline"] + sum(answer[name].sum(axis=2) for name in names)


def test_contributions_add_up_to_the_score_of_retrieval(loaded: Any) -> None:
    histories, queries = [["i0", "i2", "i4", ""], ["i1", "i3", "", ""]], ["a dark film", ""]
    neutral = {"exclude_item_id": [[""]] * 2, "allow_category": [[""]] * 2}
    listed = ask(loaded, "retrieve", **side(histories, queries), **rules(neutral))
    answer = ask(loaded, "explain", **side(histories, queries), item_id=listed["item_id"])
    np.testing.assert_allclose(answer["score"], listed["score"], rtol=1e-4)
    np.testing.assert_allclose(total(answer), answer["score"], atol=1e-4)
    np.testing.assert_allclose(
        answer["item_baseline"] + answer["item_word_contribution"].sum(axis=2), answer["score"], atol=1e-4
    )
    assert (answer["completeness_error"] < 1e-4).all()


def rules(given: dict[str, Any]) -> dict[str, Any]:
    rows = len(next(iter(given.values())))
    return {name: tf.constant(row * rows, dtype) for name, (dtype, row) in NEUTRAL.items()} | given


@pytest.mark.parametrize(
    "text", ["caf\u00e9 cre\u0301me", "zero\u200bwidth soft\u00adhyphen", "\u3000wide\u00a0space"]
)
def test_a_text_that_is_cleaned_is_read_in_parts_as_it_is_read_whole(bench: Workbench, text: str) -> None:
    encoder = bench.encoder
    assert encoder is not None

    @tf.function
    def pieces() -> Any:
        parts = text_parts(tf.constant([text]), 24)
        return encoder.pieces(tf.reshape(parts, [-1])).flat_values, encoder.pieces(tf.constant([text]))

    apart, whole = pieces()
    assert apart.numpy().tolist() == whole.flat_values.numpy().tolist()


def test_names_stand_beside_contributions(loaded: Any) -> None:
    answer = explain(loaded, [["i0", "zz", "i4"]], ["a dark film"], [["i6"]])
    assert answer["history_item_id"].tolist() == [[[b"i0", b"zz", b"i4"]]]
    assert answer["history_contribution"][0, 0, 1] == 0  # nobody knows it
    assert answer["history_contribution"][0, 0, [0, 2]].all()
    assert answer["query_word"].tolist() == [[[b"a", b"dark", b"film"]]]
    assert answer["user_feature"].tolist() == [[[b"age", b"gender"]]]
    assert answer["item_word"].tolist() == [[[b"a", b"funny", b"film", b"i6"]]]


def test_leaving_out_two_who_are_everything(loaded: Any) -> None:
    # Without features of the user and words, two events are the only players. Each comes first in half of the orders:
    # a gets ((v(a) - v()) + (v(ab) - v(b))) / 2, where v is the product of the query and the item's vector.
    def query(history: list[str]) -> Any:
        inputs = {**side([history], [""]), "gender": [""], "age": [float("nan")]}
        return ask(loaded, "embed_query", **inputs)["embedding"][0]

    inputs = {**side([["i0", "i2"]], [""]), "gender": [""], "age": [float("nan")]}
    answer = ask(loaded, "explain", **inputs, item_id=[["i4"]])
    nobody, first, second, both = query([""]), query(["i0"]), query(["i2"]), query(["i0", "i2"])
    # The features are players too, but missing ones add nothing, in whatever order they come.
    shares = [(first - nobody + both - second) / 2, (second - nobody + both - first) / 2]
    item = np.linalg.lstsq(
        np.stack([nobody, both, first, second]),
        [answer["baseline"][0, 0], answer["score"][0, 0], 0, 0],
        rcond=None,
    )
    assert item is not None
    found = answer["history_contribution"][0, 0]
    assert found.sum() == pytest.approx(answer["score"][0, 0] - answer["baseline"][0, 0], abs=1e-4)
    assert answer["user_feature_contribution"].tolist() == [[[0, 0]]]
    vectors = item_vector(loaded, "i4")
    np.testing.assert_allclose(found, [share @ vectors for share in shares], atol=1e-4)


def item_vector(loaded: Any, item: str) -> Any:
    """The vector that the index holds, times what scores are divided by: solved from scores of known queries."""
    histories = [["i0"], ["i2"], ["i4"], ["i8"], ["i1"], ["i3"], ["i5"], ["i7"]] * 3
    words = ["", "a dark film", "sad"]
    queries = [words[place // 8] for place in range(len(histories))]
    vectors = ask(loaded, "embed_query", **side(histories, queries))["embedding"]
    scores = explain(loaded, histories, queries, [[item]] * len(histories))["score"][:, 0]
    return np.linalg.lstsq(vectors, scores, rcond=None)[0]


def test_unknown_items_have_no_explanation(loaded: Any) -> None:
    answer = explain(loaded, [["i0"]], ["dark"], [["no such item", "", "i2"]])
    assert np.isnan(answer["score"][0]).tolist() == [True, True, False]
    assert np.isnan(answer["baseline"][0]).tolist() == [True, True, False]
    assert not answer["history_contribution"][0, :2].any()
    assert not answer["item_word_contribution"][0, :2].any()
    assert answer["nearest_item_id"][0].tolist() == [[b""] * 3, [b""] * 3, [b"i0", b"", b""]]
    assert np.isneginf(answer["nearest_cosine"][0, 0]).all()


def test_of_whom_nothing_is_known_everything_is_popularity(loaded: Any) -> None:
    answer = explain(loaded, [["", "zz"]], [" "], [["i0", "i1"]])
    np.testing.assert_array_equal(answer["score"], answer["baseline"])
    ranked = ask(loaded, "rank", **side([["", ""]], [""]), item_id=[["i0", "i1"]])
    np.testing.assert_allclose(answer["score"], ranked["score"], rtol=1e-5)
    assert not any(values.any() for name, values in answer.items() if name.endswith("_contribution"))


def test_a_request_about_too_many_items_is_refused(loaded: Any) -> None:
    most = loaded.config.explanation_items
    assert explain(loaded, [["i0"]], [""], [["i2"] * most])["score"].shape == (1, most)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"at most {most} items a request.*{most + 1}"):
        explain(loaded, [["i0"]], [""], [["i2"] * (most + 1)])


def test_the_nearest_items_of_the_history_are_named(loaded: Any) -> None:
    answer = explain(loaded, [["i0", "i1", "i2", "i3", "i6"]], [""], [["i6"]])
    assert answer["nearest_item_id"][0, 0, 0] == b"i6"
    assert answer["nearest_cosine"][0, 0, 0] == pytest.approx(1, abs=1e-5)
    assert (np.diff(answer["nearest_cosine"][0, 0]) <= 0).all()


def test_rows_of_a_batch_do_not_touch_each_other(loaded: Any) -> None:
    histories, queries = [["i0", "i2", "i4"], ["i1", "", ""], ["", "", ""]], ["", "a dark film", "sad"]
    items = [["i6", "i8"], ["i3", ""], ["i0", "new"]]
    batch = explain(loaded, histories, queries, items)
    for row in range(3):
        alone = explain(loaded, [histories[row]], [queries[row]], [items[row]])
        for name, values in alone.items():
            same = batch[name][row : row + 1][tuple(map(slice, values.shape))]
            if values.dtype == object:
                assert same.tolist() == values.tolist(), name
            else:
                np.testing.assert_allclose(same, values, atol=1e-4, err_msg=name)


def test_only_events_that_the_model_reads_contribute(loaded: Any) -> None:
    long = ["i1", "i3", "i2", "i4", "i6", "i8", "i10", "i12"]  # history.max_length is 6
    answer = explain(loaded, [long], [""], [["i14"]])
    assert answer["history_contribution"][0, 0, :2].tolist() == [0, 0]
    assert answer["history_contribution"][0, 0, 2:].all()
    assert answer["completeness_error"].max() < 1e-4
