"""Writes saved_models/golden: a model of 12 kB that serves contract B and whose answers are known on paper.

    python scripts/golden_model.py            write it anew
    python scripts/golden_model.py --check    fail if what is there answers otherwise

Its items are directions of the compass, its vectors lie in the plane, and docs/savedmodel.md computes its answers by
hand:

- the vector of an item that is described in words is the sum of the directions that its text names;
- a query's vector is the mean of its history's vectors plus that sum over the words of its text;
- `retrieve` scores by the dot product, `recommend` and `rank` add a tenth of the item's popularity;
- of whom nothing is known gets the most popular items, scored by popularity.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "saved_models" / "golden" / "1"

IDS = ("east", "north", "northeast", "west", "south")
VECTORS = ((1.0, 0.0), (0.0, 1.0), (0.6, 0.8), (-1.0, 0.0), (0.0, -1.0))
POPULARITY = (4.0, 3.0, 2.0, 1.0, 0.0)
CATEGORIES = ("axis", "axis", "between", "axis", "axis")
K = 3

FACTS = {
    "format": "twotower-model",
    "version": 1,
    "name": "golden",
    "model_version": 1,
    "k": K,
    "candidates": len(IDS),
    "embedding_dim": 2,
    "catalogue_size": len(IDS),
    "index": {"kind": "exact", "recall": 1.0},
    "limits": {"history": 100, "query_characters": 1000},
}

_QUERY_SIDE = ("history_item_id", "query")
_FILTERS = ("exclude_item_id", "allow_category")
SIGNATURES: dict[str, tuple[str, ...]] = {
    "recommend": _QUERY_SIDE + _FILTERS,
    "retrieve": _QUERY_SIDE + _FILTERS,
    "rank": (*_QUERY_SIDE, "item_id"),
    "embed_query": _QUERY_SIDE,
    "embed_item": ("text",),
    "similar_items": ("item_id",),
}
"""Inputs of every signature, all of them strings; `similar_items` names one item a row, `rank` a list."""
_LISTS = ("history_item_id", "exclude_item_id", "allow_category", "item_id")


def _known(ids: Any) -> Any:
    """float32 [..., 5]: 1 at the item that an id names, nothing for an unknown one."""
    return tf.cast(tf.equal(tf.expand_dims(ids, -1), tf.constant(IDS)), tf.float32)


def _words(texts: Any, vectors: Any) -> Any:
    """float32 [B, 2] the sum of the directions named in string [B] texts."""
    words = tf.raw_ops.StringSplitV2(input=texts, sep="")
    table = tf.raw_ops.SparseToDense(
        sparse_indices=words.indices, output_shape=words.shape, sparse_values=words.values, default_value=""
    )
    return tf.matmul(tf.reduce_sum(_known(table), axis=1), vectors)


def _best(scores: Any, hidden: Any) -> dict[str, Any]:
    """The best K of float32 [B, 5] scores, without what bool [B, 5] hides; padded with "" and -inf."""
    best = tf.math.top_k(tf.where(hidden, -np.inf, scores), k=K)
    ids = tf.gather(tf.constant(IDS), best.indices)
    return {"item_id": tf.where(tf.math.is_finite(best.values), ids, ""), "score": best.values}


def outputs(inputs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The answers of every signature to its inputs, by output name."""
    vectors, popularity = tf.constant(VECTORS), tf.constant(POPULARITY)
    history, query = inputs["history_item_id"], inputs["query"]
    seen = tf.reduce_sum(_known(history), axis=1)
    count = tf.reduce_sum(seen, axis=1, keepdims=True)
    mean = tf.math.divide_no_nan(tf.matmul(seen, vectors), count)
    embedded = mean + _words(query, vectors)
    known = tf.expand_dims(tf.strings.length(tf.strings.strip(query)) > 0, 1) | (count > 0)
    products = tf.matmul(embedded, vectors, transpose_b=True)
    retrieval = tf.where(known, products, popularity)
    ranking = tf.where(known, products + 0.1 * popularity, popularity)
    gone = seen + tf.reduce_sum(_known(inputs["exclude_item_id"]), axis=1) > 0
    allowed = tf.expand_dims(inputs["allow_category"], -1)
    member = tf.reduce_any(tf.equal(allowed, tf.constant(CATEGORIES)), axis=1)
    free = tf.reduce_all(tf.equal(allowed, ""), axis=1)
    hidden = gone | ~(member | free)
    named = _known(inputs["item_id"])
    scores = tf.reduce_sum(named * tf.expand_dims(ranking, 1), axis=2)
    one = _known(inputs["one_item_id"])
    cosines = tf.matmul(tf.matmul(one, vectors), vectors, transpose_b=True)
    return {
        "recommend": _best(ranking, hidden),
        "retrieve": _best(retrieval, hidden),
        "rank": {"score": tf.where(tf.reduce_any(named > 0, axis=2), scores, np.nan)},
        "embed_query": {"embedding": embedded},
        "embed_item": {"embedding": _words(inputs["text"], vectors)},
        "similar_items": _best(cosines, (one > 0) | (tf.reduce_sum(one, axis=1, keepdims=True) == 0)),
    }


def _inputs(examples: Any) -> dict[str, Any]:
    """Every input as a placeholder whose default is what serialized tf.train.Examples say.

    So a signature and its twin share their nodes: a caller feeds either the inputs or the examples.
    """
    features: dict[str, Any] = {name: tf.io.VarLenFeature(tf.string) for name in _LISTS}
    features |= {name: tf.io.FixedLenFeature([], tf.string, "") for name in ("query", "text")}
    parsed = tf.io.parse_example(examples, features)
    defaults = {
        name: tf.sparse.to_dense(parsed[name], "") if name in _LISTS else parsed[name] for name in features
    }
    one = tf.concat([defaults["item_id"], tf.fill([tf.shape(examples)[0], 1], "")], axis=1)[:, 0]
    defaults["one_item_id"] = one
    return {
        name: tf.compat.v1.placeholder_with_default(value, [None] * (2 if name in _LISTS else 1), name)
        for name, value in defaults.items()
    }


def _signature(inputs: dict[str, Any], answers: dict[str, Any]) -> Any:
    info = tf.compat.v1.saved_model.utils.build_tensor_info
    return tf.compat.v1.saved_model.signature_def_utils.build_signature_def(
        {name: info(tensor) for name, tensor in inputs.items()},
        {name: info(tensor) for name, tensor in answers.items()},
        "tensorflow/serving/predict",
    )


def _signatures() -> dict[str, Any]:
    examples = tf.compat.v1.placeholder(tf.string, [None], "examples")
    inputs = _inputs(examples)
    found = {}
    for name, answers in outputs(inputs).items():
        taken = {i: inputs["one_item_id" if name == "similar_items" else i] for i in SIGNATURES[name]}
        found[name] = _signature(taken, answers)
        found[f"{name}_examples"] = _signature({"examples": examples}, answers)
    detail = tf.compat.v1.placeholder(tf.string, [None], "detail")
    facts = tf.fill(tf.shape(detail), json.dumps(FACTS, sort_keys=True))
    return found | {
        "serving_default": found["recommend"],
        "describe": _signature({"detail": detail}, {"json": facts}),
    }


def requests() -> list[tuple[str, dict[str, Any]]]:
    """A warm-up record of every signature: a history, a text, an excluded item."""
    values = {"history_item_id": "north", "query": "east", "text": "east", "item_id": "east"}
    values |= {"exclude_item_id": "west", "allow_category": ""}
    found: list[tuple[str, dict[str, Any]]] = [("describe", {"detail": np.asarray([b""], object)})]
    for name, inputs in SIGNATURES.items():
        record = tf.train.Example()
        arrays = {}
        for i in inputs:
            shape = [1, 1] if i in _LISTS and name != "similar_items" else [1]
            arrays[i] = np.full(shape, values[i].encode(), object)
            record.features.feature[i].bytes_list.value.append(values[i].encode())
        twin = {"examples": np.asarray([record.SerializeToString(deterministic=True)], object)}
        found += [(name, arrays), (f"{name}_examples", twin)]
    return [*found, ("serving_default", found[1][1])]


def write(folder: Path) -> None:
    """Writes the model to a folder that is not there yet, the same bytes every time."""
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], _signatures(), strip_default_attrs=True)
        builder.save()
    _make_equal(folder / "saved_model.pb")
    extra = folder / "assets.extra"
    extra.mkdir()
    listed = sorted(
        [*SIGNATURES, *(f"{name}_examples" for name in SIGNATURES), "serving_default", "describe"]
    )
    (extra / "serving.json").write_text(json.dumps(FACTS | {"signatures": listed}, indent=1) + "\n")
    (extra / "titles.tsv").write_text("".join(f"{item}\t{item.capitalize()}\n" for item in sorted(IDS)))
    _write_requests(extra / "tf_serving_warmup_requests")


def _make_equal(file: Path) -> None:
    """Leaves out what differs between machines and releases: names of builds, the list of known ops, map order.

    And what is there twice: nodes that compute the same become one, with a short name.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for graph in model.meta_graphs:
        graph.meta_info_def.ClearField("stripped_op_list")
        graph.meta_info_def.ClearField("tensorflow_version")
        graph.meta_info_def.ClearField("tensorflow_git_version")
        _merge_equal_nodes(graph)
    file.write_bytes(model.SerializeToString(deterministic=True))


def _merge_equal_nodes(graph: Any) -> None:
    """Makes one of nodes that compute the same, numbered; what a caller feeds keeps its name."""
    names: dict[str, str] = {}
    numbers: dict[bytes, str] = {}
    kept = []
    for node in graph.graph_def.node:  # the builder writes a node behind what it reads
        node.attr.pop("_output_shapes", None)
        old, node.name = node.name, ""
        node.input[:] = [_renamed(tensor, names) for tensor in node.input]
        content = node.SerializeToString(deterministic=True)
        is_new = content not in numbers or node.op.startswith("Placeholder")
        names[old] = (
            old if node.op.startswith("Placeholder") else numbers.setdefault(content, f"n{len(numbers)}")
        )
        if is_new:
            node.name = names[old]
            kept.append(type(node).FromString(node.SerializeToString()))
    del graph.graph_def.node[:]
    graph.graph_def.node.extend(kept)
    for signature in graph.signature_def.values():
        for info in (*signature.inputs.values(), *signature.outputs.values()):
            info.name = _renamed(info.name, names)


def _renamed(tensor: str, names: dict[str, str]) -> str:
    """The name of a tensor, such as "node:1", after its node was renamed."""
    node, colon, output = tensor.partition(":")
    return names[node] + colon + output


def _write_requests(file: Path) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    with tf.io.TFRecordWriter(str(file)) as writer:
        for name, inputs in requests():
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.model_spec.signature_name = name
            for i, array in inputs.items():
                log.predict_log.request.inputs[i].CopyFrom(tf.make_tensor_proto(array))
            writer.write(log.SerializeToString(deterministic=True))


def main() -> None:
    """Writes the model anew in place of the old one, or compares."""
    if "--check" in sys.argv[1:]:
        if found := different():
            raise SystemExit(
                f"{', '.join(found)} differ. Write the model anew: python scripts/golden_model.py"
            )
        return
    shutil.rmtree(GOLDEN, ignore_errors=True)
    write(GOLDEN)


def different() -> list[str]:
    """Files of the committed model that are not what this script writes."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "1"
        write(fresh)
        files = {f.relative_to(fresh) for f in fresh.rglob("*") if f.is_file()}
        there = {f.relative_to(GOLDEN) for f in GOLDEN.rglob("*") if f.is_file()}
        both = files & there
        return sorted(str(f) for f in files | there if f not in both or not _same(fresh / f, GOLDEN / f))


def _same(one: Path, other: Path) -> bool:
    """Whether two files are equal, but for the version of the TensorFlow that wrote the graph."""
    if one.name != "saved_model.pb":
        return one.read_bytes() == other.read_bytes()
    return _unversioned(one) == _unversioned(other)


def _unversioned(file: Path) -> bytes:
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for graph in model.meta_graphs:
        graph.graph_def.ClearField("versions")
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


if __name__ == "__main__":
    main()
