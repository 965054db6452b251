"""What the server does for each RPC, apart from how the request came and the answer goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from serving.server import model_info, predict
from serving.server.errors import invalid_argument
from serving.server.manager import Manager
from serving.server.model import LoadedModel
from serving.server.scheduling import Scheduler
from serving.server.servable import Servable


class Core:
    """The RPCs of PredictionService and ModelService over a manager and a scheduler.

    Args:
        manager: finds versions.
        scheduler: runs calls.
        as_content: answer Predict with `tensor_content`.
    """

    def __init__(self, manager: Manager, scheduler: Scheduler, as_content: bool = False):
        self.manager = manager
        self._scheduler = scheduler
        self._as_content = as_content

    @contextmanager
    def servable(self, spec: Any) -> Iterator[tuple[Servable, LoadedModel]]:
        """The version that a ModelSpec means, held for the length of the block.

        Raises:
            ServingError: INVALID_ARGUMENT without a name; NOT_FOUND.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        version = spec.version.value if spec.HasField("version") else None
        held = self.manager.acquire(spec.name, version, spec.version_label)
        try:
            yield held, cast(LoadedModel, held.content)
        finally:
            held.release()

    async def predict(self, request: Any) -> Any:
        """PredictRequest -> PredictResponse."""
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        with self.servable(request.model_spec) as (servable, model):
            signature = predict.find_signature(model.signatures, request.model_spec.signature_name)
            call = predict.plan(signature, request)
            results = await self._scheduler.run(servable, model, call)
            return predict.respond(request, signature, servable.version, call, results, self._as_content)

    async def get_model_metadata(self, request: Any) -> Any:
        """GetModelMetadataRequest -> GetModelMetadataResponse."""
        model_info.check_metadata_request(request)
        with self.servable(request.model_spec) as (servable, model):
            return model_info.model_metadata(request.model_spec.name, servable.version, model)

    async def get_model_status(self, request: Any) -> Any:
        """GetModelStatusRequest -> GetModelStatusResponse."""
        return model_info.model_status(self.manager.monitor, request)
