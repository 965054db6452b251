"""Text vectors ahead of a training: Beam's workers fill the cache that the training reads.

Which texts there are, how they are encoded and how vectors are kept is the trainer's affair. The pipelines find it by
an entry point, as they find a client of a model server: it must be installed on the workers, and is not imported here.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from typing import Protocol

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from beam_pipelines.errors import PipelineError
from beam_pipelines.running import run_pipeline

_GROUP, _NAME = "twotower.text_vectors", "trainer"
_TEXTS = 4096  # of an element: encoded in some ten seconds, and what a worker's death may cost


class TextVectors(Protocol):
    """What is needed of the trainer; `trainer.text_vectors.TextVectors` has it."""

    def missing(self) -> Sequence[str]:
        """The distinct texts that a training will read and the cache lacks."""

    def add(self, texts: Sequence[str]) -> None:
        """Encodes texts and keeps their vectors; the same texts twice do no harm."""

    def of_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 [N, E] vectors of items' texts, which are kept."""

    def of_phrases(self, phrases: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 [N, E] vectors of phrases, which are not kept."""

    def substituted(
        self, texts: Sequence[str], share: float, candidates: int, seeds: Sequence[int]
    ) -> Sequence[str]:
        """Each text with other words in the place of some, by the encoder's masked language model."""


def embed_missing(config: str, split: str, arguments: tuple[str, ...] = ()) -> int:
    """Fills the cache with a pipeline.

    What a run that was stopped has kept is not computed again.

    Args:
        config: path of the configuration file, which the workers read as well.
        split: whose dataset.
        arguments: Beam's own options.

    Returns:
        How many texts were missing.

    Raises:
        PipelineError: the trainer is not installed, or the runner gave up.
    """
    texts = open_vectors(config, split).missing()
    parts = [texts[start : start + _TEXTS] for start in range(0, len(texts), _TEXTS)]

    def build(pipeline: beam.Pipeline) -> None:
        (
            pipeline
            | "Texts" >> beam.Create(parts)
            | "Spread" >> beam.Reshuffle()
            | "Embed" >> beam.ParDo(Embed(config, split))
        )

    if parts:
        run_pipeline(build, arguments)
    return len(texts)


class Embed(beam.DoFn):  # type: ignore[misc]
    """Encodes lists of texts into the cache; the encoder is loaded once a worker.

    Args:
        config: as in `embed_missing`.
        split: as in `embed_missing`.
    """

    def __init__(self, config: str, split: str) -> None:
        self._config, self._split = config, split

    def setup(self) -> None:
        """Opens the trainer's side."""
        self._vectors = open_vectors(self._config, self._split)

    def process(self, element: Sequence[str]) -> Iterator[None]:
        """Keeps the vectors of one list."""
        self._vectors.add(element)
        yield from ()


def open_vectors(config: str, split: str) -> TextVectors:
    """The trainer's side.

    Raises:
        PipelineError: it is not installed.
    """
    found = importlib.metadata.entry_points(group=_GROUP, name=_NAME)
    if not found:
        raise PipelineError(
            f'Nothing that encodes texts is installed (entry point "{_NAME}" of the group {_GROUP}). Install '
            "twotower[beam,train] here and on the workers."
        )
    opened: TextVectors = next(iter(found)).load()(config, split)
    return opened
