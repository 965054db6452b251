"""An export, asked as a stranger would ask it: from disk, by signature name, with raw strings."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from tests.trainer.dataset_writer import GENRES
from trainer import contract
from trainer.config import ProjectConfig
from trainer.errors import ExportError, RunError
from trainer.export import export, read_facts
from trainer.publishing import publishing
from trainer.rules.list_rules import NEUTRAL
from trainer.verification import check_same

K, ITEMS = 10, 25


@pytest.fixture(scope="module")
def loaded(exported: Path) -> Any:
    return tf.saved_model.load(str(exported))


def ask(loaded: Any, signature: str, **inputs: Any) -> dict[str, Any]:
    return {name: value.numpy() for name, value in loaded.signatures[signature](**inputs).items()}


def query(
    histories: list[list[str]],
    queries: list[str] | None = None,
    exclude: list[list[str]] | None = None,
    allow: list[list[str]] | None = None,
    gender: str = "F",
    **rules: Any,
) -> dict[str, Any]:
    rows = len(histories)
    inputs = {
        "history_item_id": tf.constant(histories, tf.string, shape=(rows, len(histories[0]))),
        "query": tf.constant(queries or [""] * rows),
        "gender": tf.constant([gender] * rows),
        "age": tf.constant([30.0] * rows),
    }
    if exclude is not None or allow is not None or rules:
        given = rules | {"exclude_item_id": exclude, "allow_category": allow}
        for name, (dtype, row) in NEUTRAL.items():
            inputs[name] = tf.constant(given.get(name) or row * rows, dtype)
    return inputs


def lists_of(answer: dict[str, Any]) -> list[list[str]]:
    return [[item.decode() for item in row] for row in answer["item_id"]]


NOTHING = [[""]]


def test_every_signature_of_the_contract_is_there(loaded: Any) -> None:
    plain = {"recommend", "retrieve", "rank", "embed_query", "embed_item", "similar_items"}
    assert set(loaded.signatures) == plain | {f"{name}_examples" for name in plain} | {
        "describe",
        "serving_default",
    }


def test_what_comes_next_in_the_circle_is_recommended(loaded: Any) -> None:
    even = ask(loaded, "retrieve", **query([["i0", "i2", "i4"]], exclude=NOTHING))
    odd = ask(loaded, "retrieve", **query([["i1", "i3", "i5"]], exclude=NOTHING, gender="M"))
    assert (lists_of(even)[0][0], lists_of(odd)[0][0]) == ("i6", "i7")


def test_recommend_orders_by_score_and_never_shows_the_history(loaded: Any) -> None:
    answer = ask(loaded, "recommend", **query([["i0", "i2", "i4"]], exclude=NOTHING))
    assert answer["score"].shape == answer["item_id"].shape == (1, K)
    assert (np.diff(answer["score"][0]) <= 0).all()
    assert not {"i0", "i2", "i4", ""} & set(lists_of(answer)[0])
    assert len(set(lists_of(answer)[0])) == K


def test_the_default_signature_is_recommend(loaded: Any) -> None:
    inputs = query([["i0", "i2"]], exclude=NOTHING)
    default, recommend = ask(loaded, "serving_default", **inputs), ask(loaded, "recommend", **inputs)
    np.testing.assert_array_equal(default["item_id"], recommend["item_id"])


def test_nothing_known_gives_the_most_popular(loaded: Any, trained: ProjectConfig) -> None:
    vocabulary = trained.dataset_dir("leave_last_out") / "vocab" / "item_id.txt"
    popular = [line.split("\t")[0] for line in vocabulary.read_text().splitlines()][:K]
    for name in ("recommend", "retrieve"):
        answer = ask(
            loaded, name, **query([["", ""], ["no such item", ""]], ["", "   "], exclude=NOTHING * 2)
        )
        assert lists_of(answer) == [popular, popular]


def test_unknown_and_empty_ids_change_nothing(loaded: Any) -> None:
    clean = ask(loaded, "recommend", **query([["i0", "i2", "i4", "", ""]], exclude=NOTHING))
    mixed = ask(loaded, "recommend", **query([["i0", "", "no such item", "i2", "i4"]], exclude=NOTHING))
    np.testing.assert_array_equal(clean["item_id"], mixed["item_id"])
    np.testing.assert_allclose(clean["score"], mixed["score"], rtol=1e-5)


def test_only_the_most_recent_events_are_read(loaded: Any) -> None:
    recent = ["i2", "i4", "i6", "i8", "i10", "i12"]  # history.max_length is 6
    longer = ask(loaded, "embed_query", **query([["i1", "i3", *recent]]))
    alone = ask(loaded, "embed_query", **query([recent]))
    np.testing.assert_allclose(longer["embedding"], alone["embedding"], rtol=1e-5, atol=1e-6)


def test_excluded_items_and_forbidden_categories_never_appear(loaded: Any) -> None:
    inputs = query([["i0"]], exclude=[["i3", "i6"]], allow=[["Comedy", "no such category"]])
    (found,) = lists_of(ask(loaded, "recommend", **inputs))
    shown = [item for item in found if item]
    # Comedy is every third item: i0 (seen), i3 and i6 (excluded), and five others.
    assert sorted(shown) == sorted(["i9", "i12", "i15", "i18", "i21"])
    assert found[len(shown) :] == [""] * (K - len(shown))


def test_padding_has_no_score_and_an_unknown_category_allows_nothing(loaded: Any) -> None:
    answer = ask(loaded, "retrieve", **query([["i0"]], allow=[["no such category"]]))
    assert lists_of(answer) == [[""] * K]
    assert (answer["score"] == -np.inf).all()


def test_rows_of_a_batch_do_not_touch_each_other(loaded: Any) -> None:
    histories = [["i0", "i2", "i4"], ["i1", "", ""], ["", "", ""]]
    queries, allow = ["", "a dark film", "a funny film"], [["Horror"], [""], [""]]
    batch = ask(loaded, "recommend", **query(histories, queries, allow=allow))
    for row in range(3):
        alone = ask(loaded, "recommend", **query([histories[row]], [queries[row]], allow=[allow[row]]))
        assert lists_of(alone) == [lists_of(batch)[row]]
        np.testing.assert_allclose(alone["score"][0], batch["score"][row], rtol=1e-4)


def test_rank_agrees_with_recommend_and_says_nan_for_unknown_items(loaded: Any) -> None:
    # Eight candidates are re-ordered (ranking.candidates), so the eight best have scores of the ranking head.
    best = ask(loaded, "recommend", **query([["i0", "i2"]], exclude=NOTHING))
    ids = tf.concat([best["item_id"][:, :8], [["no such item", ""]]], axis=1)
    scores = ask(loaded, "rank", **query([["i0", "i2"]]), item_id=ids)["score"][0]
    np.testing.assert_allclose(scores[:8], best["score"][0, :8], rtol=1e-4)
    assert np.isnan(scores[8:]).all()


def test_a_very_long_query_is_answered(loaded: Any) -> None:
    answer = ask(loaded, "recommend", **query([[""]], ["dark " * 2000], exclude=NOTHING))
    assert np.isfinite(answer["score"]).all()


def test_a_wish_in_words_is_heard(loaded: Any) -> None:
    """Training made queries of the items' own words: "sad" stands in the text of every Drama and nowhere else."""

    ids = [item.decode() for item in loaded._index.items.values.numpy()]
    vectors = loaded._index.vectors.values.numpy()

    def lead(word: str, genre: str) -> float:
        """How far the genre's items stand above the mean of all."""
        user = ask(loaded, "embed_query", **query([[""]], [f"a {word} film"], gender=""))["embedding"][0]
        scores = dict(zip(ids, vectors @ user, strict=True))
        return float(
            np.mean([scores[f"i{n}"] for n in range(24) if GENRES[n % 3] == genre]) - np.mean(vectors @ user)
        )

    words = {"Comedy": "funny", "Drama": "sad", "Horror": "dark"}
    meant = np.mean([lead(words[genre], genre) for genre in words])
    others = np.mean([lead(words[other], genre) for genre in words for other in words if other != genre])
    assert meant > others


def test_no_history_columns_at_all(loaded: Any) -> None:
    inputs = query([[""]], ["a sad film"], exclude=NOTHING)
    inputs["history_item_id"] = tf.zeros([1, 0], tf.string)
    with_padding = ask(loaded, "retrieve", **query([[""]], ["a sad film"], exclude=NOTHING))
    assert lists_of(ask(loaded, "retrieve", **inputs)) == lists_of(with_padding)


def test_similar_items_leave_the_item_out_and_know_when_they_know_nothing(loaded: Any) -> None:
    answer = ask(loaded, "similar_items", item_id=tf.constant(["i4", "no such item"]))
    first, second = lists_of(answer)
    assert "i4" not in first
    assert (np.abs(answer["score"][0]) <= 1 + 1e-5).all()
    assert second == [""] * K
    assert (answer["score"][1] == -np.inf).all()


def test_an_item_without_events_is_served_by_its_text(loaded: Any) -> None:
    """ "new" is in the catalogue but in no event: its vector is what `embed_item` makes of its features."""
    inputs = {
        "text": tf.constant(["a dark film new"]),
        "genre": tf.constant([["Horror", ""]]),
        "year": tf.constant([1990.0 + 24]),
    }
    vector = ask(loaded, "embed_item", **inputs)["embedding"]
    user = ask(loaded, "embed_query", **query([["i0"]]))["embedding"]
    answer = ask(loaded, "retrieve", **query([["i0"]], exclude=[[f"i{n}" for n in range(24)]]))
    assert lists_of(answer)[0][:2] == ["new", ""]
    np.testing.assert_allclose(answer["score"][0, 0], (user @ vector.T)[0, 0], rtol=1e-4)


def test_examples_answer_like_plain_inputs(loaded: Any) -> None:
    features = {"history_item_id": [b"i0", b"i2"], "query": [b"a dark film"], "gender": [b"F"]}
    feature = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=v)) for name, v in features.items()}
    feature["age"] = tf.train.Feature(float_list=tf.train.FloatList(value=[30.0]))
    example = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    twin = ask(loaded, "recommend_examples", examples=tf.constant([example]))
    plain = ask(loaded, "recommend", **query([["i0", "i2"]], ["a dark film"], exclude=NOTHING))
    assert lists_of(twin) == lists_of(plain)


def test_what_the_feature_files_hold_is_what_the_graph_computes(loaded: Any, trained: ProjectConfig) -> None:
    """Feature parity: an item's record, as written, through `embed_item_examples` and by hand through `embed_item`."""
    file = next((trained.dataset_dir("leave_last_out") / "items").glob("*.gz"))
    records = list(tf.data.TFRecordDataset(str(file), "GZIP").take(3).as_numpy_iterator())
    twin = ask(loaded, "embed_item_examples", examples=tf.constant(records))["embedding"]
    raw = [tf.train.Example.FromString(record).features.feature for record in records]
    by_hand = ask(
        loaded,
        "embed_item",
        text=tf.constant([row["text"].bytes_list.value[0] for row in raw]),
        genre=tf.constant([[row["genre"].bytes_list.value[0]] for row in raw]),
        year=tf.constant([row["year"].float_list.value[0] for row in raw]),
    )["embedding"]
    np.testing.assert_array_equal(twin, by_hand)


def test_the_model_describes_itself(loaded: Any, exported: Path) -> None:
    answers = ask(loaded, "describe", detail=tf.constant(["", "anything"]))["json"]
    described = json.loads(answers[1])
    assert described["k"] == K
    assert described["catalogue_size"] == ITEMS
    facts = read_facts(exported)
    assert {name: facts[name] for name in described} == described
    assert facts["signatures"] == sorted(loaded.signatures)
    assert facts["rules"] == list(contract.RULES)
    assert (facts["rule_window"], facts["variant_feature"]) == (2 * K, None)  # more than the 8 candidates


def test_a_second_export_of_the_same_run_is_not_written(
    trained: ProjectConfig, exported: Path, console: Console
) -> None:
    assert export(trained, "leave_last_out", console) == exported


@pytest.mark.slow
def test_a_check_says_what_it_found_and_publishes_nothing(trained: ProjectConfig, exported: Path) -> None:
    before = sorted(exported.parent.iterdir())
    console = Console(record=True, width=150, file=io.StringIO())
    assert export(trained, "leave_last_out", console, check=True) is None
    assert sorted(exported.parent.iterdir()) == before
    said = console.export_text()
    assert "unbounded-input" in said
    assert "0 errors, 0 warnings" in said
    assert "tiny passes; nothing was published" in said


def test_an_export_without_a_finished_run_is_refused(config: ProjectConfig, trained: ProjectConfig) -> None:
    elsewhere = trained.model_copy(
        update={"features": trained.features.model_copy(update={"splits": ("by_time",)})}
    )
    dataset = trained.work_dir / "by_time"
    dataset.mkdir(exist_ok=True)
    (dataset / "dataset").symlink_to(trained.dataset_dir("leave_last_out"))
    with pytest.raises(RunError, match="Run `twotower train` first"):
        export(elsewhere, "by_time", Console(quiet=True))


def test_warm_up_records_name_every_signature_at_every_size(exported: Path, loaded: Any) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    file = exported / contract.EXTRA_ASSETS / contract.WARMUP_FILE
    records = [
        prediction_log_pb2.PredictionLog.FromString(r)
        for r in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    ]
    requests = [record.predict_log.request for record in records]
    sizes = {
        (r.model_spec.signature_name, next(iter(r.inputs.values())).tensor_shape.dim[0].size)
        for r in requests
    }
    assert sizes == {(name, size) for name in loaded.signatures for size in (1, 2)}


def test_a_failed_export_leaves_no_version(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), publishing(tmp_path, 1) as folder:
        (folder / "no such folder" / "saved_model.pb").write_bytes(b"half")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_behind_is_removed_unless_it_is_still_written_to(tmp_path: Path) -> None:
    (tmp_path / ".tmp-1-abandoned").mkdir()
    (tmp_path / ".tmp-1-abandoned" / "saved_model.pb").write_bytes(b"half")
    with publishing(tmp_path, 1) as outer, publishing(tmp_path, 2) as inner:
        assert sorted(tmp_path.iterdir()) == sorted([outer, inner])
    assert sorted(child.name for child in tmp_path.iterdir()) == ["1", "2"]


def test_a_killed_export_leaves_nothing_that_looks_like_a_version(tmp_path: Path) -> None:
    code = (
        "import os, signal, pathlib, sys\n"
        "from trainer.publishing import publishing\n"
        "with publishing(pathlib.Path(sys.argv[1]), 7) as folder:\n"
        "    (folder / 'saved_model.pb').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == -9
    assert not [child for child in tmp_path.iterdir() if child.name.isdecimal()]


def test_answers_that_differ_from_the_live_model_stop_the_export() -> None:
    scores = np.asarray([[3.0, 2.0, 1.0]], np.float32)
    ids = np.asarray([[b"a", b"b", b"c"]], dtype=object)
    answer = {"item_id": ids, "score": scores}
    check_same("retrieve", "item_id", ids, np.asarray([[b"a", b"b", b"c"]]), answer)
    with pytest.raises(ExportError, match=r"retrieve.item_id row 0 place 1"):
        check_same("retrieve", "item_id", ids, np.asarray([[b"a", b"x", b"c"]]), answer)
    with pytest.raises(
        ExportError, match=r"retrieve.score has the shape \(1, 2\), the live model's has \(1, 3\)"
    ):
        check_same("retrieve", "score", scores, scores[:, :2], answer)
    with pytest.raises(ExportError, match=r"retrieve.score differs"):
        check_same("retrieve", "score", scores, scores + 0.01, answer)
    # Neighbours with the same score may stand in either order.
    tied = {"item_id": ids, "score": np.asarray([[3.0, 2.0, 2.0]], np.float32)}
    check_same("retrieve", "item_id", ids, np.asarray([[b"a", b"c", b"b"]]), tied)
