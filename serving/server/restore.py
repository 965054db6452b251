"""Bringing a SavedModel into a session as the C++ loader does: graph, then variables, then initial values.

TensorFlow's Python loader restores on the pool of threads that all sessions of the process share, where the
operations of running requests then wait behind it. Here a thread of low priority does the work itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from google.protobuf.text_format import Parse, ParseError
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2

from serving.server.background import run_low
from serving.server.errors import ServingError

# RunOptions of this kind run operations on the calling thread.
ON_CALLING_THREAD = config_pb2.RunOptions(inter_op_thread_pool=-1)
_INIT_SIGNATURE = "__saved_model_init_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
_ASSETS_COLLECTION = "saved_model_assets"


def read_meta_graph(path: Path, tags: Sequence[str]) -> Any:
    """The `MetaGraphDef` of a SavedModel directory with exactly these tags.

    Raises:
        ServingError: NOT_FOUND: no such file, or no such tags; DATA_LOSS: it cannot be parsed.
    """
    saved_model = _read_saved_model(path)
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == set(tags):
            return meta_graph
    found = [sorted(meta_graph.meta_info_def.tags) for meta_graph in saved_model.meta_graphs]
    raise ServingError(
        grpc.StatusCode.NOT_FOUND,
        f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }} in {path}; it has "
        f"{found}. Set --saved_model_tags to one of these.",
    )


def restore(session: Any, path: Path, meta_graph: Any) -> dict[str, float]:
    """Imports a meta graph into the session's empty graph, restores its variables and runs its initialiser.

    Returns:
        Seconds by stage, under the names that the real server's metrics give them.

    Raises:
        tensorflow.errors.OpError: what the runtime says, such as a checkpoint that does not fit.
        ValueError: the graph cannot be imported, such as for an operation that is not registered.
    """
    with session.graph.as_default():
        tf.compat.v1.train.import_meta_graph(meta_graph)
    begin = time.perf_counter()
    saver, prefix = meta_graph.saver_def, path / "variables" / "variables"
    if saver.restore_op_name and prefix.with_name("variables.index").is_file():
        file = {saver.filename_tensor_name: str(prefix)}
        run_low(lambda: session.run(saver.restore_op_name, file, ON_CALLING_THREAD))
    restored = time.perf_counter()
    initialiser = _initialiser(meta_graph)
    if initialiser:
        session.run(initialiser, _assets(meta_graph, path), ON_CALLING_THREAD)
    return {"restore_graph": restored - begin, "init_graph": time.perf_counter() - restored}


def _read_saved_model(path: Path) -> Any:
    binary, text = path / "saved_model.pb", path / "saved_model.pbtxt"
    saved_model = saved_model_pb2.SavedModel()
    try:
        if binary.is_file():
            saved_model.ParseFromString(binary.read_bytes())
        elif text.is_file():
            Parse(text.read_text(encoding="utf-8"), saved_model)
        else:
            raise ServingError(
                grpc.StatusCode.NOT_FOUND,
                f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}",
            )
    except DecodeError:
        raise ServingError(grpc.StatusCode.DATA_LOSS, f"Can't parse {binary} as binary proto") from None
    except (ParseError, UnicodeDecodeError) as error:
        raise ServingError(grpc.StatusCode.DATA_LOSS, f"Can't parse {text} as text proto: {error}") from None
    return saved_model


def _initialiser(meta_graph: Any) -> str | None:
    """Name of the operation that sets up tables and the like, as TF2 or TF1 writes it; None if there is none."""
    if _INIT_SIGNATURE in meta_graph.signature_def:
        output = meta_graph.signature_def[_INIT_SIGNATURE].outputs[_INIT_SIGNATURE]
        return str(output.name).partition(":")[0]
    for key in _INIT_COLLECTIONS:
        names = meta_graph.collection_def[key].node_list.value if key in meta_graph.collection_def else ()
        if len(names) > 1:
            raise ValueError(f"Expected exactly one main op in : collection {key}, found {list(names)}")
        if names:
            return str(names[0])
    return None


def _assets(meta_graph: Any, path: Path) -> dict[str, str]:
    """Where each asset file is, by the tensor that wants to know."""
    assets = list(meta_graph.asset_file_def)
    if not assets and _ASSETS_COLLECTION in meta_graph.collection_def:
        for packed in meta_graph.collection_def[_ASSETS_COLLECTION].any_list.value:
            asset = meta_graph_pb2.AssetFileDef()
            packed.Unpack(asset)
            assets.append(asset)
    return {asset.tensor_info.name: str(path / "assets" / asset.filename) for asset in assets}
