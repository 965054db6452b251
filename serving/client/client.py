"""The client for threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from serving.client import driver
from serving.client.base import BaseClient, Connect
from serving.client.calling import Step
from serving.client.deadline import UNSET, DeadlineLike
from serving.client.errors import RecommenderError
from serving.client.queries import Event, FeatureValue, UserQuery
from serving.client.results import (
    Description,
    Embedding,
    Explanation,
    ModelMetadata,
    ModelStatus,
    Prediction,
    Recommendations,
)
from serving.client.routing import Route
from serving.client.settings import ClientSettings
from serving.client.transport import GrpcTransport, Transport

T = TypeVar("T")
History = Sequence[str | Event]


class RecommenderClient(BaseClient[Transport]):
    """Asks a model server for recommendations; safe to share between threads, one a process is enough.

    Every call takes `deadline` (seconds, a `Deadline`, or None for none; the client's default when not given)
    and `route` (which model and version to ask; the client's when not given), and raises errors of
    `serving.client.errors` only: `InvalidRequestError` for what cannot be sent, a class a status code for
    what fails.

    Args:
        target: "host:port"; several, as a list or comma-separated, take turns and stand in for each other;
            "dns:///name:port" takes turns among all addresses of a name.
        model: name of the model on the server.
        settings: everything else.
        connect: makes the transport of a target; the real one unless a test hands in another.
    """

    def __init__(
        self,
        target: str | Sequence[str] = "127.0.0.1:8500",
        model: str = "",
        settings: ClientSettings | None = None,
        *,
        connect: Connect[Transport] = GrpcTransport,
    ) -> None:
        super().__init__(target, model, settings, connect)

    def recommend(
        self,
        history: History = (),
        *,
        query: str = "",
        user: Mapping[str, FeatureValue] | None = None,
        exclude: Sequence[str] = (),
        allow_category: Sequence[str] = (),
        key: str | None = None,
        k: int | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Recommendations:
        """Returns the items to show to one user, retrieved and ranked, best first.

        Args:
            history: ids (or events) the user had to do with, oldest first. No history and no query: what is
                popular.
            query: what the user wishes for, in free text.
            user: features of the user by their names in the data set's schema.
            exclude: ids that must not come back.
            allow_category: recommend only items of one of these categories; empty: all.
            key: what an A/B split hashes; needed only with one.
            k: how many items; None: as many as the model was exported for.
            deadline: seconds, retries included.
            route: model and version to ask.
        """
        one = UserQuery(history, query, user or {}, exclude, allow_category, key)
        return self.recommend_batch([one], k=k, deadline=deadline, route=route)[0]

    def recommend_batch(
        self,
        queries: Sequence[UserQuery],
        *,
        k: int | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> list[Recommendations]:
        """Returns one result a query, in their order; queries share requests of up to `max_batch` rows."""
        return self._run(self._recommend("recommend", queries, k, deadline, route))

    def recommend_many(
        self,
        queries: Iterable[UserQuery],
        *,
        k: int | None = None,
        concurrency: int = 8,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
        return_errors: bool = False,
    ) -> Iterator[Recommendations | RecommenderError]:
        """Yields one result a query, in their order, from any number of queries.

        At most `concurrency` requests are under way, and no more than that are read ahead from `queries`.
        Each has its own deadline. An error ends the stream, unless `return_errors` has it yielded in its
        place.
        """

        def ask(query: UserQuery) -> Recommendations:
            return self.recommend_batch([query], k=k, deadline=deadline, route=route)[0]

        with ThreadPoolExecutor(concurrency, thread_name_prefix="recommend_many") as pool:
            waiting: deque[Future[Recommendations]] = deque()
            try:
                for query in queries:
                    waiting.append(pool.submit(ask, query))
                    if len(waiting) >= concurrency:
                        yield _result(waiting.popleft(), return_errors)
                while waiting:
                    yield _result(waiting.popleft(), return_errors)
            finally:
                for future in waiting:
                    future.cancel()

    def retrieve(
        self,
        history: History = (),
        *,
        query: str = "",
        user: Mapping[str, FeatureValue] | None = None,
        exclude: Sequence[str] = (),
        allow_category: Sequence[str] = (),
        key: str | None = None,
        k: int | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Recommendations:
        """As `recommend`, without the ranking head: the nearest items in the space of the two towers."""
        one = UserQuery(history, query, user or {}, exclude, allow_category, key)
        return self.retrieve_batch([one], k=k, deadline=deadline, route=route)[0]

    def retrieve_batch(
        self,
        queries: Sequence[UserQuery],
        *,
        k: int | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> list[Recommendations]:
        """As `recommend_batch`, without the ranking head."""
        return self._run(self._recommend("retrieve", queries, k, deadline, route))

    def rank(
        self,
        item_ids: Sequence[str],
        history: History = (),
        *,
        query: str = "",
        user: Mapping[str, FeatureValue] | None = None,
        key: str | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Recommendations:
        """Returns the given items ordered for one user, best first; `unknown` has ids the model lacks."""
        one = UserQuery(history, query, user or {}, key=key)
        return self.rank_batch([item_ids], [one], deadline=deadline, route=route)[0]

    def rank_batch(
        self,
        item_ids: Sequence[Sequence[str]],
        queries: Sequence[UserQuery],
        *,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> list[Recommendations]:
        """Returns one ranking a query, of the items in the same place of `item_ids`."""
        return self._run(self._rank(item_ids, queries, deadline, route))

    def explain(
        self,
        item_ids: Sequence[str],
        history: History = (),
        *,
        query: str = "",
        user: Mapping[str, FeatureValue] | None = None,
        key: str | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> list[Explanation]:
        """Returns what the model's `explain` signature says about items for one user, in their order.

        Raises:
            InvalidRequestError: the model has no such signature.
        """
        one = UserQuery(history, query, user or {}, key=key)
        return self._run(self._explain(item_ids, one, deadline, route))

    def embed_query(
        self,
        history: History = (),
        *,
        query: str = "",
        user: Mapping[str, FeatureValue] | None = None,
        key: str | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Embedding:
        """Returns the vector of one user's query."""
        one = UserQuery(history, query, user or {}, key=key)
        return self.embed_query_batch([one], deadline=deadline, route=route)[0]

    def embed_query_batch(
        self, queries: Sequence[UserQuery], *, deadline: DeadlineLike = UNSET, route: Route | None = None
    ) -> list[Embedding]:
        """Returns one vector a query."""
        return self._run(self._embed_query(queries, deadline, route))

    def embed_item(
        self,
        features: Mapping[str, FeatureValue],
        *,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Embedding:
        """Returns the vector of an item from its features, whether or not the model has seen it.

        Args:
            features: by their names in the data set's schema, such as {"text": "Alien (1979)", "genre":
                ["Horror"]}.
            deadline: seconds, retries included.
            route: model and version to ask.
        """
        return self.embed_item_batch([features], deadline=deadline, route=route)[0]

    def embed_item_batch(
        self,
        items: Sequence[Mapping[str, FeatureValue]],
        *,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> list[Embedding]:
        """Returns one vector an item."""
        return self._run(self._embed_item(items, deadline, route))

    def similar_items(
        self,
        item_id: str,
        *,
        k: int | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Recommendations:
        """Returns the items nearest to one, itself left out; nothing for an id the model does not know."""
        return self.similar_items_batch([item_id], k=k, deadline=deadline, route=route)[0]

    def similar_items_batch(
        self,
        item_ids: Sequence[str],
        *,
        k: int | None = None,
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> list[Recommendations]:
        """Returns one list a given item."""
        return self._run(self._similar(item_ids, k, deadline, route))

    def predict(
        self,
        inputs: Mapping[str, Any],
        *,
        signature: str = "serving_default",
        outputs: Sequence[str] = (),
        deadline: DeadlineLike = UNSET,
        route: Route | None = None,
    ) -> Prediction:
        """Asks any signature of any model.

        Args:
            inputs: arrays (or nested lists) by input name; each is sent with the signature's element type.
            signature: name of the signature.
            outputs: outputs to return; empty: all.
            deadline: seconds, retries included.
            route: model and version to ask.
        """
        until = self._deadline(deadline)
        return self._run(self._core.predict_any(inputs, signature, outputs, self._unsplit(route), until))

    def status(self, *, deadline: DeadlineLike = UNSET, route: Route | None = None) -> ModelStatus:
        """Returns the versions of the model on the server and their states."""
        return self._run(self._core.status(self._unsplit(route), self._deadline(deadline)))

    def metadata(self, *, deadline: DeadlineLike = UNSET, route: Route | None = None) -> ModelMetadata:
        """Returns the signatures of the model."""
        return self._run(self._core.metadata(self._unsplit(route), self._deadline(deadline)))

    def describe(self, *, deadline: DeadlineLike = UNSET, route: Route | None = None) -> Description:
        """Returns what the model says about itself: K, catalogue size, digests, versions, limits."""
        return self._run(self._core.describe(self._unsplit(route), self._deadline(deadline)))

    def wait_until_ready(
        self, timeout: float = 60.0, *, poll: float = 0.2, route: Route | None = None
    ) -> ModelStatus:
        """Returns as soon as a version of the model answers.

        Raises:
            DeadlineExceededError: none did within `timeout` seconds; the message says what the last answer
                was.
        """
        return self._run(self._core.wait_until_ready(self._unsplit(route), self._deadline(timeout), poll))

    def close(self) -> None:
        """Closes the connections; calls under way end with CancelledError."""
        for transport in self._take_transports():
            transport.close()

    def __enter__(self) -> RecommenderClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, steps: Generator[Step, Any, T]) -> T:
        if self.settings.sleep is not None:
            return driver.drive(steps, self._transport, self.settings.sleep)
        return driver.drive(steps, self._transport)


def _result(future: Future[Recommendations], return_errors: bool) -> Recommendations | RecommenderError:
    try:
        return future.result()
    except RecommenderError as error:
        if return_errors:
            return error
        raise
