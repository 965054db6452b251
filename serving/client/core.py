"""What the methods of a client do, as generators of steps: the part that both clients share."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from serving.client import requests, responses, signatures
from serving.client.calling import SERVER_TROUBLE, Caller, Sleep, Spawn, Step
from serving.client.catalog import Catalog
from serving.client.deadline import Deadline
from serving.client.errors import (
    CircuitOpenError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    RecommenderError,
    RpcError,
    UnavailableError,
)
from serving.client.results import (
    Answer,
    Description,
    Embedding,
    Explanation,
    ModelMetadata,
    ModelStatus,
    Prediction,
    Recommendations,
    Signature,
)
from serving.client.routing import Route
from serving.client.settings import ClientSettings
from serving.client.shadow import ShadowResult
from serving.client.transport import Outcome, Rpc
from serving.wire.messages import GetModelStatusRequest, PredictRequest
from serving.wire.methods import GET_MODEL_STATUS, PREDICT

Steps = Generator[Step, Any, Any]
Build = Callable[[Signature], dict[str, Any]]


class Core:
    """One model behind a caller."""

    def __init__(self, model: str, settings: ClientSettings, caller: Caller) -> None:
        self.model = model
        self._settings = settings
        self._caller = caller
        self._catalog = Catalog(caller, model)

    def predict(
        self,
        signature: str,
        build: Build,
        route: Route,
        deadline: Deadline,
        arm: str | None = None,
        outputs: Sequence[str] = (),
    ) -> Generator[Step, Any, tuple[Any, Answer, dict[str, Any]]]:
        """Builds a request from the model's signature, sends it, and returns response, answer and tensors.

        Signatures are remembered. When a request made from a remembered one is refused, here or by the
        server, the model may have been swapped since: it is made once more from what the server says now.
        """
        began = self._caller.clock()
        metadata = self._catalog.find(route)
        if metadata is not None:
            try:
                return (
                    yield from self._send(signature, build, metadata, route, deadline, arm, outputs, began)
                )
            except (InvalidRequestError, InvalidArgumentError, FailedPreconditionError) as error:
                refused: RecommenderError = error
            newer = yield from self._catalog.fetch(route, deadline)
            if newer.signatures == metadata.signatures:
                raise refused
            metadata = newer
        else:
            metadata = yield from self._catalog.fetch(route, deadline)
        return (yield from self._send(signature, build, metadata, route, deadline, arm, outputs, began))

    def _send(
        self,
        name: str,
        build: Build,
        metadata: ModelMetadata,
        route: Route,
        deadline: Deadline,
        arm: str | None,
        outputs: Sequence[str],
        began: float,
    ) -> Generator[Step, Any, tuple[Any, Answer, dict[str, Any]]]:
        signature = signatures.find_signature(metadata, name)
        tensors = build(signature)
        signatures.check_inputs(metadata, signature, tensors)
        request = PredictRequest(
            model_spec=route.spec(self.model, name), inputs=tensors, output_filter=outputs
        )
        model = request.model_spec.name
        reply = yield from self._caller.call(Rpc(PREDICT, request, model, name, arm), deadline)
        version = reply.response.model_spec.version.value
        latency = self._caller.clock() - began
        return reply.response, Answer(model, version, latency, reply.attempts, reply.target, arm), tensors

    def status(self, route: Route, deadline: Deadline) -> Generator[Step, Any, ModelStatus]:
        """Asks for the versions of a model."""
        request = GetModelStatusRequest(model_spec=route.spec(self.model))
        model = request.model_spec.name
        reply = yield from self._caller.call(Rpc(GET_MODEL_STATUS, request, model), deadline)
        return responses.parse_status(reply.response, model)

    def wait_until_ready(
        self, route: Route, deadline: Deadline, poll: float
    ) -> Generator[Step, Any, ModelStatus]:
        """Asks for the versions of a model until one answers, or the one of the route does.

        Raises:
            DeadlineExceededError: none did in time; the message says what the last answer was.
        """
        last = "no answer yet"
        while True:
            now = self._caller.clock()
            if deadline.remaining(now) <= 0:
                raise DeadlineExceededError(
                    f"model {route.model or self.model!r} was not ready within {deadline}; last: {last}",
                    ", ".join(self._caller.targets),
                )
            try:
                once = Deadline.after(min(deadline.remaining(now), max(poll, 1.0)), now)
                status = yield from self.status(route, once)
                if status.available and (route.version is None or route.version in status.available):
                    return status
                last = ", ".join(
                    f"version {v.version} {v.state} {v.error_message}".strip() for v in status.versions
                )
            except (UnavailableError, NotFoundError, DeadlineExceededError, CircuitOpenError) as error:
                last = str(error)
            yield Sleep(max(0.0, min(poll, deadline.remaining(self._caller.clock()))))

    def metadata(self, route: Route, deadline: Deadline) -> Generator[Step, Any, ModelMetadata]:
        """Asks for the signatures of a model, past the memory."""
        return self._catalog.fetch(route, deadline)

    def describe(self, route: Route, deadline: Deadline) -> Generator[Step, Any, Description]:
        """Asks a model what it says about itself."""
        response, answer, _ = yield from self.predict(
            "describe", lambda s: requests.encode_inputs({"detail": [""]}, s), route, deadline
        )
        return responses.parse_description(response, answer)

    def recommend(
        self,
        signature: str,
        queries: Sequence[Any],
        k: int | None,
        route: Route,
        arm: str | None,
        deadline: Deadline,
    ) -> Generator[Step, Any, list[Recommendations]]:
        """Asks `recommend` or `retrieve` for one result a query; in an outage the fallback stands in."""

        def build(found: Signature) -> dict[str, Any]:
            signatures.require_outputs(found, "item_id", "score")
            self._check_k(k, found)
            return requests.query_tensors(queries, found)

        began = self._caller.clock()
        try:
            response, answer, tensors = yield from self.predict(signature, build, route, deadline, arm)
        except (RpcError, CircuitOpenError) as error:
            if self._settings.fallback is None or not _is_outage(error):
                raise
            latency = self._caller.clock() - began
            answer = Answer(route.model or self.model, None, latency, getattr(error, "attempts", 0), "", arm)
            return [self._fallback(query, k, answer) for query in queries]
        results = responses.parse_recommendations(response, answer, len(queries), k)
        yield from self._shadow(signature, tensors, results, k)
        return results

    def rank(
        self,
        item_ids: Sequence[Sequence[str]],
        queries: Sequence[Any],
        route: Route,
        arm: str | None,
        deadline: Deadline,
    ) -> Generator[Step, Any, list[Recommendations]]:
        """Asks for the scores of given items, one list of items a query."""

        def build(found: Signature) -> dict[str, Any]:
            signatures.require_outputs(found, "score")
            tensors = requests.query_tensors(queries, found, extra=("item_id",))
            return {**tensors, "item_id": requests.item_tensor(item_ids)}

        response, answer, _ = yield from self.predict("rank", build, route, deadline, arm)
        return responses.parse_ranking(response, answer, item_ids)

    def explain(
        self, item_ids: Sequence[str], query: Any, route: Route, arm: str | None, deadline: Deadline
    ) -> Generator[Step, Any, list[Explanation]]:
        """Asks the `explain` signature, where the model has one, about given items."""

        def build(found: Signature) -> dict[str, Any]:
            tensors = requests.query_tensors([query], found, extra=("item_id",))
            return {**tensors, "item_id": requests.item_tensor([item_ids])}

        response, _, _ = yield from self.predict("explain", build, route, deadline, arm)
        return responses.parse_explanations(response, item_ids)

    def embed_query(
        self, queries: Sequence[Any], route: Route, arm: str | None, deadline: Deadline
    ) -> Generator[Step, Any, list[Embedding]]:
        """Asks for one vector a query."""
        build = _embedding(lambda found: requests.query_tensors(queries, found))
        response, answer, _ = yield from self.predict("embed_query", build, route, deadline, arm)
        return responses.parse_embeddings(response, answer, len(queries))

    def embed_item(
        self, items: Sequence[Mapping[str, Any]], route: Route, deadline: Deadline
    ) -> Generator[Step, Any, list[Embedding]]:
        """Asks for one vector an item, from its features."""
        build = _embedding(lambda found: requests.feature_tensors(items, found, found.inputs, "item feature"))
        response, answer, _ = yield from self.predict("embed_item", build, route, deadline)
        return responses.parse_embeddings(response, answer, len(items))

    def similar_items(
        self, item_ids: Sequence[str], k: int | None, route: Route, deadline: Deadline
    ) -> Generator[Step, Any, list[Recommendations]]:
        """Asks for the items most like given ones."""

        def build(found: Signature) -> dict[str, Any]:
            signatures.require_outputs(found, "item_id", "score")
            self._check_k(k, found)
            return requests.encode_inputs({"item_id": list(item_ids)}, found)

        response, answer, _ = yield from self.predict("similar_items", build, route, deadline)
        return responses.parse_recommendations(response, answer, len(item_ids), k)

    def predict_any(
        self,
        inputs: Mapping[str, Any],
        signature: str,
        outputs: Sequence[str],
        route: Route,
        deadline: Deadline,
    ) -> Generator[Step, Any, Prediction]:
        """Asks any signature of any model."""

        def build(found: Signature) -> dict[str, Any]:
            known = {name: value for name, value in inputs.items() if name in found.inputs}
            tensors = requests.encode_inputs(known, found)
            # Inputs it does not have go along empty, for the comparison of names to refuse them.
            return {**dict.fromkeys(inputs), **tensors}

        response, answer, _ = yield from self.predict(signature, build, route, deadline, outputs=outputs)
        return Prediction(responses.plain_outputs(response), answer)

    def _check_k(self, k: int | None, signature: Signature) -> None:
        shape = signature.outputs["item_id"].shape
        limit = shape[1] if shape is not None and len(shape) == 2 else None
        responses.check_k(k, limit, self.model)

    def _fallback(self, query: Any, k: int | None, answer: Answer) -> Recommendations:
        given = self._settings.fallback
        ids = given(query) if callable(given) else given or ()
        wanted = [item_id for item_id in ids if item_id not in set(query.exclude)][:k]
        return responses.unscored(wanted, answer)

    def _shadow(
        self, name: str, tensors: dict[str, Any], primary: list[Recommendations], k: int | None
    ) -> Steps:
        shadow = self._settings.shadow
        if shadow is None or not shadow.enter(self._settings.rng.random()):
            return
        began = self._caller.clock()
        request = PredictRequest(model_spec=shadow.route.spec(self.model, name), inputs=tensors)
        rpc = Rpc(PREDICT, request, request.model_spec.name, name, "shadow")
        target = self._caller.balancer.pick(began)

        def done(outcome: Outcome) -> None:
            shadow.leave()
            try:
                if outcome.error is not None:
                    raise outcome.error
                version = outcome.response.model_spec.version.value
                seconds = self._caller.clock() - began
                answer = Answer(rpc.model, version, seconds, 1, self._caller.targets[target], "shadow")
                parsed = responses.parse_recommendations(outcome.response, answer, len(primary), k)
            except RecommenderError as error:
                shadow.on_result(ShadowResult(tuple(primary), error=error))
            else:
                shadow.on_result(ShadowResult(tuple(primary), tuple(parsed)))

        yield Spawn(rpc, target, shadow.timeout, done)


def _embedding(make: Build) -> Build:
    def build(found: Signature) -> dict[str, Any]:
        signatures.require_outputs(found, "embedding")
        return make(found)

    return build


def _is_outage(error: RecommenderError) -> bool:
    return isinstance(error, CircuitOpenError) or (
        isinstance(error, RpcError) and error.code in SERVER_TROUBLE
    )
