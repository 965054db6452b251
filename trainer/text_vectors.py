"""The texts of a training and the cache of their vectors, for jobs that fill it beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import click
import numpy as np
import numpy.typing as npt

from trainer.catalogue import load_catalogue
from trainer.config import ProjectConfig, load_config
from trainer.dataset import DatasetDirectory
from trainer.errors import TrainerError
from trainer.masked_language import MaskedLanguageModel
from trainer.preparation import text_views
from trainer.text_cache import TextVectorCache
from trainer.text_encoder import TextEncoder, load_text_encoder
from trainer.text_variants import variant_texts


class TextVectors:
    """What a training of one split will ask the cache of text vectors for.

    Args:
        config: Path of the configuration file.
        split: "leave_last_out" or "by_time".

    Raises:
        ClickException: the configuration cannot be used.
    """

    def __init__(self, config: str, split: str) -> None:
        try:
            self._project: ProjectConfig = load_config(config)
        except TrainerError as error:
            raise click.ClickException(str(error)) from None
        self._split = split

    def missing(self) -> list[str]:
        """The distinct texts of items and query views that have no vector yet.

        Raises:
            ClickException: there is no dataset, or the encoder cannot be loaded.
        """
        config = self._project.train
        try:
            dataset = DatasetDirectory.open(self._project.dataset_dir(self._split))
            feature = dataset.one("items", "item_text")
            if feature is None or not (config.model.item.text or config.model.query_text):
                return []
            catalogue = load_catalogue(dataset)
            texts = [str(text) for text in catalogue.columns[feature.name]]
            views = text_views(dataset, catalogue, texts, config)
            variants = variant_texts(dataset, catalogue, config.model.item.text_variants)
            lists = [texts, *views, *variants]
            return self._cache.missing([text for each in lists for text in each])
        except TrainerError as error:
            raise click.ClickException(str(error)) from None

    def of_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 [N, E] of the texts of items, from the cache; what it lacks is kept there for the training."""
        return self._cache.vectors(texts)

    def of_phrases(self, phrases: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 [N, E] of phrases that no training asks for, so that they are not kept."""
        return self._encoder.encode_all(phrases, self._project.train.text.batch_size)

    def substituted(
        self, texts: Sequence[str], share: float, candidates: int, seeds: Sequence[int]
    ) -> list[str]:
        """Each text with other words in the place of some; see `trainer/masked_language.py`."""
        return self._language.substituted(texts, share, candidates, seeds)

    def add(self, texts: Sequence[str]) -> None:
        """Encodes some of the missing texts and keeps their vectors."""
        self._cache.add(texts)

    @cached_property
    def _encoder(self) -> TextEncoder:
        text = self._project.train.text
        try:
            return load_text_encoder(
                self._project.encoder(),
                max_tokens=text.max_tokens,
                max_characters=text.max_characters,
                pooling=text.pooling,
            )
        except TrainerError as error:
            raise click.ClickException(str(error)) from None

    @cached_property
    def _language(self) -> MaskedLanguageModel:
        try:
            return MaskedLanguageModel.of(self._encoder, self._project.encoder())
        except TrainerError as error:
            raise click.ClickException(str(error)) from None

    @cached_property
    def _cache(self) -> TextVectorCache:
        return TextVectorCache(self._encoder, batch_size=self._project.train.text.batch_size)
