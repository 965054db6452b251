"""The model behind `serving.testing`: a list of items instead of two towers.

Its answers can be worked out by hand. `recommend` returns the catalogue in its own order, less the history
and what is excluded; item number i (from 0) of n scores (n - i) / n. `rank` gives the same scores, NaN for
unknown ids. Vectors are [number of ids in the history, length of the text, 0, 1]. Lists, limits and thresholds
are kept as a real model keeps them; `one_per_variant`, `diversity` and `exploration` change nothing here, and every
`propensity` is 1. Whoever needs other answers scripts them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.wire import dtypes
from serving.wire.messages import (
    GetModelMetadataResponse,
    GetModelStatusResponse,
    ModelVersionStatus,
    PredictResponse,
    SignatureDef,
    SignatureDefMap,
    TensorInfo,
    TensorShapeProto,
    pack_signature_def,
)
from serving.wire.tensors import decode_tensor, encode_tensor

# Inputs and outputs by signature: name -> (type, sizes; None is free). "*" stands for the user's features.
_QUERY: dict[str, tuple[str, list[int | None]]] = {
    "history_item_id": ("string", [None, None]),
    "query": ("string", [None]),
}
_FILTERS: dict[str, tuple[str, list[int | None]]] = {
    "exclude_item_id": ("string", [None, None]),
    "allow_category": ("string", [None, None]),
}
# Inputs that a model may have or not; `propensity` comes with `exploration`.
_OPTIONAL_QUERY: dict[str, tuple[str, list[int | None]]] = {
    "history_timestamp": ("int64", [None, None]),
    "history_event": ("string", [None, None]),
}
_OPTIONAL_RULES: dict[str, tuple[str, list[int | None]]] = {
    "allow_item_id": ("string", [None, None]),
    "block_category": ("string", [None, None]),
    "max_per_category": ("int64", [None]),
    "min_score": ("float32", [None]),
    "one_per_variant": ("int64", [None]),
    "diversity": ("float32", [None]),
    "exploration": ("float32", [None]),
    "seed": ("int64", [None]),
}


_EXPLAINED: dict[str, tuple[str, list[int | None]]] = {
    **{name: ("float32", [None, None]) for name in ("baseline", "completeness_error")},
    **{name: ("string", [None, None, None]) for name in ("history_item_id", "query_word", "user_feature")},
    **{
        f"{name}_contribution": ("float32", [None, None, None])
        for name in ("history", "query_word", "user_feature")
    },
}


class FakeFailure(Exception):  # noqa: N818 - a failure on purpose, not an error
    """A gRPC status to answer with.

    Attributes:
        code: gRPC status name, such as "NOT_FOUND".
        details: the text that goes with it.
    """

    def __init__(self, code: str, details: str) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details


class FakeModel:
    """A two-tower model in name only.

    Args:
        name: name of the model.
        catalogue: item ids, the most popular first; or a mapping from id to its category.
        k: how many items the signatures return; None: the whole catalogue.
        versions: versions that are available.
        labels: version labels.
        user_features: features of the user, by name their element type, such as {"age": "float32"}.
        item_features: features of an item besides `text`.
        optional_inputs: which of "history_timestamp", "history_event", "allow_item_id", "block_category",
            "max_per_category", "min_score", "one_per_variant", "diversity", "exploration" and "seed" the model takes.
        explains: it has an `explain` signature, in which the items of the history that the model knows share an item's
            score in equal parts and nothing else contributes.
        facts: what `describe` returns; None: name, K and size of the catalogue.
    """

    def __init__(
        self,
        name: str,
        catalogue: Sequence[str] | Mapping[str, str],
        *,
        k: int | None = None,
        versions: Sequence[int] = (1,),
        labels: Mapping[str, int] | None = None,
        user_features: Mapping[str, str] | None = None,
        item_features: Mapping[str, str] | None = None,
        optional_inputs: Sequence[str] = (),
        explains: bool = False,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        unknown = set(optional_inputs) - {*_OPTIONAL_QUERY, *_OPTIONAL_RULES}
        if unknown:
            raise ValueError(f"no optional input is called {min(unknown)!r}")
        self.name = name
        self.categories = dict(catalogue) if isinstance(catalogue, Mapping) else dict.fromkeys(catalogue, "")
        self.k = len(self.categories) if k is None else k
        self.versions = list(versions)
        self.labels = dict(labels or {})
        self.facts = (
            dict(facts) if facts is not None else {"name": name, "k": self.k, "items": len(self.categories)}
        )
        self._signatures = self._declare(user_features or {}, item_features or {}, optional_inputs, explains)

    def handle(self, method: str, request: Any, scripted: Mapping[str, Any] | None = None) -> Any:
        """Returns the response to a request of Predict, GetModelMetadata or GetModelStatus.

        Raises:
            FakeFailure: no such version or signature, in TensorFlow Serving's words.
        """
        if method == "GetModelStatus":
            return self._status()
        version = self._version(request.model_spec)
        return (
            self._metadata(version)
            if method == "GetModelMetadata"
            else self._predict(request, version, scripted)
        )

    def score(self, item_id: str) -> float:
        """Returns the score of an item, NaN for one that is not in the catalogue."""
        ids = list(self.categories)
        return (len(ids) - ids.index(item_id)) / len(ids) if item_id in self.categories else float("nan")

    def _version(self, spec: Any) -> int:
        if spec.version_label:
            if spec.version_label not in self.labels:
                raise FakeFailure(
                    "INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label}"
                )
            return self.labels[spec.version_label]
        wanted: int = spec.version.value if spec.HasField("version") else max(self.versions, default=0)
        if wanted not in self.versions:
            kind = f"Specific({self.name}, {wanted})" if spec.HasField("version") else f"Latest({self.name})"
            raise FakeFailure("NOT_FOUND", f"Servable not found for request: {kind}")
        return wanted

    def _status(self) -> Any:
        available = ModelVersionStatus.State.Value("AVAILABLE")
        statuses = [
            ModelVersionStatus(version=version, state=available)
            for version in sorted(self.versions, reverse=True)
        ]
        return GetModelStatusResponse(model_version_status=statuses)

    def _metadata(self, version: int) -> Any:
        signatures = SignatureDefMap()
        for name, (inputs, outputs) in self._signatures.items():
            signatures.signature_def[name].CopyFrom(
                SignatureDef(
                    inputs={key: _tensor_info(*spec) for key, spec in inputs.items()},
                    outputs={key: _tensor_info(*spec) for key, spec in outputs.items()},
                    method_name="tensorflow/serving/predict",
                )
            )
        response = GetModelMetadataResponse()
        response.model_spec.name = self.name
        response.model_spec.version.value = version
        response.metadata["signature_def"].CopyFrom(pack_signature_def(signatures))
        return response

    def _predict(self, request: Any, version: int, scripted: Mapping[str, Any] | None) -> Any:
        name = request.model_spec.signature_name or "serving_default"
        if name not in self._signatures:
            raise FakeFailure("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        self._check_inputs(request, self._signatures[name][0])
        inputs = {key: decode_tensor(value) for key, value in request.inputs.items()}
        outputs = scripted if scripted is not None else self._behaviours[name](self, inputs)
        response = PredictResponse()
        response.model_spec.name, response.model_spec.version.value = self.name, version
        response.model_spec.signature_name = name
        for key in request.output_filter or outputs:
            response.outputs[key].CopyFrom(encode_tensor(outputs[key], typed=True))
        return response

    def _check_inputs(self, request: Any, wanted: Mapping[str, Any]) -> None:
        extra, missing = sorted(set(request.inputs) - set(wanted)), sorted(set(wanted) - set(request.inputs))
        if extra or missing:
            sent, names = ",".join(sorted(request.inputs)), ",".join(sorted(wanted))
            sizes = f"{len(request.inputs)}!={len(wanted)}"
            raise FakeFailure(
                "INVALID_ARGUMENT",
                f"input size does not match signature: {sizes} len({{{sent}}}) != len({{{names}}}). "
                f"Sent extra: {{{','.join(extra)}}}. Missing but required: {{{','.join(missing)}}}.",
            )

    def _declare(
        self, user: Mapping[str, str], item: Mapping[str, str], optional: Sequence[str], explains: bool
    ) -> dict[str, Any]:
        query = {**_QUERY, **{name: _OPTIONAL_QUERY[name] for name in optional if name in _OPTIONAL_QUERY}}
        query.update({name: (dtype, [None]) for name, dtype in user.items()})
        rules = {**_FILTERS, **{name: _OPTIONAL_RULES[name] for name in optional if name in _OPTIONAL_RULES}}
        similar = {"item_id": ("string", [None, self.k]), "score": ("float32", [None, self.k])}
        top = {**similar, "propensity": ("float32", [None, self.k])} if "exploration" in optional else similar
        vector = {"embedding": ("float32", [None, 4])}
        items = {"text": ("string", [None]), **{name: (dtype, [None]) for name, dtype in item.items()}}
        ranked = {**query, "item_id": ("string", [None, None])}
        score = {"score": ("float32", [None, None])}
        recommend = ({**query, **rules}, top)
        signatures = {
            "serving_default": recommend,
            "recommend": recommend,
            "retrieve": recommend,
            "rank": (ranked, score),
            "embed_query": (query, vector),
            "embed_item": (items, vector),
            "similar_items": ({"item_id": ("string", [None])}, similar),
            "describe": ({"detail": ("string", [None])}, {"json": ("string", [None])}),
        }
        if explains:
            signatures["explain"] = (ranked, {**score, **_EXPLAINED})
        return signatures

    def _top(self, rows: Sequence[Sequence[str]]) -> dict[str, Any]:
        ids = np.full((len(rows), self.k), b"", object)
        scores = np.full((len(rows), self.k), -np.inf, np.float32)
        for at, row in enumerate(rows):
            for column, item_id in enumerate(row[: self.k]):
                ids[at, column], scores[at, column] = item_id.encode(), self.score(item_id)
        return {"item_id": ids, "score": scores}

    def _recommend(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        rows = [
            self._allowed({name: value[at] for name, value in inputs.items()})
            for at in range(len(inputs["history_item_id"]))
        ]
        top = self._top(rows)
        return {**top, "propensity": np.ones_like(top["score"])} if "exploration" in inputs else top

    def _allowed(self, row: Mapping[str, Any]) -> list[str]:
        def texts(name: str) -> set[str]:
            return _texts(row.get(name, ()))

        hidden = texts("history_item_id") | texts("exclude_item_id")
        only, wanted, blocked = texts("allow_item_id"), texts("allow_category"), texts("block_category")
        least, most = float(row.get("min_score", np.nan)), int(row.get("max_per_category", 0))
        shown: list[str] = []
        for item_id, category in self.categories.items():
            of_category = sum(self.categories[other] == category for other in shown)
            if (
                item_id not in hidden
                and (not only or item_id in only)
                and (not wanted or category in wanted)
                and category not in blocked
                and not self.score(item_id) < least
                and not 0 < most <= of_category
            ):
                shown.append(item_id)
        return shown

    def _rank(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        scores = [[self.score(item_id.decode()) for item_id in row] for row in inputs["item_id"]]
        return {"score": np.array(scores, np.float32)}

    def _explain(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        scores, history = self._rank(inputs)["score"], inputs["history_item_id"]
        known = np.array([[item_id.decode() in self.categories for item_id in row] for row in history], bool)
        known = known.reshape(history.shape)
        share = known / np.maximum(known.sum(axis=1, keepdims=True), 1)
        words = [text.decode().split() for text in inputs["query"]]
        width = max(map(len, words), default=0)
        said = np.array([[*row, *[""] * (width - len(row))] for row in words], object)
        items = scores.shape[1]
        nothing = ~known.any(axis=1, keepdims=True)
        return {
            "score": scores,
            "baseline": np.where(nothing, scores, scores * 0),
            "completeness_error": scores * 0,
            "history_item_id": np.repeat(history[:, np.newaxis], items, axis=1),
            "history_contribution": np.nan_to_num(
                scores[:, :, np.newaxis] * share[:, np.newaxis].astype(np.float32)
            ),
            "query_word": np.repeat(said.reshape(len(words), 1, width), items, axis=1),
            "query_word_contribution": np.zeros((len(words), items, width), np.float32),
            "user_feature": np.full((len(words), items, 0), "", object),
            "user_feature_contribution": np.zeros((len(words), items, 0), np.float32),
        }

    def _embed_query(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        pairs = zip(inputs["history_item_id"], inputs["query"], strict=True)
        rows = [[len(_texts(history)), len(query), 0, 1] for history, query in pairs]
        return {"embedding": np.array(rows, np.float32)}

    def _embed_item(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"embedding": np.array([[0, len(text), 0, 1] for text in inputs["text"]], np.float32)}

    def _similar(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        known = [item_id.decode() for item_id in inputs["item_id"]]
        return self._top(
            [[i for i in self.categories if i != own and own in self.categories] for own in known]
        )

    def _describe(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"json": np.array([json.dumps(self.facts)] * len(inputs["detail"]), object)}

    _behaviours: Mapping[str, Callable[[FakeModel, Mapping[str, Any]], dict[str, Any]]] = {
        "serving_default": _recommend,
        "recommend": _recommend,
        "retrieve": _recommend,
        "rank": _rank,
        "embed_query": _embed_query,
        "embed_item": _embed_item,
        "similar_items": _similar,
        "describe": _describe,
        "explain": _explain,
    }


def _tensor_info(dtype: str, shape: Sequence[int | None]) -> Any:
    sizes = [{"size": -1 if size is None else size} for size in shape]
    return TensorInfo(dtype=dtypes.by_name(dtype).number, tensor_shape=TensorShapeProto(dim=sizes))


def _texts(values: Any) -> set[str]:
    return {value.decode() for value in values if value}
