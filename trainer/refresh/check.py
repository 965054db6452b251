"""The check of a version with another catalogue, before anyone can see it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer import contract
from trainer.errors import ExportError
from trainer.fresh_process import FreshProcess
from trainer.indexes.storage import blocks
from trainer.refresh.checkpoint import read_variables
from trainer.refresh.columns import column
from trainer.refresh.index_values import INDEX, Rows
from trainer.refresh.items_file import Item
from trainer.refresh.warmup import smallest_of_each
from trainer.requests_file import Request, write_requests

_SAMPLE = 8  # new, changed and removed items each that the fresh process is asked about
_TOLERANCE = 1e-4  # as in the check of an export
# Asked with their warm-up records, beside the questions about items. The graph is that of the old version byte by byte,
# and every signature of it was compared with the live model then; these three read all of the index.
_ASKED = ("recommend", "rank", "describe")

_ROUTE = "server"
_PROBLEM = "The version was not published"


def check_kept(folder: Path, before: dict[str, Any], rows: Rows) -> None:
    """What the disk holds for items that stayed is what the old version held, bit by bit.

    Args:
        folder: The new version.
        before: Variables of the old one.
        rows: The new catalogue.

    Raises:
        ExportError: it is not.
    """
    kept = (rows.origin >= 0) & ~rows.embedded
    after = read_variables(
        folder, lambda path: not path.startswith(INDEX) or path.startswith(f"{INDEX}vectors")
    )
    for path, old in before.items():
        if not path.startswith(INDEX):
            same = path == "_facts" or _bytes(old) == _bytes(after[path])
        else:
            same = not path.startswith(f"{INDEX}vectors") or _same_rows(after[path], old, rows.origin, kept)
        if not same:
            raise ExportError(f"{_PROBLEM}: the variable {path} has changed on its way.")


def check_answers(
    folder: Path,
    embedded: Sequence[Item],
    vectors: npt.NDArray[np.float32],
    removed: Sequence[str],
    inputs: dict[str, Any],
    process: FreshProcess,
    with_id: Collection[str],
) -> None:
    """A fresh process answers warm-up records, finds new items, and does not find removed ones.

    It loads the version as a server does. The graph is that of the old version byte by byte, and other code could load
    that one, and a server optimize it; doing so again would take several times as long and prove nothing about the
    variables, which are all that is new.

    Args:
        folder: The new version.
        embedded: New and changed items.
        vectors: float32 [N, D] of them.
        removed: Ids that left.
        inputs: tf.TensorSpec of the inputs of `embed_item` by name.
        process: The process, which waits.
        with_id: Items whose vectors hold more than `embed_item` knows.

    Raises:
        ExportError: the process failed, or an answer is not as it should be.
    """
    warmup = smallest_of_each(folder / contract.EXTRA_ASSETS / contract.WARMUP_FILE)
    requests = [warmup[name] for name in _ASKED if name in warmup]
    there, gone = [embedded[place].item_id for place in _sample(len(embedded))], list(removed[:_SAMPLE])
    described = [place for place, item in enumerate(embedded) if item.item_id not in with_id]
    sample = [described[place] for place in _sample(len(described))]
    items = [embedded[place] for place in sample]
    if items:
        features = {name: column(items, name, spec) for name, spec in inputs.items()}
        requests.append(("embed_item", _as_bytes(features)))
    if there or gone:
        requests.append(("similar_items", _as_bytes({contract.ITEM_ID: np.asarray([*there, *gone], object)})))
    answers = _ask(process, folder, requests)
    if items:
        number = len(requests) - (2 if there or gone else 1)
        came = answers[f"{_ROUTE}/{number}/{contract.EMBEDDING}"]
        if not np.allclose(came, vectors[sample], rtol=_TOLERANCE, atol=_TOLERANCE):
            asked = ", ".join(item.item_id for item in items[:5])
            raise ExportError(f"{_PROBLEM}: its vectors of {asked} are not those embedded.")
    if there or gone:
        known = np.isfinite(answers[f"{_ROUTE}/{len(requests) - 1}/{contract.SCORE}"]).any(axis=1)
        if not known[: len(there)].all() or known[len(there) :].any():
            raise ExportError(f"{_PROBLEM}: it does not know its items ({', '.join([*there, *gone][:5])}).")


def _sample(count: int) -> Any:
    return np.unique(np.linspace(0, count - 1, min(_SAMPLE, count), dtype=int))


def _ask(process: FreshProcess, folder: Path, requests: Sequence[Request]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "requests"
        write_requests(file, requests)
        return process.ask(folder, file, Path(scratch), routes=(_ROUTE,), optimize=False)


def _as_bytes(arrays: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    encode = np.frompyfunc(lambda value: value.encode("utf-8"), 1, 1)
    return {name: encode(array) if array.dtype == object else array for name, array in arrays.items()}


def _same_rows(
    after: npt.NDArray[Any], old: npt.NDArray[Any], origin: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]
) -> bool:
    """Whether what stayed has the same bits, looked at in blocks, so that nothing of the index's size is copied."""
    for part in blocks(len(origin)):
        places = np.flatnonzero(kept[part])
        if not np.array_equal(_bits(after[part][places]), _bits(old[origin[part][places]])):
            return False
    return True


def _bytes(value: Any) -> Any:
    array = np.asarray(value)
    return array.tolist() if array.dtype == object else array.tobytes()


def _bits(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory as integers, so that NaN equals itself and -0 does not equal 0."""
    contiguous = np.ascontiguousarray(array)
    return contiguous.view(f"u{contiguous.dtype.itemsize}")
