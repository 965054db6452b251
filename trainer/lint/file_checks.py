"""Checks of the files around the graph: warm-up, variables, assets, traces of the build machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from trainer.lint.findings import Finding
from trainer.lint.saved_model import SavedModel

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
#: TensorFlow Serving refuses a model with more (saved_model_warmup_util.h, kMaxNumRecords).
MAX_WARMUP_RECORDS = 1000
_OPTIMIZER_STATE = re.compile(
    r"\.OPTIMIZER_SLOT|(^|/)_?optimizer(s)?(/|$)|(^|/)(Adam|Adagrad|RMSprop|SGD|Nadam|Adamax|Ftrl|Lion)(_\d+)?(/|$)"
    r"|(^|/)(beta[12]_power|momentum|velocity|accumulator)(_\d+)?(/\.ATTRIBUTES|$)",
    re.IGNORECASE,
)
#: Folders that belong to a person or a job, up to the first character that no path of a build has.
_MACHINE_PATH = re.compile(
    rb"(?:/(?:home|Users|root|tmp|var/tmp|var/folders|private/var|mnt|content|workspace)/"
    rb"|[A-Za-z]:\\Users\\)[\w.+@%~/\\-]{3,200}"
)
_SHOWN = 3
_MAX_SCANNED_BYTES = 256 << 20


def check_warmup(model: SavedModel) -> Iterator[Finding]:
    """Every signature has a warm-up record, and the records can be read."""
    path = model.folder / WARMUP_FILE
    if not path.is_file():
        yield Finding(
            "warning",
            "no-warmup",
            WARMUP_FILE,
            "without warm-up records the first requests after a load pay for the server's lazy set-up",
        )
        return
    try:
        warmed = _warmed_signatures(path)
    except ValueError as error:
        yield Finding("error", "broken-warmup", WARMUP_FILE, f"the server cannot read it: {error}")
        return
    if len(warmed) > MAX_WARMUP_RECORDS:
        yield Finding(
            "error",
            "broken-warmup",
            WARMUP_FILE,
            f"it holds {len(warmed)} records, the server refuses models with more than {MAX_WARMUP_RECORDS}",
        )
    unknown = sorted(set(warmed) - set(model.signatures))
    if unknown:
        yield Finding(
            "error",
            "broken-warmup",
            WARMUP_FILE,
            f"records call signatures that the model does not have ({', '.join(unknown)}): loading fails",
        )
    cold = sorted(set(model.signatures) - set(warmed))
    if cold:
        yield Finding("warning", "no-warmup", WARMUP_FILE, f"no record warms up {', '.join(cold)}")


def check_optimizer_state(model: SavedModel) -> Iterator[Finding]:
    """The variables are those of the model, not of its training."""
    import tensorflow as tf

    prefix = model.folder / "variables" / "variables"
    if not prefix.with_suffix(".index").is_file():
        return
    names = [name for name, _ in tf.train.list_variables(str(prefix)) if _OPTIMIZER_STATE.search(name)]
    if names:
        yield Finding(
            "warning",
            "optimizer-state",
            ", ".join(names[:_SHOWN]),
            f"{len(names)} variables look like state of an optimizer, which serving loads and never uses. "
            "Export a module that does not hold the optimizer.",
        )


def check_machine_paths(model: SavedModel) -> Iterator[Finding]:
    """No file names folders of the machine that built the model."""
    for path in sorted(model.folder.rglob("*")):
        inside = path.relative_to(model.folder)
        if (
            not path.is_file()
            or inside.parts[0] in ("assets", "variables")
            or path.stat().st_size > _MAX_SCANNED_BYTES
        ):
            continue
        found = sorted({match.decode(errors="replace") for match in _MACHINE_PATH.findall(path.read_bytes())})
        if found:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            yield Finding(
                "warning",
                "machine-path",
                inside.as_posix(),
                f"the file names folders of the build machine: {', '.join(found[:_SHOWN])}{more}. "
                "Save without debug info and keep paths out of constants and of names, also of lookup tables.",
            )


def check_assets(model: SavedModel) -> Iterator[Finding]:
    """Every asset lies in the SavedModel, under a plain name."""
    for asset in model.graph.asset_file_def:
        name = asset.filename
        if PurePosixPath(name).name != name or "\\" in name:
            problem = "has a path in its name"
        elif not (model.folder / "assets" / name).is_file():
            problem = "is not in the folder assets/"
        else:
            continue
        yield Finding("error", "asset", name, f"the graph reads the asset {name!r}, which {problem}")


def _warmed_signatures(path: Path) -> list[str]:
    """The signature of each warm-up record, in their order."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    names = []
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            names.append(_signature(prediction_log_pb2.PredictionLog.FromString(record)))
    except DecodeError:
        raise ValueError(f"record {len(names)} is not a PredictionLog") from None
    except tf.errors.DataLossError as error:
        raise ValueError(f"record {len(names)}: {error.message}") from None
    return names


def _signature(log: object) -> str:
    kind = log.WhichOneof("log_type")  # type: ignore[attr-defined]
    if kind is None:
        raise ValueError("a record holds no request")
    request = getattr(log, kind).request
    tasks = request.tasks if kind == "multi_inference_log" else [request]
    return str(tasks[0].model_spec.signature_name) or "serving_default"
