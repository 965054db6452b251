"""Where a training runs: one device, several of a machine, several machines, a TPU."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

from trainer.config import TrainConfig
from trainer.errors import ConfigError
from trainer.fitting import keras_loop
from trainer.input import Part
from trainer.keras_compat import keras, tf


@dataclass(frozen=True)
class Placement:
    """The strategy of a training and this process' place in it.

    Attributes:
        strategy: A tf.distribute.Strategy.
        config: Of the training.
        worker: Number of this process.
        workers: How many there are. All read the same data and compute the same; the first one writes.
    """

    strategy: Any
    config: TrainConfig
    worker: int = 0
    workers: int = 1

    @classmethod
    def of(cls, config: TrainConfig) -> Placement:
        """What `train.distribution` asks for; with several machines it waits for all of them.

        Raises:
            ConfigError: the machine has not what is asked for, or the batch cannot be divided.
        """
        kind = config.distribution
        worker, workers = _place_in_cluster() if kind == "multi_worker" else (0, 1)
        placement = cls(_strategy(kind), config, worker, workers)
        if config.batch_size % placement.replicas:
            raise ConfigError(
                f"train.batch_size = {config.batch_size} cannot be divided among {placement.replicas} devices; "
                "take a multiple of it."
            )
        return placement

    @property
    def replicas(self) -> int:
        """Devices of all processes that divide a batch among them."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def writes(self) -> bool:
        """Whether this process writes the run."""
        return self.worker == 0

    @property
    def part(self) -> Part:
        """What this process reads of each batch."""
        padded = self.config.fixed_shapes or self.replicas > 1
        return Part(padded, self.worker, self.workers, self.replicas // self.workers)

    def fit(
        self, model: Any, batches: Any, *, first_epoch: int, epochs: int, steps: int, callbacks: list[Any]
    ) -> None:
        """Trains a compiled model that was made in the strategy's scope.

        Keras' own loop serves one device. Under a strategy it does not know several machines
        (keras-team/keras issue 20585), so there the loop is here, with the same callbacks.

        Args:
            model: Has `train_step`.
            batches: A tf.data.Dataset of this process' part.
            first_epoch: Number of the first epoch.
            epochs: Number of the last one, plus one.
            steps: Of an epoch.
            callbacks: Of Keras.
        """
        if self.config.distribution == "one_device":
            keras_loop(
                model, batches, first_epoch=first_epoch, epochs=epochs, steps=steps, callbacks=callbacks
            )
            return
        elements = iter(self.strategy.distribute_datasets_from_function(lambda _: batches))
        calls = keras.callbacks.CallbackList(callbacks, model=model, epochs=epochs, steps=steps)
        _loop(self._step(model), elements, model, calls, range(first_epoch, epochs), steps)

    def _step(self, model: Any) -> Any:
        """One step of all replicas; each has the same figures afterwards, so those of the first are taken."""

        @tf.function  # type: ignore[untyped-decorator]
        def step(element: Any) -> dict[str, Any]:
            logs = self.strategy.run(model.train_step, args=(element,))
            return {name: self.strategy.experimental_local_results(value)[0] for name, value in logs.items()}

        return step


@cache
def _strategy(kind: str) -> Any:
    """One a process: machines cannot be brought together twice."""
    if kind == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if kind == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return _tpu_strategy() if kind == "tpu" else tf.distribute.get_strategy()


def _loop(step: Any, elements: Any, model: Any, calls: Any, epochs: range, steps: int) -> None:
    model.stop_training = False
    calls.on_train_begin()
    for epoch in epochs:
        model.reset_metrics()
        calls.on_epoch_begin(epoch)
        logs: dict[str, Any] = {}
        for number in range(steps):
            calls.on_train_batch_begin(number)
            logs = {name: float(value) for name, value in step(next(elements)).items()}
            calls.on_train_batch_end(number, logs)
        calls.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    calls.on_train_end()


def _place_in_cluster() -> tuple[int, int]:
    """Number of this worker and of all, from TF_CONFIG."""
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG", ""))
        return int(cluster["task"]["index"]), len(cluster["cluster"]["worker"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            'train.distribution = "multi_worker" reads the machines from TF_CONFIG, which is '
            f"{os.environ.get('TF_CONFIG')!r}. Expected on the first machine of two: "
            '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}.'
        ) from error


def _tpu_strategy() -> Any:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=os.environ.get("TPU_NAME", ""))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise ConfigError(f'train.distribution = "tpu": no TPU was found ({error}). Set TPU_NAME.') from error
    return tf.distribute.TPUStrategy(resolver)
