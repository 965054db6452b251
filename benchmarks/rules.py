"""What rules cost: `recommend` of an exported model with and without them, and beside an earlier export.

    python benchmarks/rules.py saved_models/movielens-100k/1
    python benchmarks/rules.py saved_models/movielens-100k/2 --against saved_models/movielens-100k/1

Each request is answered in a session, as TensorFlow Serving does it, with the users of the model's own warm-up records.
All variants take turns in each round; medians over the rounds with the smallest and the largest, and the ratio to the
request without rules, taken inside each round. A model without inputs for rules takes part in the first line only.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

NO_RULES = "no rules"
RULES: dict[str, dict[str, Any]] = {
    NO_RULES: {},
    "block_category": {"block_category": "Horror"},
    "min_score": {"min_score": 0.0},
    "max_per_category = 20": {"max_per_category": 20},
    "max_per_category = 1": {"max_per_category": 1},
    "one_per_variant": {"one_per_variant": 1},
    "diversity = 0.5": {"diversity": 0.5},
    "exploration = 0.5": {"exploration": 0.5},
    "all of them": {"max_per_category": 20, "one_per_variant": 1, "diversity": 0.5, "exploration": 0.5},
}


@click.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--against", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another version."
)
@click.option("--signature", default="recommend", show_default=True, help="Whose answers to time.")
@click.option("--rounds", default=7, show_default=True, help="How often all variants take turns.")
@click.option("--seconds", default=0.5, show_default=True, help="How long each variant runs in a round.")
def main(model: Path, against: Path | None, signature: str, rounds: int, seconds: float) -> None:
    """Times one request after the other."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    console = Console()
    session, other = _Session(model, signature), _Session(against, signature) if against else None
    for size in (1, 32):
        base = _request(model, signature, size)
        calls = {name: session.call(_with(base, rules, session.inputs)) for name, rules in RULES.items()}
        if other is not None:
            calls["the other version"] = other.call(_with(base, {}, other.inputs))
        console.print(
            _table(f"{signature}, {size} row{'s'[: size > 1]} a request", _measure(calls, rounds, seconds))
        )


class _Session:
    """A model as a server holds it."""

    def __init__(self, folder: Path, signature: str) -> None:
        import tensorflow as tf
        import tensorflow_text  # noqa: F401  registers the ops of the tokenizer

        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
        definition = loaded.signature_def[signature]
        self.inputs = {name: tf.as_dtype(info.dtype) for name, info in definition.inputs.items()}
        self._answer = self._session.make_callable(  # one for all requests: preparing the graph takes seconds
            [tensor.name for tensor in definition.outputs.values()],
            feed_list=[definition.inputs[name].name for name in self.inputs],
        )

    def call(self, request: dict[str, Any]) -> Callable[[], Any]:
        values = [request[name] for name in self.inputs]
        return lambda: self._answer(*values)


def _request(model: Path, signature: str, rows: int) -> dict[str, Any]:
    """Users of the model's warm-up records: with a history, without words, so that no text is encoded."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    file = model / "assets.extra" / "tf_serving_warmup_requests"
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        if request.model_spec.signature_name == signature and len(inputs["query"]) == rows:
            known = np.flatnonzero([any(row) for row in inputs["history_item_id"]])
            taken = {name: np.resize(array[known], array.shape) for name, array in inputs.items()}
            return taken | {"query": np.full(rows, b"", object)}
    raise click.ClickException(f"{file} has no record of {signature} with {rows} rows")


def _with(base: dict[str, Any], rules: dict[str, Any], dtypes: dict[str, Any]) -> dict[str, Any]:
    rows = len(base["query"])
    request = {}
    for name, dtype in dtypes.items():
        empty: Any = b"" if dtype == "string" else 0 if dtype == "int64" else np.nan
        listed = name.endswith(("_item_id", "_category")) and name != "max_per_category"
        filled = rules.get(name, empty)
        filled = filled.encode() if isinstance(filled, str) else filled
        plain = np.full(
            (rows, 1) if listed else rows, filled, object if dtype == "string" else dtype.as_numpy_dtype
        )
        of_user = name.startswith("history_") or not (listed or name in _RULE_NAMES)
        request[name] = base[name] if of_user else plain
    return request


_RULE_NAMES = ("max_per_category", "min_score", "one_per_variant", "diversity", "exploration", "seed")


def _measure(calls: dict[str, Callable[[], Any]], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Milliseconds a request, one value a round."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            count, begun = 0, time.perf_counter()
            while (passed := time.perf_counter() - begun) < seconds:
                call()
                count += 1
            times[name].append(1000 * passed / count)
    return times


def _table(title: str, times: dict[str, list[float]]) -> Table:
    table = Table(title=title)
    for column in ("rule", "ms", "x no rules"):
        table.add_column(column)
    for name, values in times.items():
        ratios = [value / plain for value, plain in zip(values, times[NO_RULES], strict=True)]
        table.add_row(name, _spread(values), _spread(ratios))
    return table


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


if __name__ == "__main__":
    main()
