"""The text tower beside what one would write first, and beside ONNX Runtime with the same weights.

    python -m venv onnx && onnx/bin/pip install -r benchmarks/requirements-text-tower.txt
    python benchmarks/text_tower.py --config movielens.toml --onnx-python onnx/bin/python --rounds 5

The configuration must have a finished run. From it come the item texts, the encoder and, with `--embed-query`, two
exports that differ only in the text tower. Programs, each a process of its own that takes texts:

    ours            word pieces without padding, trainer/packed_bert.py
    padded          KerasNLP's layers over texts padded to 32 word pieces: the naive export
    bfloat16, int8  ours, as export.text_precision stores it
    frozen          ours, by oneDNN (TF_ENABLE_ONEDNN_OPTS=1) with TF_ONEDNN_ASSUME_FROZEN_WEIGHTS=1
    onnx            ONNX Runtime, float32, fused operators, texts sorted by length and padded in groups of 16

TensorFlow's programs answer in a session, as TensorFlow Serving does. Rounds are interleaved: in each round every
program answers the same batch for a moment, one after the other, and ratios are taken within the round, by the clock
and by processor time. `taskset -c 0` gives every program one thread, whose processor time other work disturbs least.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PADDED, GROUP = 32, 16
SIZES = (1, 32, 256)
FROZEN = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": "1"}


def prepare(config_file: Path, folder: Path, embed_query: bool) -> None:
    """Writes texts.json and a SavedModel a program below `folder`."""
    from dataclasses import replace

    from rich.console import Console

    from trainer.config import load_config
    from trainer.dataset import DatasetDirectory
    from trainer.keras_compat import tf
    from trainer.preparation import item_texts
    from trainer.quantisation import StoredBert
    from trainer.run import RunDirectory
    from trainer.text_encoder import TextEncoder
    from trainer.training import load_best
    from trainer.workbench import Workbench

    class PaddedEncoder(TextEncoder):
        """All texts at once, in the order in which they come."""

        def __init__(self, encoder: TextEncoder) -> None:
            limits = {"max_tokens": encoder.max_tokens, "max_characters": encoder.max_characters}
            super().__init__(encoder.tokenizer, encoder.backbone, pooling=encoder.pooling, **limits)
            self.bert = PaddedBert(encoder.backbone)

        def _vectors(self, pieces: Any) -> Any:
            return self.pool(self.bert(pieces), tf.cast(pieces.row_lengths(), tf.int32))

    class PaddedBert(tf.Module):  # type: ignore[misc]
        """KerasNLP's layers over 32 word pieces a text, whatever its length."""

        resources = ()

        def __init__(self, backbone: Any) -> None:
            super().__init__()
            self._hidden = [lambda: backbone]  # a function, out of sight of TensorFlow's tracking
            self.kept = [weight.value for weight in backbone.weights]

        def __call__(self, pieces: Any) -> Any:
            dense = pieces[:, :PADDED].to_tensor(shape=[None, PADDED])
            mask = tf.sequence_mask(pieces.row_lengths(), PADDED)
            inputs = {"token_ids": dense, "segment_ids": tf.zeros_like(dense), "padding_mask": mask}
            return tf.boolean_mask(self._hidden[0]()(inputs)["sequence_output"], mask)

    class Served(tf.Module):  # type: ignore[misc]
        def __init__(self, encoder: Any) -> None:
            super().__init__()
            self._variables, self._resources = list(encoder.bert.variables), list(encoder.bert.resources)
            spec = tf.TensorSpec([None], tf.string, name="query")
            self.encode = tf.function(lambda query: {"embedding": encoder(query)}, input_signature=[spec])

    config = load_config(config_file)
    split = config.splits(None)[0]
    bench = Workbench.open(config, DatasetDirectory.open(config.dataset_dir(split)), Console())
    load_best(bench.model, config.train, RunDirectory(config.run_dir(split)))
    assert bench.encoder is not None
    texts = [text for text in item_texts(bench.preparation) if text.strip()]
    (folder / "texts.json").write_text(json.dumps({"texts": texts, "max_tokens": bench.encoder.max_tokens}))
    encoders: dict[str, TextEncoder] = {"ours": bench.encoder, "padded": PaddedEncoder(bench.encoder)}
    for precision in ("bfloat16", "int8"):
        encoders[precision] = bench.encoder.with_bert(StoredBert(bench.encoder.bert, precision))
    for name, encoder in encoders.items():
        served = Served(encoder)
        tf.saved_model.save(served, str(folder / name), signatures={"serving_default": served.encode})
    if embed_query:
        for name in ("ours", "padded"):
            write_query_model(config, replace(bench, encoder=encoders[name]), folder / f"query-{name}")


def write_query_model(config: Any, bench: Any, folder: Path) -> None:
    """The signature `embed_query` of a model, as an export has it."""
    from trainer.explaining.build import build_serving_model
    from trainer.index import ItemIndex
    from trainer.indexes.choose import build_search
    from trainer.keras_compat import tf
    from trainer.live import item_categories
    from trainer.scoring import encode_catalogue
    from trainer.signatures import signature_inputs

    catalogue, inputs = (
        bench.preparation.catalogue,
        signature_inputs(bench.model, bench.preparation.item_text),
    )
    search = build_search(
        encode_catalogue(bench.model).numpy(), lambda: None, config.export.k, config.export.index
    )
    index = ItemIndex(catalogue.item_ids, search.table, catalogue.counts, item_categories(bench))
    facts = {"limits": {"history": config.train.model.history.max_length}}
    plain = config.export.model_copy(update={"explanations": False})
    served = build_serving_model(plain, bench, index, inputs, facts)

    def embed_query(**given: Any) -> Any:
        return served.embed_query(given)

    signature = tf.function(embed_query).get_concrete_function(**inputs.query_side)
    tf.saved_model.save(served, str(folder), signatures={"embed_query": signature})


def worker(folder: str, signature_name: str) -> None:
    """Answers as `_text_tower_onnx.py` does, from a SavedModel."""
    import numpy as np
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    session = tf.compat.v1.Session(graph=tf.Graph())
    signature = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def[signature_name]
    names = sorted(signature.inputs)
    feeds = [signature.inputs[name].name for name in names]
    call = session.make_callable(signature.outputs["embedding"].name, feed_list=feeds)
    print(json.dumps({"ready": True}), flush=True)

    def values(texts: list[str]) -> list[Any]:
        rows: list[Any] = []
        for name in names:
            info = signature.inputs[name]
            shape = (len(texts), *([0] * (len(info.tensor_shape.dim) - 1)))
            dtype = tf.as_dtype(info.dtype).as_numpy_dtype
            rows.append(
                np.asarray(texts, object)
                if name == "query"
                else np.full(shape, "" if dtype is object else 0, dtype)
            )
        return rows

    for line in sys.stdin:
        asked = json.loads(line)
        fed = values(asked["texts"])
        vectors = call(*fed)
        if asked.get("vectors"):
            np.save(asked["vectors"], vectors)
        took, stop, used = [], time.perf_counter() + asked["seconds"], time.process_time()
        while not took or time.perf_counter() < stop:
            began = time.perf_counter()
            call(*fed)
            took.append(time.perf_counter() - began)
        answer = {
            "ms": 1000 * sorted(took)[len(took) // 2],
            "cpu_ms": 1000 * (time.process_time() - used) / len(took),
        }
        print(json.dumps(answer), flush=True)


class Times(NamedTuple):
    """Milliseconds of a batch: median by the clock, mean of processor time."""

    clock: float
    processors: float


class Program:
    """A worker process."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def wait(self) -> dict[str, Any]:
        """Its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a program ended: {self._process.args}")
        return dict(json.loads(line))

    def ask(self, texts: list[str], seconds: float, vectors: Path | None = None) -> Times:
        """A batch again and again."""
        assert self._process.stdin is not None
        asked = {"texts": texts, "seconds": seconds, "vectors": str(vectors) if vectors else None}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self.wait()
        return Times(answer["ms"], answer["cpu_ms"])

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@contextmanager
def programs(args: argparse.Namespace, encoder: str, max_tokens: int) -> Iterator[dict[str, Program]]:
    """Starts all, two at a time, and waits until each is ready."""
    this = [sys.executable, __file__, "--worker"]
    wanted: dict[str, tuple[list[str], dict[str, str]]] = {}
    for name in ("padded", "ours", "bfloat16", "int8"):
        wanted[name] = ([*this, str(args.keep / name), "serving_default"], {})
    wanted["frozen"] = ([*this, str(args.keep / "ours"), "serving_default"], FROZEN)
    if args.onnx_python:
        script = str(Path(__file__).with_name("_text_tower_onnx.py"))
        wanted["onnx"] = ([args.onnx_python, script, encoder, str(GROUP), str(max_tokens)], {})
    if args.embed_query:
        for name in ("padded", "ours"):
            wanted[f"embed_query {name}"] = ([*this, str(args.keep / f"query-{name}"), "embed_query"], {})
        wanted["embed_query frozen"] = ([*this, str(args.keep / "query-ours"), "embed_query"], FROZEN)
    if args.only:
        wanted = {name: entry for name, entry in wanted.items() if name in args.only}
    running: dict[str, Program] = {}
    try:
        for name, (command, environment) in wanted.items():
            running[name] = Program(command, environment)
            if len(running) % 2 == 0:
                _ready(running)
        _ready(running)
        yield running
    finally:
        for program in running.values():
            program.close()


_READY: set[int] = set()


def _ready(running: dict[str, Program]) -> None:
    for program in running.values():
        if id(program) not in _READY:
            program.wait()
            _READY.add(id(program))


def measure(
    running: dict[str, Program], texts: list[str], args: argparse.Namespace
) -> dict[int, dict[str, list[Times]]]:
    """By batch size and program, one a round."""
    import random

    draw = random.Random(7)
    took: dict[int, dict[str, list[Times]]] = {size: {name: [] for name in running} for size in args.sizes}
    for number in range(args.rounds + 1):
        for size in args.sizes:
            batch = draw.sample(texts, size) if size > 1 else [texts[number % len(texts)]]
            for name, program in running.items():
                file = (
                    args.keep / f"{name.replace(' ', '-')}.npy"
                    if not number and size == max(args.sizes)
                    else None
                )
                ms = program.ask(batch, args.seconds if number else 0.0, file)
                if number:  # round 0 prepares the graphs
                    took[size][name].append(ms)
                    print(
                        f"round {number}, batch of {size}, {name}: {ms.clock:.2f} ms",
                        file=sys.stderr,
                        flush=True,
                    )
    return took


def show(took: dict[int, dict[str, list[Times]]], keep: Path) -> None:
    """Tables with medians, and ratios within rounds to the padded program and to ONNX Runtime."""
    for size, programs_ in took.items():
        print(f"\nBatch of {size}\n")
        print("| program | ms | x padded | x onnx | processor ms | x padded | x onnx | least cosine |")
        print("|---|---|---|---|---|---|---|---|")
        for name, times in programs_.items():
            padded = "embed_query padded" if name.startswith("embed_query") else "padded"
            cells = [name]
            for kind in range(2):
                figures = [pair[kind] for pair in times]
                cells.append(f"{statistics.median(figures):.2f} ({min(figures):.2f}-{max(figures):.2f})")
                cells += [ratio(programs_.get(other), times, kind) for other in (padded, "onnx")]
            print(f"| {' | '.join([*cells, least_cosine(keep, name, padded)])} |")


def least_cosine(keep: Path, name: str, padded: str) -> str:
    """Of the vectors of two programs."""
    import numpy as np

    files = [keep / f"{program.replace(' ', '-')}.npy" for program in (name, padded)]
    if not all(file.exists() for file in files):
        return ""
    a, b = (np.load(file) for file in files)
    return f"{((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min():.6f}"


def ratio(reference: list[Times] | None, times: list[Times], kind: int) -> str:
    """How many times as fast as the reference, median and range over the rounds."""
    if not reference:
        return ""
    ratios = [theirs[kind] / ours[kind] for theirs, ours in zip(reference, times, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, help="of a finished training run")
    parser.add_argument(
        "--onnx-python", help="interpreter of an environment with requirements-text-tower.txt"
    )
    parser.add_argument(
        "--keep", type=Path, default=Path("text-tower-models"), help="folder for models, used again"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each program in each round")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="batch sizes")
    parser.add_argument("--only", nargs="+", help="names of programs")
    parser.add_argument("--embed-query", action="store_true", help="measure the whole signature too")
    parser.add_argument("--prepare", action="store_true", help="write the models and stop")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(*args.worker)
    if args.config is None:
        parser.error("--config is needed")
    args.keep.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if not (args.keep / ("query-padded" if args.embed_query else "int8")).exists():
        prepare(args.config, args.keep, args.embed_query)
    if args.prepare:
        return None
    from trainer.config import load_config

    encoder = load_config(args.config).encoder()
    known = json.loads((args.keep / "texts.json").read_text())
    with programs(args, encoder, known["max_tokens"]) as running:
        took = measure(running, known["texts"], args)
    show(took, args.keep)
    print(
        f"\n{args.rounds} rounds, {os.cpu_count()} cores, load {', '.join(f'{x:.1f}' for x in os.getloadavg())}"
    )
    return None


if __name__ == "__main__":
    main()
