"""New items in an exported model: found by their text, and nothing else has changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from trainer.errors import ExportError
from trainer.export import read_facts
from trainer.index_add import add_items
from trainer.new_items import read_new_items

QUIET = Console(quiet=True)
NEW = {
    "item_id": "n1",
    "title": "A new one",
    "text": "a dark film",
    "genre": ["Horror", "Western"],
    "year": 2000,
}


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("items") / "new.jsonl"
    file.write_text(json.dumps(NEW) + "\n\n" + json.dumps({"item_id": "n2", "text": "a funny film"}) + "\n")
    return file


@pytest.fixture(scope="module")
def first(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the exported version, in a model folder that these tests may add versions to."""
    return Path(shutil.copytree(exported, tmp_path_factory.mktemp("models") / "tiny" / exported.name))


@pytest.fixture(scope="module")
def grown(first: Path, items: Path) -> Path:
    return add_items(first.parent, items, QUIET)


def similar(version: Path, item: str) -> list[str]:
    answer = tf.saved_model.load(str(version)).signatures["similar_items"](item_id=tf.constant([item]))
    return [found.decode() for found in answer["item_id"].numpy()[0]]


def retrieve(version: Path, allow: str) -> list[str]:
    answer = tf.saved_model.load(str(version)).signatures["retrieve"](
        history_item_id=tf.constant([["i0"]]),
        query=tf.constant([""]),
        gender=tf.constant(["F"]),
        age=tf.constant([30.0]),
        exclude_item_id=tf.constant([[""]]),
        allow_category=tf.constant([[allow]]),
    )
    return [found.decode() for found in answer["item_id"].numpy()[0] if found]


def test_new_items_are_found_and_their_new_category_too(grown: Path) -> None:
    assert "" not in similar(grown, "n1")
    assert retrieve(grown, "Western") == ["n1"]
    assert "n1" in retrieve(grown, "Horror")


def test_the_old_version_does_not_know_them(first: Path, grown: Path) -> None:
    assert grown.name == str(int(first.name) + 1)
    assert similar(first, "n1") == [""] * 10


def test_everything_else_stays_bit_by_bit(first: Path, grown: Path) -> None:
    old, new = (
        tf.train.load_checkpoint(str(version / "variables" / "variables")) for version in (first, grown)
    )
    shapes = old.get_variable_to_shape_map()
    assert set(new.get_variable_to_shape_map()) == set(shapes)
    changed = set()
    for name in shapes:
        before, after = old.get_tensor(name), new.get_tensor(name)
        if name.startswith("_index/") and name.split("/")[-3] not in ("fingerprints", "rows"):
            kept = after[: len(before), : before.shape[1]] if before.ndim == 2 else after[: len(before)]
            np.testing.assert_array_equal(before, kept)
        elif not np.array_equal(before, after):
            changed.add(name.split("/")[0])
    assert changed == {"_facts", "_index"}  # of the index: the sorted fingerprints and their rows
    assert (first / "saved_model.pb").read_bytes() == (grown / "saved_model.pb").read_bytes()


def test_facts_and_titles_follow(first: Path, grown: Path) -> None:
    assert read_facts(grown)["catalogue_size"] == read_facts(first)["catalogue_size"] + 2
    answer = tf.saved_model.load(str(grown)).signatures["describe"](detail=tf.constant([""]))
    assert json.loads(answer["json"].numpy()[0])["model_version"] == int(grown.name)
    titles = (grown / "assets.extra" / "titles.tsv").read_text().splitlines()
    assert {"n1\tA new one", "n2\tn2"} <= set(titles)


def test_the_same_file_again_writes_nothing(first: Path, items: Path, grown: Path) -> None:
    assert add_items(first.parent, items, QUIET) == grown


def test_known_ids_are_refused(first: Path, grown: Path, tmp_path: Path) -> None:
    file = tmp_path / "known.jsonl"
    file.write_text('{"item_id": "i0", "text": "a film"}')
    with pytest.raises(ExportError, match="i0: already in the index"):
        add_items(first.parent, file, QUIET)
    assert sorted(child.name for child in first.parent.iterdir()) == sorted([first.name, grown.name])


def test_a_folder_without_a_model_is_refused(tmp_path: Path, items: Path) -> None:
    with pytest.raises(ExportError, match="Run `twotower export` first"):
        add_items(tmp_path, items, QUIET)


INPUTS: dict[str, Any] = {
    "text": tf.TensorSpec([None], tf.string),
    "genre": tf.TensorSpec([None, None], tf.string),
    "year": tf.TensorSpec([None], tf.float32),
}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "holds no items"),
        ("[1]", "expected an object"),
        ("{", "new.jsonl:1 is not JSON"),
        ('{"text": "no id"}', 'expected an object with a string "item_id"'),
        ('{"item_id": "a\\nb"}', "line break"),
        ('{"item_id": "a", "colour": "red"}', "unknown feature 'colour'; the model reads genre, text, year"),
        ('{"item_id": "a", "genre": "Drama"}', "'genre' should be a list of strings"),
        ('{"item_id": "a", "year": "2000"}', "'year' should be a number"),
        ('{"item_id": "a"}\n{"item_id": "a"}', "a occur more than once"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "new.jsonl"
    file.write_text(line)
    with pytest.raises(ExportError) as error:
        read_new_items(file, INPUTS)
    assert message in str(error.value)


def test_what_is_left_out_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "new.jsonl"
    file.write_text(
        '{"item_id": "a"}\n{"item_id": "b", "genre": ["x", "y"], "year": 3, "title": "two\\nlines"}'
    )
    new = read_new_items(file, INPUTS)
    assert new.features["genre"].tolist() == [["", ""], ["x", "y"]]
    assert new.features["text"].tolist() == ["", ""]
    np.testing.assert_array_equal(new.features["year"], np.asarray([np.nan, 3], np.float32))
    assert new.titles == ("a", "two lines")
