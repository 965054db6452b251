"""Rules asked of an exported model, as any caller would."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.trainer.dataset_writer import GENRES
from trainer import contract, listing
from trainer.config import ProjectConfig
from trainer.dataset import DatasetDirectory
from trainer.errors import ExportError
from trainer.export import _variants, export
from trainer.keras_compat import tf
from trainer.live import LiveModel
from trainer.probes import neutral
from trainer.rules.list_rules import NEUTRAL
from trainer.rules.variants import variant_groups
from trainer.run import RunDirectory
from trainer.training import load_best
from trainer.verification import check_same
from trainer.workbench import Workbench

K, ITEMS = 10, [f"i{n}" for n in range(24)] + ["new"]
GENRE = {f"i{n}": GENRES[n % 3] for n in range(24)} | {"new": "Horror"}
LISTS = pytest.mark.parametrize("signature", ["recommend", "retrieve"])


@pytest.fixture(scope="module")
def loaded(exported: Path) -> Any:
    return tf.saved_model.load(str(exported))


@pytest.fixture(scope="module")
def bench(trained: ProjectConfig) -> Workbench:
    dataset = DatasetDirectory.open(trained.dataset_dir("leave_last_out"))
    bench = Workbench.open(trained, dataset, Console(quiet=True))
    load_best(bench.model, trained.train, RunDirectory(trained.run_dir("leave_last_out")))
    return bench


@pytest.fixture(scope="module")
def live(trained: ProjectConfig, bench: Workbench) -> LiveModel:
    variants = variant_groups(bench.preparation.catalogue.titles)
    return LiveModel(bench, K, trained.train.model.history.max_length, variants=variants)


def request(rows: int, history: tuple[str, ...] = ("i0", "i2"), **rules: Any) -> dict[str, Any]:
    inputs = {
        contract.HISTORY_ITEM_ID: np.asarray([[item.encode() for item in history]] * rows, object),
        contract.QUERY: np.asarray([b""] * rows, object),
        "gender": np.asarray([b"F"] * rows, object),
        "age": np.full(rows, 30, np.float32),
    }
    inputs |= {name: neutral(name, rows) for name in contract.RULES}
    for name, values in rules.items():
        dtype = NEUTRAL[name][0]
        inputs[name] = np.asarray(values, object if dtype == tf.string else dtype.as_numpy_dtype)
    return inputs


def ask(loaded: Any, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
    answer = loaded.signatures[signature](**{name: tf.constant(array) for name, array in inputs.items()})
    return {name: value.numpy() for name, value in answer.items()}


def ids(answer: dict[str, Any], row: int = 0) -> list[str]:
    return [item.decode() for item in answer["item_id"][row] if item]


def test_a_server_knows_what_a_missing_rule_means(exported: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes())
    for name in ("recommend", "retrieve", "serving_default"):
        definition = proto.meta_graphs[0].signature_def[name]
        assert set(definition.defaults) == set(contract.RULES)
        for rule, value in definition.defaults.items():
            np.testing.assert_array_equal(tf.make_ndarray(value), neutral(rule, 1))
            assert tf.as_dtype(definition.inputs[rule].dtype) == NEUTRAL[rule][0]
            assert definition.inputs[rule].tensor_shape.dim[0].size == -1


@LISTS
def test_one_row_of_a_rule_counts_for_all_rows(loaded: Any, signature: str) -> None:
    every = ask(loaded, signature, request(3))
    inputs = request(3) | {name: neutral(name, 1) for name in contract.RULES}
    for name, values in ask(loaded, signature, inputs).items():
        np.testing.assert_array_equal(values, every[name])
    blocked = ask(loaded, signature, inputs | {"block_category": np.asarray([[b"Drama"]], object)})
    assert not any(GENRE[item] == "Drama" for row in range(3) for item in ids(blocked, row))


@LISTS
def test_without_rules_every_place_is_certain(loaded: Any, signature: str) -> None:
    answer = ask(loaded, signature, request(1, allow_item_id=[[b"i4", b"i6"]]))
    assert answer["propensity"].tolist() == [[1.0, 1.0] + [0.0] * (K - 2)]


@LISTS
def test_only_these_items(loaded: Any, signature: str) -> None:
    asked = [[b"i5", b"i2", b"no such item", b"", b"i7"], [b"no such item"] + [b""] * 4, [b""] * 5]
    answer = ask(loaded, signature, request(3, allow_item_id=asked))
    assert set(ids(answer, 0)) == {"i5", "i7"}  # i2 was seen
    assert ids(answer, 1) == []
    assert len(ids(answer, 2)) == K


@LISTS
def test_no_item_of_these_categories(loaded: Any, signature: str) -> None:
    answer = ask(loaded, signature, request(1, block_category=[[b"Drama", b"Comedy", b"no such category"]]))
    assert {GENRE[item] for item in ids(answer)} == {"Horror"}
    assert len(ids(answer)) == 8  # i2 of nine was seen


@LISTS
def test_at_most_two_of_a_category(loaded: Any, signature: str) -> None:
    answer = ask(loaded, signature, request(1, max_per_category=[2]))
    assert Counter(GENRE[item] for item in ids(answer)) == {"Comedy": 2, "Drama": 2, "Horror": 2}
    assert np.isneginf(answer["score"][0, 6:]).all()
    plain = ids(ask(loaded, signature, request(1, exclude_item_id=[[b""]])))
    for genre in GENRES:  # the best two of each, as far as the list without caps shows them
        best = [item for item in plain if GENRE[item] == genre][:2]
        assert [item for item in ids(answer) if GENRE[item] == genre][: len(best)] == best


@LISTS
def test_nothing_below_the_least_score(loaded: Any, signature: str) -> None:
    plain = ask(loaded, signature, request(1))
    least = float(plain["score"][0, 3])
    answer = ask(loaded, signature, request(2, min_score=[least, np.inf]))
    assert ids(answer, 0) == ids(plain)[:4]
    assert ids(answer, 1) == []


@LISTS
@pytest.mark.parametrize("length", [0, 1, 10_000])
def test_exclusion_lists_of_any_length(loaded: Any, signature: str, length: int) -> None:
    rng = np.random.default_rng(length)
    pool = ["i4", "i6", "i8", "i10", "", "i4"] + [f"unknown {n}" for n in range(50)]
    excluded = [pool[place].encode() for place in rng.integers(0, len(pool), length)]
    inputs = request(1) | {"exclude_item_id": np.asarray(excluded, object).reshape(1, length)}
    answer = ask(loaded, signature, inputs)
    gone = {item.decode() for item in excluded} | {"i0", "i2"}
    assert len(ids(answer)) == K
    assert not gone & set(ids(answer))


@LISTS
def test_lists_are_drawn_by_their_own_seed(loaded: Any, signature: str) -> None:
    rules: dict[str, Any] = {"exploration": [3.0, 3.0, 3.0, np.nan], "seed": [1, 2, 1, 1]}
    together = ask(loaded, signature, request(4, **rules))
    assert ids(together, 0) == ids(together, 2) != ids(together, 1)
    alone = ask(loaded, signature, request(1, exploration=[3.0], seed=[1]))
    assert ids(alone) == ids(together, 0)
    np.testing.assert_allclose(alone["propensity"][0], together["propensity"][0], rtol=1e-4)
    assert ids(together, 3) == ids(ask(loaded, signature, request(1)))
    assert (together["propensity"][3] == 1).all()


def test_examples_may_hold_rules_too(loaded: Any) -> None:
    def feature(value: Any) -> tf.train.Feature:
        if isinstance(value, list):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    features = {
        "history_item_id": [b"i0", b"i2"],
        "gender": [b"F"],
        "age": 30.0,
        "max_per_category": 2,
        "diversity": 0.5,
    }
    example = tf.train.Example(
        features=tf.train.Features(feature={name: feature(value) for name, value in features.items()})
    )
    twin = loaded.signatures["recommend_examples"](examples=tf.constant([example.SerializeToString()]))
    plain = ask(loaded, "recommend", request(1, max_per_category=[2], diversity=[0.5]))
    for name, values in twin.items():
        np.testing.assert_array_equal(values.numpy(), plain[name])


def test_any_feature_can_say_what_a_variant_is(trained: ProjectConfig, bench: Workbench) -> None:
    def groups(feature: str | None) -> int:
        export = trained.export.model_copy(update={"variant_feature": feature})
        return len(set(_variants(trained.model_copy(update={"export": export}), bench)))

    assert [groups(None), groups("genre"), groups("year")] == [25, 3, 25]
    with pytest.raises(ExportError, match=r"variant_feature = 'colour' .* it has genre, text, title, year"):
        groups("colour")


@pytest.mark.slow
def test_an_export_whose_rules_differ_from_the_live_model_is_refused(
    trained: ProjectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "keep_from", lambda scores, least: scores)
    with pytest.raises(ExportError, match="The model was not published: code: re"):
        export(trained, "leave_last_out", Console(quiet=True), check=True)


names = st.sampled_from([b"Comedy", b"Drama", b"Horror", b"no such category", b""])
items = st.sampled_from([item.encode() for item in [*ITEMS, "no such item", ""]])


def rows_of(values: Any, count: int) -> Any:
    return st.lists(values, min_size=count, max_size=count)


def lists_of(values: Any) -> Any:
    return st.lists(rows_of(values, 3), min_size=2, max_size=2)


requests = st.builds(
    request,
    st.just(2),
    st.lists(st.sampled_from(ITEMS), max_size=8).map(tuple),
    exclude_item_id=lists_of(items),
    allow_item_id=lists_of(items) | st.just([[b""] * 3] * 2),
    allow_category=lists_of(names) | st.just([[b""] * 3] * 2),
    block_category=st.just([[b""] * 3] * 2) | lists_of(names),
    max_per_category=rows_of(st.sampled_from([0, 1, 2, 3, -1]), 2),
    min_score=rows_of(st.sampled_from([np.nan, np.nan, -1.0, 0.5, np.inf, -np.inf]), 2),
    one_per_variant=rows_of(st.integers(0, 1), 2),
    diversity=rows_of(st.sampled_from([0.0, np.nan, 0.4, 1.0, 9.0]), 2),
    exploration=rows_of(st.sampled_from([0.0, np.nan, 0.5, 20.0, np.inf]), 2),
    seed=rows_of(st.integers(-(2**63), 2**63 - 1), 2),
)


@LISTS
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inputs=requests)
def test_any_rules_together_give_what_the_live_model_gives(
    loaded: Any, live: LiveModel, signature: str, inputs: dict[str, Any]
) -> None:
    came = ask(loaded, signature, inputs)
    expected = live.answer(signature, inputs, came["item_id"])
    for name, values in expected.items():
        check_same(
            signature,
            name,
            values,
            came[name].astype("S") if values.dtype == object else came[name],
            expected,
        )
