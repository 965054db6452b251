"""The same BERT in ONNX Runtime: the graph built from the folder's tensors with the runtime's own fused operators.

A worker of `benchmarks/text_tower.py`, run by the Python of an environment of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file
from tokenizers import BertWordPieceTokenizer

_EPSILON = 1e-12


class Graph:
    """Collects nodes and weights; a node's output is named after its place."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, value: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def node(self, op: str, *inputs: str, fused: bool = False, **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        domain = "com.microsoft" if fused else ""
        self.nodes.append(helper.make_node(op, inputs, [name], domain=domain, **attributes))
        return name


def build(folder: Path) -> bytes:
    """int32 [B, L] pieces and mask to float32 [B, W] means over the pieces."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    t, g, e = load_file(folder / "model.safetensors"), Graph(), "embeddings."
    tables = (
        t[f"{e}word_embeddings.weight"],
        t[f"{e}position_embeddings.weight"] + t[f"{e}token_type_embeddings.weight"][0],
    )
    norm = [g.weight(t[f"{e}LayerNorm.{name}"]) for name in ("weight", "bias")]
    g.nodes.append(
        helper.make_node(
            "EmbedLayerNormalization",
            ["pieces", "", *(g.weight(table) for table in tables), "", *norm, "mask"],
            ["x", "mask_index"],
            domain="com.microsoft",
            epsilon=_EPSILON,
        )
    )
    x = "x"
    for layer in range(config["num_hidden_layers"]):
        x = _layer(g, t, f"encoder.layer.{layer}.", x, config["num_attention_heads"])
    mask = g.node("Unsqueeze", g.node("Cast", "mask", to=TensorProto.FLOAT), "axis_2")
    total = g.node("ReduceSum", g.node("Mul", x, mask), "axis_1", keepdims=0)
    count = g.node("ReduceSum", mask, "axis_1", keepdims=0)
    g.nodes.append(helper.make_node("Div", [total, count], ["vector"]))
    axes = [numpy_helper.from_array(np.asarray([axis], np.int64), f"axis_{axis}") for axis in (1, 2)]
    ints = [helper.make_tensor_value_info(name, TensorProto.INT32, ["B", "L"]) for name in ("pieces", "mask")]
    out = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["B", config["hidden_size"]])
    graph = helper.make_graph(g.nodes, "bert", ints, [out], [*g.weights, *axes])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def _layer(g: Graph, t: dict[str, Any], p: str, x: str, heads: int) -> str:
    parts = [f"{p}attention.self.{name}" for name in ("query", "key", "value")]
    kernel = g.weight(np.concatenate([t[f"{part}.weight"].T for part in parts], axis=1))
    bias = g.weight(np.concatenate([t[f"{part}.bias"] for part in parts]))
    mixed = g.node("Attention", x, kernel, bias, "mask_index", fused=True, num_heads=heads)
    x = _residual(g, t, f"{p}attention.output.", x, mixed)
    inner = g.node("MatMul", x, g.weight(t[f"{p}intermediate.dense.weight"].T))
    inner = g.node("FastGelu", inner, g.weight(t[f"{p}intermediate.dense.bias"]), fused=True)
    return _residual(g, t, f"{p}output.", x, inner)


def _residual(g: Graph, t: dict[str, Any], p: str, x: str, more: str) -> str:
    more = g.node("MatMul", more, g.weight(t[f"{p}dense.weight"].T))
    vectors = [g.weight(t[f"{p}{name}"]) for name in ("LayerNorm.weight", "LayerNorm.bias", "dense.bias")]
    return g.node("SkipLayerNormalization", more, x, *vectors, fused=True, epsilon=_EPSILON)


class Encoder:
    """Texts to vectors, tokenizer included; sorted by length, `group` at a time, padded to the longest of the group."""

    def __init__(self, folder: Path, group: int, max_tokens: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))  # as TensorFlow counts them
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._session = onnxruntime.InferenceSession(
            build(folder), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
        self._tokenizer.enable_truncation(max_tokens)
        self._group = group

    def __call__(self, texts: list[str]) -> Any:
        pieces = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        order = sorted(range(len(pieces)), key=lambda row: len(pieces[row]))
        vectors = None
        for start in range(0, len(order), self._group):
            rows = order[start : start + self._group]
            ids = np.zeros((len(rows), len(pieces[rows[-1]])), np.int32)
            mask = np.zeros_like(ids)
            for place, row in enumerate(rows):
                ids[place, : len(pieces[row])] = pieces[row]
                mask[place, : len(pieces[row])] = 1
            (came,) = self._session.run(None, {"pieces": ids, "mask": mask})
            vectors = np.zeros((len(texts), came.shape[1]), np.float32) if vectors is None else vectors
            vectors[rows] = came
        return vectors


def main() -> None:
    """Answers one JSON line for each that comes: {"texts": [...], "seconds": s, "vectors": file or null}."""
    folder, group, max_tokens = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    encode = Encoder(folder, group, max_tokens)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        vectors = encode(asked["texts"])
        if asked.get("vectors"):
            np.save(asked["vectors"], vectors)
        took, stop, used = [], time.perf_counter() + asked["seconds"], time.process_time()
        while not took or time.perf_counter() < stop:
            began = time.perf_counter()
            encode(asked["texts"])
            took.append(time.perf_counter() - began)
        answer = {
            "ms": 1000 * sorted(took)[len(took) // 2],
            "cpu_ms": 1000 * (time.process_time() - used) / len(took),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
