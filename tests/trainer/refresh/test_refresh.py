"""An exported model with another catalogue: what changed is found, and nothing else is touched."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from rich.console import Console

import twotower
from tests.trainer.dataset_writer import GENRES, WORDS
from trainer.config import ProjectConfig
from trainer.errors import ExportError
from trainer.export import read_facts
from trainer.refresh.checkpoint import read_variables
from trainer.refresh.refresh import RefreshOptions, refresh
from trainer.requests_file import read_requests

QUIET = Console(quiet=True)
NEW = {
    "item_id": "n1",
    "title": "A new one",
    "text": "a dark film",
    "genre": ["Horror", "Western"],
    "year": 2000,
}
ITEMS = 25


def catalogue() -> list[dict[str, Any]]:
    """The items of the dataset, as a nightly dump would list them."""
    genres = {f"i{n}": GENRES[n % 3] for n in range(24)} | {"new": "Horror"}
    return [
        {
            "item_id": item,
            "title": f"Title {item}",
            "text": f"a {WORDS[GENRES.index(genre)]} film {item}",
            "genre": [genre],
            "year": 1990 + place,
        }
        for place, (item, genre) in enumerate(genres.items())
    ]


def write(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    """A folder of versions of one's own."""
    return Path(shutil.copytree(exported, tmp_path / "tiny" / "1")).parent


@pytest.fixture(scope="module")
def grown(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """i0 is gone, i3 is another film, n1 is new, the row of i4 is broken; 23 items are as they were."""
    folder = tmp_path_factory.mktemp("grown")
    model = Path(shutil.copytree(exported, folder / "tiny" / "1")).parent
    rows = [row for row in catalogue() if row["item_id"] != "i0"]
    rows[2] |= {"text": "a sad film", "genre": ["Western"], "title": "Another"}
    rows[3] |= {"year": "not a number"}
    items = write(folder / "items.jsonl", [*rows, NEW])
    said = run("refresh", "--model", str(model), "--items", str(items))
    assert "holds 25 items: 1 new, 1 changed, 1 removed, 23 as they were" in said
    return model / "2"


def run(*arguments: str) -> str:
    done = CliRunner().invoke(twotower.main, ["index", *arguments])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@functools.lru_cache(maxsize=2)
def load(version: Path) -> Any:
    return tf.saved_model.load(str(version))


def ask(version: Path, signature: str, **inputs: Any) -> dict[str, Any]:
    answer = load(version).signatures[signature]
    feeds = {name: tf.constant(value) for name, value in inputs.items()}
    for name, spec in answer.structured_input_signature[1].items():
        if name not in feeds:
            nothing = float("nan") if spec.dtype.is_floating else "" if spec.dtype == tf.string else 0
            feeds[name] = tf.fill([1] * spec.shape.rank, tf.constant(nothing, spec.dtype))
    return {name: value.numpy() for name, value in answer(**feeds).items()}


def similar(version: Path, item: str) -> list[str]:
    return [found.decode() for found in ask(version, "similar_items", item_id=[item])["item_id"][0] if found]


def retrieve(version: Path, allow: str) -> list[str]:
    answer = ask(version, "retrieve", history_item_id=[["i5"]], allow_category=[[allow]])
    return sorted(found.decode() for found in answer["item_id"][0] if found)


def test_new_and_changed_items_are_found_with_their_categories(grown: Path) -> None:
    assert len(similar(grown, "n1")) == 10
    assert retrieve(grown, "Western") == ["i3", "n1"]
    assert "n1" in retrieve(grown, "Horror")
    assert "i3" not in retrieve(grown, "Comedy")


def test_removed_items_are_nowhere(grown: Path) -> None:
    assert similar(grown, "i0") == []
    assert retrieve(grown, "Comedy") == ["i12", "i15", "i18", "i21", "i6", "i9"]
    scores = ask(grown, "rank", history_item_id=[["i5"]], item_id=[["i0", "i1"]])["score"]
    assert np.isnan(scores).tolist() == [[True, False]]


def test_vectors_are_those_of_embed_item_and_all_others_stay_bit_by_bit(exported: Path, grown: Path) -> None:
    old, new = read_variables(exported), read_variables(grown)
    before = {item: row for row, item in enumerate(old["_index/items/values"])}
    after = {item: row for row, item in enumerate(new["_index/items/values"])}
    kept = sorted(set(before) - {b"i0", b"i3"})
    rows = [before[item] for item in kept], [after[item] for item in kept]
    for name in (path for path in old if path.startswith("_index/vectors") or path == "_index/scale"):
        assert old[name][rows[0]].tobytes() == new[name][rows[1]].tobytes()
    vectors = ask(grown, "embed_item", text=["a dark film"], genre=[["Horror", "Western"]], year=[2000.0])
    stored = ask(grown, "retrieve", history_item_id=[["i5"]], allow_category=[["Western"]])
    query = ask(grown, "embed_query", history_item_id=[["i5"]])["embedding"][0]
    place = stored["item_id"][0].tolist().index(b"n1")
    np.testing.assert_allclose(stored["score"][0][place], vectors["embedding"][0] @ query, rtol=1e-5)


def test_an_item_that_was_in_training_keeps_its_id_embedding(exported: Path, model: Path) -> None:
    """Embedded anew with its old description it gets its old vector; `embed_item`, told no id, gives another."""
    before = read_variables(exported)
    trained = before["_index/id_rows"] > 0
    assert 0 < trained.sum() < ITEMS  # "new" was never seen in training
    items = write(model.parent / "items.jsonl", catalogue())
    version = refresh(model, items, RefreshOptions(embed_all=True), QUIET)
    after = read_variables(version)
    np.testing.assert_array_equal(after["_index/id_rows"], before["_index/id_rows"])
    vectors = before["_index/vectors/values"]
    np.testing.assert_allclose(after["_index/vectors/values"], vectors, rtol=1e-4, atol=1e-5)
    first = catalogue()[0]
    described = ask(exported, "embed_item", text=[first["text"]], genre=[first["genre"]], year=[1990.0])
    place = before["_index/items/values"].tolist().index(b"i0")
    assert np.abs(described["embedding"][0] - vectors[place]).max() > 1e-3


def test_weights_and_graph_are_shared(exported: Path, grown: Path) -> None:
    old, new = read_variables(exported), read_variables(grown)
    assert set(old) == set(new)
    towers = [name for name in old if not name.startswith("_index/") and name != "_facts"]
    assert len(towers) > 20
    for name in towers:
        assert np.array_equal(old[name], new[name]), name
    assert (exported / "saved_model.pb").read_bytes() == (grown / "saved_model.pb").read_bytes()


def test_facts_titles_and_warm_up_follow(exported: Path, grown: Path) -> None:
    facts = read_facts(grown)
    assert facts["catalogue_size"] == ITEMS
    assert facts["catalogue_digest"] != read_facts(exported)["catalogue_digest"]
    assert facts["refreshed"] == {"from_version": 1, "added": 1, "changed": 1, "removed": 1, "rejected": 1}
    described = json.loads(ask(grown, "describe", detail=[""])["json"][0])
    assert {name: facts[name] for name in described} == described
    titles = dict(
        line.split("\t") for line in (grown / "assets.extra" / "titles.tsv").read_text().splitlines()
    )
    assert (titles["n1"], titles["i3"], titles["i1"], "i0" in titles) == (
        "A new one",
        "Another",
        "Title i1",
        False,
    )
    asked = [
        str(array)
        for _, inputs in read_requests(grown / "assets.extra" / "tf_serving_warmup_requests")
        for array in inputs.values()
    ]
    assert not any("b'i0'" in text or "\\x02i0" in text for text in asked)


def test_the_same_catalogue_again_writes_nothing(model: Path, tmp_path: Path) -> None:
    items = write(tmp_path / "items.jsonl", catalogue())
    assert refresh(model, items, RefreshOptions(), QUIET).name == "1"
    assert [child.name for child in model.iterdir()] == ["1"]


@pytest.mark.slow
def test_a_new_title_alone_costs_no_item_its_vector(model: Path, tmp_path: Path) -> None:
    rows = catalogue()
    rows[1]["title"] = "Renamed"
    version = refresh(model, write(tmp_path / "items.jsonl", rows), RefreshOptions(), QUIET)
    assert "i1\tRenamed\n" in (version / "assets.extra" / "titles.tsv").read_text()
    assert read_facts(version)["refreshed"]["changed"] == 0
    old, new = read_variables(model / "1"), read_variables(version)
    changed = [name for name in old if not np.array_equal(old[name], new[name])]
    assert set(changed) == {"_facts", "_index/variants"}  # titles say which items are variants of one another


@pytest.mark.slow
def test_the_items_of_a_dataset_directory_are_a_catalogue(model: Path, trained: ProjectConfig) -> None:
    dataset = trained.dataset_dir("leave_last_out")
    assert refresh(model, dataset, RefreshOptions(), QUIET).name == "1"
    version = refresh(model, dataset, RefreshOptions(embed_all=True), QUIET)
    assert read_facts(version)["refreshed"]["changed"] == ITEMS


@pytest.mark.slow
def test_a_version_without_digests_learns_them(model: Path, tmp_path: Path) -> None:
    (model / "1" / "assets.extra" / "item_digests.npy").unlink()
    rows = catalogue()
    learned = refresh(model, write(tmp_path / "items.jsonl", rows), RefreshOptions(), QUIET)
    assert read_facts(learned)["refreshed"]["changed"] == 0
    rows[3]["text"] = "a dark film"
    seen = refresh(model, write(tmp_path / "items.jsonl", rows), RefreshOptions(), QUIET)
    assert read_facts(seen)["refreshed"]["changed"] == 1


def test_bad_rows_are_listed_and_their_items_stay(grown: Path) -> None:
    file = grown.parents[1] / "items.jsonl.rejects.jsonl"
    rejects = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(reject["where"], reject["item_id"]) for reject in rejects] == [("items.jsonl:4", "i4")]
    assert "'year' should be a number" in rejects[0]["reason"]
    assert similar(grown, "i4")


def test_too_large_a_change_publishes_nothing(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="10 of 25 items would be removed"):
        refresh(model, write(tmp_path / "items.jsonl", catalogue()[:15]), RefreshOptions(), QUIET)
    with pytest.raises(ExportError, match="holds no item that can be used"):
        refresh(model, write(tmp_path / "none.jsonl", [1]), RefreshOptions(), QUIET)
    assert [child.name for child in model.iterdir()] == ["1"]


@pytest.mark.slow
def test_add_remove_and_candidates_on_the_command_line(model: Path, tmp_path: Path) -> None:
    items = write(tmp_path / "new.jsonl", [NEW])
    assert "26 items: 1 new" in run("add", "--model", str(model), "--items", str(items))
    assert "holds 24 items" in run("remove", "--model", str(model), "n1", "i2", "nobody")
    assert similar(model / "3", "i2") == []
    run("add", "--model", str(model), "--items", str(items), "--candidate")
    assert [child.name for child in (model / "candidates").iterdir()] == ["4"]
    gone = tmp_path / "gone.txt"
    gone.write_text("i7\ni8\n")
    run("refresh", "--only-changes", "--model", str(model), "--items", str(items), "--remove", str(gone))
    assert read_facts(model / "5")["refreshed"]["removed"] == 2


@pytest.mark.slow
def test_vectors_of_a_batch_job_are_taken_and_checked(model: Path, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    others = [NEW | {"item_id": f"m{n}", "text": f"a {WORDS[n % 3]} film"} for n in range(3)]
    items = write(tmp_path / "new.jsonl", others)
    inputs = {
        "text": [row["text"] for row in others],
        "genre": [row["genre"] for row in others],
        "year": [2000.0] * 3,
    }
    vectors = ask(model / "1", "embed_item", **inputs)["embedding"]
    vectors[0, 0] += np.float32(1e-6)  # as another batch size might: it is taken as it is
    shards = tmp_path / "vectors"
    shards.mkdir()
    table = {"item_id": ["m1", "m0", "i1"], "embedding": [*vectors[[1, 0]].tolist(), [0.0] * 16]}
    pq.write_table(
        pa.table(table, schema=pa.schema([("item_id", pa.string()), ("embedding", pa.list_(pa.float32()))])),
        shards / "part-0.parquet",
    )
    options = RefreshOptions(only_changes=True, vectors=shards)
    version = refresh(model, items, options, QUIET)
    stored = ask(version, "similar_items", item_id=["m0"])
    assert stored["item_id"][0][0]
    variables = read_variables(version)
    place = variables["_index/items/values"].tolist().index(b"m0")
    path = "_index/vectors/values" if "_index/vectors/values" in variables else "_index/vectors"
    np.testing.assert_array_equal(variables[path][place], vectors[0])

    table["embedding"] = [(np.asarray(row) * 2).tolist() for row in table["embedding"]]
    pq.write_table(pa.table(table), shards / "part-0.parquet")
    with pytest.raises(ExportError, match="are not this model's"):
        refresh(model, write(tmp_path / "more.jsonl", [others[1] | {"year": 1}]), options, QUIET)
    (shards / "part-0.parquet").write_bytes(b"no")
    with pytest.raises(ExportError, match="does not hold the columns"):
        refresh(model, write(tmp_path / "more.jsonl", [others[1] | {"year": 1}]), options, QUIET)


@pytest.mark.slow
def test_vectors_that_twotower_score_computed(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="needs twotower[beam]")
    items = write(tmp_path / "items.jsonl", [*catalogue(), NEW])
    vectors = tmp_path / "vectors"
    command = ["score", "embed-items", "--model", str(model), "--items", str(items), "--output", str(vectors)]
    done = CliRunner().invoke(twotower.main, command)
    assert done.exit_code == 0, done.output
    said = run("refresh", "--model", str(model), "--items", str(items), "--vectors", str(vectors))
    assert "26 items: 1 new, 0 changed, 0 removed, 25 as they were" in said
    assert "embedded here" not in said


@pytest.mark.slow
def test_a_kill_at_any_stage_leaves_no_new_version(model: Path, tmp_path: Path) -> None:
    items = write(tmp_path / "new.jsonl", [NEW])
    code = (
        "import os, signal, sys, pathlib\n"
        "from rich.console import Console\n"
        "from trainer.refresh import refresh as module\n"
        "def die(*_):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "setattr(module, sys.argv[1], die)\n"
        "module.refresh(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]),\n"
        "               module.RefreshOptions(only_changes=True), Console(quiet=True))\n"
    )
    for stage in ("write_digests", "check_answers"):
        command = [sys.executable, "-c", code, stage, str(model), str(items)]
        done = subprocess.run(command, capture_output=True, check=False, env=dict(os.environ))
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert [child.name for child in model.iterdir() if child.name.isdecimal()] == ["1"]
    assert refresh(model, items, RefreshOptions(only_changes=True), QUIET).name == "2"


def test_a_check_that_fails_publishes_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.refresh import refresh as module

    def spoiled(variables: Any, rows: Any) -> Any:
        changes = real(variables, rows)
        path = next(name for name in changes if name.startswith("_index/vectors"))
        changes[path][3] += 1
        return changes

    real = module.rewritten
    monkeypatch.setattr(module, "rewritten", spoiled)
    items = write(tmp_path / "new.jsonl", [NEW])
    with pytest.raises(ExportError, match=r"the variable _index/vectors\S* has changed on its way"):
        refresh(model, items, RefreshOptions(only_changes=True), QUIET)
    assert [child.name for child in model.iterdir()] == ["1"]


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    items = write(tmp_path / "new.jsonl", [NEW])
    with pytest.raises(ExportError, match="Run `twotower export` first"):
        refresh(tmp_path, items, RefreshOptions(), QUIET)
