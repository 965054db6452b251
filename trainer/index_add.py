"""`twotower index add`: new items in an exported model, without training and without touching its graph.

All that depends on the catalogue lies in a few variables (see `trainer.index`). A new version is the old one with these
replaced: the towers' weights and the vectors of all other items stay as they are, bit by bit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from trainer import contract
from trainer.errors import ExportError
from trainer.export import ask_stranger, check_lint, publishing, read_facts
from trainer.keras_compat import tf
from trainer.new_items import NewItems, read_new_items
from trainer.run import write_json
from trainer.string_lookup import lookup_arrays
from trainer.versions import newest_version, next_version

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_BATCH = 256


def add_items(model: Path, items: Path, console: Console) -> Path:
    """Publishes a version of a model whose index also holds the items of a file.

    Args:
        model: Folder with the versions of a model, as `twotower export` writes it.
        items: JSON Lines; see `trainer.new_items`.
        console: For progress.

    Returns:
        The new version directory; the newest one if it holds these items already.

    Raises:
        ExportError: there is no version, an item cannot be used, or the new version failed its check.
    """
    newest = newest_version(model)
    if newest is None or not read_facts(newest):
        raise ExportError(
            f"{model} holds no version that `twotower export` wrote. Run `twotower export` first."
        )
    facts = read_facts(newest)
    identity = hashlib.sha256(facts["identity"].encode() + items.read_bytes()).hexdigest()
    if identity in facts.get("added", []):
        console.print(f"{newest} is up to date: it holds the items of {items} already.")
        return newest
    loaded = tf.saved_model.load(str(newest))
    new = read_new_items(items, _raw_inputs(loaded, newest))
    vectors = _embed(loaded, new)
    number = next_version(model)
    facts |= {
        "model_version": number,
        "catalogue_size": facts["catalogue_size"] + len(new.ids),
        "added": [*facts.get("added", []), identity],
    }
    with publishing(model, number) as folder:
        shutil.copytree(newest, folder, dirs_exist_ok=True)
        (folder / "fingerprint.pb").unlink(missing_ok=True)  # of the old variables
        _replace_index(folder, new, vectors, facts)
        _extend_titles(folder, new)
        write_json(folder / contract.EXTRA_ASSETS / contract.SERVING_FILE, facts)
        check_lint(folder, facts["serving_release"])
        _check(folder, new, vectors)
    console.print(f"Added {len(new.ids)} items: {model / str(number)} holds {facts['catalogue_size']:,}.")
    return model / str(number)


def _raw_inputs(loaded: Any, version_dir: Path) -> dict[str, Any]:
    """Inputs of `embed_item` by name."""
    signature = loaded.signatures.get("embed_item")
    if signature is None:
        raise ExportError(f"{version_dir} cannot embed new items: the model reads no item features or text.")
    return dict(signature.structured_input_signature[1])


def _embed(loaded: Any, new: NewItems) -> npt.NDArray[np.float32]:
    """float32 [N, D]."""
    parts = []
    for start in range(0, len(new.ids), _BATCH):
        batch = {name: tf.constant(array[start : start + _BATCH]) for name, array in new.features.items()}
        parts.append(loaded.signatures["embed_item"](**batch)[contract.EMBEDDING].numpy())
    return np.concatenate(parts)


def _replace_index(
    folder: Path, new: NewItems, vectors: npt.NDArray[np.float32], facts: dict[str, Any]
) -> None:
    """Rewrites the variables of the catalogue; all others are copied."""
    prefix = folder / "variables" / "variables"
    values = _read_variables(prefix)
    ids = _strings(values[_key("_index/items/values")])
    if known := sorted(set(ids) & set(new.ids)):
        raise ExportError(
            f"{', '.join(known[:5])}: already in the index. Leave them out, or give them new ids."
        )
    names = _strings(values[_key("_index/category_names/values")])
    names += sorted({name for row in new.categories for name in row if name} - set(names))
    _replace_lookup(values, "_index/items", [*ids, *new.ids])
    _replace_lookup(values, "_index/category_names", names)
    rows = {name: row for row, name in enumerate(names)}
    _append(values, _key("_index/vectors"), vectors)
    _append(values, _key("_index/scale"), np.zeros(len(new.ids), np.float32))
    table = _category_table([[rows[name] for name in row if name] for row in new.categories])
    _append(values, _key("_index/categories"), table)
    listed = {name: value for name, value in facts.items() if name != "signatures"}
    values[_key("_facts")] = tf.constant(json.dumps(listed, sort_keys=True))
    shutil.rmtree(prefix.parent)
    prefix.parent.mkdir()
    names = sorted(values)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[values[n] for n in names],
    )
    # Saving writes shards of one file under a name of its own when asked by name alone.
    if not prefix.with_suffix(".index").exists():
        raise ExportError(f"Writing {prefix} left no index file.")


def _key(path: str) -> str:
    return f"{path}{_VALUE}"


def _read_variables(prefix: Path) -> dict[str, Any]:
    reader = tf.train.load_checkpoint(str(prefix))
    dtypes = reader.get_variable_to_dtype_map()
    return {name: tf.constant(reader.get_tensor(name), dtype) for name, dtype in dtypes.items()}


def _strings(values: Any) -> list[str]:
    return [value.decode("utf-8") for value in values.numpy()]


def _replace_lookup(values: dict[str, Any], path: str, strings: list[str]) -> None:
    """The variables of a `StringLookup`."""
    values[_key(f"{path}/values")] = tf.constant(strings, tf.string, shape=[len(strings)])
    for name, array in lookup_arrays(strings).items():
        values[_key(f"{path}/{name}")] = tf.constant(array)


def _append(values: dict[str, Any], key: str, rows: npt.NDArray[Any]) -> None:
    old = values[key].numpy()
    if old.ndim == 2 and key.startswith("_index/categories"):
        width = max(old.shape[1], rows.shape[1])
        old, rows = (
            np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in (old, rows)
        )
    values[key] = tf.constant(np.concatenate([old, rows]))


def _category_table(rows: list[list[int]]) -> npt.NDArray[np.int32]:
    table = np.full((len(rows), max([1, *(len(row) for row in rows)])), -1, np.int32)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").split("\n") if line]


def _extend_titles(folder: Path, new: NewItems) -> None:
    file = folder / contract.EXTRA_ASSETS / contract.TITLES_FILE
    if not file.exists():
        return
    lines = _lines(file) + [f"{item}\t{title}" for item, title in zip(new.ids, new.titles, strict=True)]
    file.write_text("".join(f"{line}\n" for line in sorted(lines)), encoding="utf-8")


def _check(folder: Path, new: NewItems, vectors: npt.NDArray[np.float32]) -> None:
    """A fresh process answers the warm-up records and embeds the new items to the vectors that were stored."""
    with tempfile.TemporaryDirectory() as scratch:
        ask_stranger(folder, folder / contract.EXTRA_ASSETS / contract.WARMUP_FILE, Path(scratch))
    loaded = tf.saved_model.load(str(folder))
    found = loaded.signatures["similar_items"](item_id=tf.constant(list(new.ids)))[contract.SCORE].numpy()
    if not np.isfinite(found[:, 0]).all() or not np.array_equal(_embed(loaded, new), vectors):
        raise ExportError("The version was not published: it does not find the new items again.")
