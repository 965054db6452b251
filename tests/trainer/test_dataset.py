"""Reading a dataset directory: what it says about itself, its records, its items and its users."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.dataset_writer import (
    Dataset,
    Event,
    User,
    _floats,
    _ints,
    _strings,
    _write,
    checkerboard,
)
from trainer.catalogue import load_catalogue
from trainer.dataset import DatasetDirectory
from trainer.errors import DatasetError
from trainer.preparation import prepare
from trainer.records import read_columns
from trainer.sequences import load_sequences


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return checkerboard(items=6, users=4, length=5).write(tmp_path_factory.mktemp("built") / "dataset")


@pytest.fixture
def path(built, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(built, tmp_path / "dataset"))


def change(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_feature(path: Path, table: str, feature_name: str, /, **changes) -> None:
    schema = json.loads((path / "schema.json").read_text())
    entry = next(feature for feature in schema["tables"][table] if feature["name"] == feature_name)
    entry.update(changes)
    (path / "schema.json").write_text(json.dumps(schema))


def refused(path: Path) -> str:
    with pytest.raises(DatasetError) as error:
        DatasetDirectory.open(path)
    return str(error.value)


def test_a_directory_tells_its_features(built):
    dataset = DatasetDirectory.open(str(built))
    assert [feature.name for feature in dataset.with_role("items", "item_category")] == ["genre"]
    assert dataset.one("items", "item_category").shape == (None,)
    assert dataset.one("sequences", "query_text") is None
    assert dataset.one("sequences", "target_start").dtype == "int64"
    assert dataset.digest == "s/c/4/leave_last_out/0"
    assert dataset.titles_file == built / "titles.tsv"
    assert [Path(file).parent.name for file in dataset.files("train") + dataset.files("items")] == [
        "train",
        "items",
    ]


def test_a_missing_directory(tmp_path):
    assert "Run `twotower features build` first" in refused(tmp_path / "none")


def test_an_incomplete_directory(path):
    (path / "dataset.json").unlink()
    message = refused(path)
    assert "dataset.json, which is written last, is missing" in message
    assert "Run `twotower features build` again" in message


@pytest.mark.parametrize("file", ["dataset.json", "schema.json"])
def test_another_version_or_format(path, file):
    change(path / file, version=2)
    assert (
        f"{file}: expected format 'twotower-dataset' version 1, got 'twotower-dataset' version 2"
        in refused(path)
    )
    change(path / file, version=1, format="something")
    assert "got 'something' version 1" in refused(path)


@pytest.mark.parametrize("file", ["dataset.json", "schema.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]"])
def test_a_damaged_description(path, file, content):
    (path / file).write_bytes(content)
    assert file in refused(path)


def test_a_missing_schema(path):
    (path / "schema.json").unlink()
    assert "--overwrite" in refused(path)


@pytest.mark.parametrize(
    "changes",
    [{"role": "item_smell"}, {"dtype": "float64"}, {"shape": [2, 3]}],
    ids=["role", "dtype", "shape"],
)
def test_a_feature_that_is_not_understood(path, changes):
    change_feature(path, "items", "genre", **changes)
    message = refused(path)
    assert "feature 'genre'" in message
    assert "expected a role of user_id, item_id, timestamp" in message


def test_a_feature_without_a_role(path):
    schema = json.loads((path / "schema.json").read_text())
    del schema["tables"]["items"][0]["role"]
    (path / "schema.json").write_text(json.dumps(schema))
    assert "expected a feature with name, role, dtype and shape" in refused(path)


@pytest.mark.parametrize(
    ("table", "name"), [("items", "item_id"), ("sequences", "item_id"), ("sequences", "target_start")]
)
def test_a_table_without_what_training_needs(path, table, name):
    schema = json.loads((path / "schema.json").read_text())
    schema["tables"][table] = [entry for entry in schema["tables"][table] if entry["name"] != name]
    (path / "schema.json").write_text(json.dumps(schema))
    assert f"the table '{table}' has no feature with the role '{name}'" in refused(path)


def test_a_missing_table(path):
    change(path / "schema.json", tables={"items": []})
    assert "describes no table 'sequences'" in refused(path)


def test_a_missing_shard(path):
    next((path / "sequences" / "test").iterdir()).unlink()
    with pytest.raises(DatasetError, match=r"test should have 1 files .* found 0\..*--overwrite"):
        DatasetDirectory.open(path).files("test")


def test_a_split_that_is_not_listed(built):
    with pytest.raises(DatasetError, match="lists no split 'holdout'"):
        DatasetDirectory.open(built).files("holdout")


def test_vocabularies(path):
    dataset = DatasetDirectory.open(path)
    genre = dataset.one("items", "item_category")
    (path / "vocab" / "genre.txt").write_text("Sci\tFi\t7\nnaïve film\t2\n", encoding="utf-8")
    assert dataset.vocabulary(genre) == (["Sci\tFi", "naïve film"], [7, 2])
    (path / "vocab" / "genre.txt").write_text("Drama\tmany\n")
    with pytest.raises(DatasetError, match=r"Cannot read the vocabulary .*genre\.txt"):
        dataset.vocabulary(genre)
    (path / "vocab" / "genre.txt").unlink()
    with pytest.raises(DatasetError, match=r"Cannot read the vocabulary .*genre\.txt"):
        dataset.vocabulary(genre)
    with pytest.raises(DatasetError, match="'title' names no vocabulary"):
        dataset.vocabulary(dataset.one("items", "item_title"))


def test_a_user_feature_may_not_take_the_name_of_an_input(path):
    change_feature(path, "sequences", "gender", name="query")
    dataset = DatasetDirectory.open(path)
    catalogue = load_catalogue(dataset)
    with pytest.raises(DatasetError, match="the user features query have names"):
        prepare(dataset, catalogue, load_sequences(dataset, "train", catalogue), 0)


UNEVEN = Dataset(
    items={"c": "Horror", "a": "Drama", "b": "Comedy", "z": "Drama"},
    users=[
        User("zoë", [Event("b", 5), Event("b", 6), Event("a", 7), Event("ghost", 8), Event("a", 9)], "M", 41),
        User(
            "ann", [Event("a", 1, 2.0), Event("b", 2, 3.5, "buy"), Event("c", 3), Event("late", 4)], "F", 30
        ),
    ],
)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> DatasetDirectory:
    data = Dataset(dict(UNEVEN.items), UNEVEN.users)
    data.items |= {"ghost": "Drama", "late": "Drama"}
    path = data.write(tmp_path_factory.mktemp("uneven") / "dataset")
    # Now an items table without "ghost", "late" and "b", though "b" is in training events.
    shutil.rmtree(path / "items")
    Dataset({item: genre for item, genre in UNEVEN.items.items() if item != "b"})._write_items(path)
    return DatasetDirectory.open(path)


def test_the_catalogue_is_ordered_by_training_events(uneven):
    # Training events: zoë b b a, ann a b. So b 3, a 2; of the others the table knows c and z; ghost and late are
    # in later events alone and in no table.
    catalogue = load_catalogue(uneven)
    assert catalogue.item_ids == ("b", "a", "c", "z")
    assert catalogue.counts.tolist() == [3, 2, 0, 0]
    assert catalogue.trained == 2
    assert len(catalogue) == 4


def test_an_item_that_no_table_describes_has_empty_features(uneven):
    catalogue = load_catalogue(uneven)
    assert catalogue.columns["genre"].tolist() == [(), ("Drama",), ("Horror",), ("Drama",)]
    assert catalogue.columns["text"].tolist() == ["", "a sad film a", "a dark film c", "a sad film z"]
    assert catalogue.titles == ("", "Title a", "Title c", "Title z")
    assert catalogue.columns["year"].tolist() == [0.0, 1991.0, 1990.0, 1992.0]


def test_users_come_in_the_order_of_their_ids(uneven):
    test = load_sequences(uneven, "test", load_catalogue(uneven))
    assert test.user_ids.tolist() == ["ann", "zoë"]
    assert test.row_splits.tolist() == [0, 4, 9]
    assert test.items.tolist() == [1, 0, 2, -1, 0, 0, 1, -1, 1]  # "late" and "ghost" have no row
    assert test.target_start.tolist() == [3, 4]
    assert test.timestamps.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert test.values.tolist()[:3] == [2.0, 3.5, 1.0]
    assert test.events.tolist()[:3] == ["view", "buy", "view"]
    assert test.user_columns["gender"].tolist() == ["F", "M"]
    assert test.user_columns["age"].tolist() == [30.0, 41.0]
    assert len(test) == 2


def test_the_order_of_shards_does_not_matter(built, path):
    """The same users, dealt to three shards in another order, one of them empty."""
    expected = load_sequences(
        DatasetDirectory.open(built), "train", load_catalogue(DatasetDirectory.open(built))
    )
    shutil.rmtree(path / "sequences" / "train")
    users = checkerboard(items=6, users=4, length=5).users
    for shard, part in enumerate([[users[3], users[0]], [], [users[2], users[1]]]):
        examples = [
            {
                "user_id": _strings([user.name]),
                "item_id": _strings([event.item for event in user.events[:-2]]),
                "timestamp": _ints([event.timestamp for event in user.events[:-2]]),
                "event": _strings([event.kind for event in user.events[:-2]]),
                "value": _floats([event.value for event in user.events[:-2]]),
                "gender": _strings([user.gender]),
                "age": _floats([user.age]),
                "target_start": _ints([0]),
            }
            for user in part
        ]
        file = path / "sequences" / "train" / f"part-{shard:05d}-of-00003.tfrecord.gz"
        _write(file.parent / str(shard) / file.name, examples)
        (file.parent / str(shard) / file.name).rename(file)
        (file.parent / str(shard)).rmdir()
    manifest = json.loads((path / "dataset.json").read_text())
    manifest["splits"]["train"]["shards"] = 3
    change(path / "dataset.json", splits=manifest["splits"])
    dataset = DatasetDirectory.open(path)
    came = load_sequences(dataset, "train", load_catalogue(dataset))
    for name in ("items", "row_splits", "target_start", "timestamps", "events", "values", "user_ids"):
        np.testing.assert_array_equal(getattr(came, name), getattr(expected, name))
    for name, column in expected.user_columns.items():
        np.testing.assert_array_equal(came.user_columns[name], column)


def test_missing_columns_have_neutral_values(path):
    schema = json.loads((path / "schema.json").read_text())
    keep = {"user_id", "item_id", "target_start"}
    schema["tables"]["sequences"] = [f for f in schema["tables"]["sequences"] if f["name"] in keep]
    (path / "schema.json").write_text(json.dumps(schema))
    dataset = DatasetDirectory.open(path)
    train = load_sequences(dataset, "train", load_catalogue(dataset))
    assert not train.timestamps.any()
    assert set(train.events) == {""}
    assert np.isnan(train.values).all()
    assert train.user_columns == {}


def test_lists_that_do_not_run_parallel_are_refused(path):
    shutil.rmtree(path / "sequences" / "train")
    lists = {"item_id": _strings(["i0", "i2"]), "timestamp": _ints([1])}
    _write(path / "sequences" / "train" / "part-00000-of-00001.tfrecord.gz", [lists])
    dataset = DatasetDirectory.open(path)
    with pytest.raises(DatasetError, match="train: the lists of 'timestamp' do not run parallel"):
        load_sequences(dataset, "train", load_catalogue(dataset))


def test_a_record_that_does_not_fit_the_schema_is_a_dataset_error(path):
    change_feature(path, "items", "year", dtype="int64", default=0)
    with pytest.raises(DatasetError, match=r"cannot read the records of items: .*year"):
        load_catalogue(DatasetDirectory.open(path))


def test_an_empty_split_is_read_as_no_users(path):
    shutil.rmtree(path / "sequences" / "test")
    _write(path / "sequences" / "test" / "part-00000-of-00001.tfrecord.gz", [])
    dataset = DatasetDirectory.open(path)
    test = load_sequences(dataset, "test", load_catalogue(dataset))
    assert len(test) == 0
    assert test.row_splits.tolist() == [0]
    assert test.items.shape == test.user_ids.shape == (0,)


def test_scalars_that_a_record_leaves_out_take_the_default(path):
    change_feature(path, "items", "year", default=7.5)
    shutil.rmtree(path / "items")
    _write(path / "items" / "items-00000-of-00001.tfrecord.gz", [{"item_id": _strings(["i0"])}])
    columns = read_columns(DatasetDirectory.open(path), "items")
    assert columns["year"].tolist() == [7.5]
    assert columns["title"].tolist() == [b""]
    assert columns["genre"].to_list() == [[]]


def test_a_damaged_record_file_is_a_dataset_error(path):
    file = next((path / "sequences" / "train").iterdir())
    file.write_bytes(file.read_bytes()[:-40])
    dataset = DatasetDirectory.open(path)
    with pytest.raises(DatasetError, match=r"cannot read the records of train: .*--overwrite"):
        load_sequences(dataset, "train", load_catalogue(dataset))
