"""All that training, evaluation and export load before they begin: data, encoder, model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from trainer.catalogue import load_catalogue
from trainer.config import ProjectConfig, digest_of
from trainer.dataset import DatasetDirectory
from trainer.item_tower import TEXT
from trainer.keras_compat import keras
from trainer.model import TwoTowerModel
from trainer.precision import products_in
from trainer.preparation import Preparation, catalogue_tables, lexical_sketch, prepare
from trainer.sequences import Sequences, load_sequences
from trainer.text_cache import TextVectorCache
from trainer.text_encoder import TextEncoder, load_text_encoder
from trainer.text_modes.tower import TextTower


@dataclass(frozen=True)
class Workbench:
    """A model with fresh weights, its data and its text encoder.

    Attributes:
        dataset: The dataset directory.
        train: Its training split.
        preparation: Catalogue, features, shape of the model.
        encoder: The BERT, None where neither items nor queries have text.
        encoder_digest: Of that BERT before it learned anything.
        model: The model, its catalogue set, with a text tower if BERT learns.
    """

    dataset: DatasetDirectory
    train: Sequences
    preparation: Preparation
    encoder: TextEncoder | None
    encoder_digest: str | None
    model: TwoTowerModel

    @classmethod
    def open(
        cls,
        config: ProjectConfig,
        dataset: DatasetDirectory,
        console: Console,
        *,
        precision: str = "float32",
    ) -> Workbench:
        """Loads everything; texts that are new are encoded once, with a progress bar.

        Args:
            config: The configuration file.
            dataset: The dataset directory.
            console: For progress.
            precision: What the model's matrices are multiplied in, as in `train.precision`.

        Raises:
            ConfigError: the text encoder cannot be loaded.
            DatasetError: the records do not fit the schema.
        """
        settings = config.train
        keras.utils.set_random_seed(settings.seed)
        catalogue = load_catalogue(dataset)
        train = load_sequences(dataset, "train", catalogue)
        encoder = _encoder(config, dataset)
        preparation = prepare(
            dataset, catalogue, train, encoder.width if encoder else 0, settings.model.item.words
        )
        # A BERT that learns from the first step on needs no vectors from before, unless they are to be whitened.
        wanted = not settings.text.learns_at_once or settings.model.item.whiten_text
        cache = TextVectorCache(encoder, batch_size=settings.text.batch_size) if encoder and wanted else None
        sketch = lexical_sketch(preparation, settings.model.lexical_width)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("encoding texts", total=None)
            tables = catalogue_tables(
                preparation, settings, cache, lambda done: bar.advance(task, done), sketch
            )
        with products_in(precision):
            model = TwoTowerModel(settings, preparation.spec)
        model.catalogue, model.sketch = tables, sketch
        digest = encoder.digest() if encoder else None
        if encoder is not None and tables.texts is not None:
            model.text_tower = TextTower(encoder, tables.texts, settings)
        if model.item_tower.whitening is not None:
            model.item_tower.whitening.measure(tables.inputs[TEXT][: catalogue.trained].numpy())
        console.print(_summary(dataset, preparation, train, model))
        return cls(dataset, train, preparation, encoder, digest, model)


def _encoder(config: ProjectConfig, dataset: DatasetDirectory) -> TextEncoder | None:
    model = config.train.model
    if dataset.one("items", "item_text") is None or not (model.item.text or model.query_text):
        return None
    text = config.train.text
    return load_text_encoder(
        config.encoder(),
        max_tokens=text.max_tokens,
        max_characters=text.max_characters,
        pooling=text.pooling,
    )


def _summary(
    dataset: DatasetDirectory, preparation: Preparation, train: Sequences, model: TwoTowerModel
) -> str:
    learned = [*model.trainable_variables, *(model.text_tower.bert.variables if model.text_tower else ())]
    weights = sum(int(variable.value.shape.num_elements()) for variable in learned)
    catalogue = preparation.catalogue
    return (
        f"{dataset.path}: {len(train):,} users, {len(train.items):,} training events, {len(catalogue):,} items "
        f"({len(catalogue) - catalogue.trained:,} without events); {weights:,} weights to train."
    )


def encoder_fingerprint(name: str) -> str:
    """Tells encoders apart without loading them: the preset's name, or names and sizes of the folder's files."""
    folder = Path(name)
    if not folder.is_dir():
        return name
    files: list[Any] = sorted(
        (str(file.relative_to(folder)), file.stat().st_size) for file in folder.rglob("*") if file.is_file()
    )
    return digest_of(files)
