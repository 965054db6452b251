"""The item tower: what an item is, as one vector."""

from __future__ import annotations

from typing import Any

from trainer.embedding_table import EmbeddingTable
from trainer.errors import ConfigError
from trainer.features import WORDS, FeatureSpecs
from trainer.fusion import Fusion
from trainer.item_tower_config import ItemTowerConfig
from trainer.keras_compat import keras
from trainer.precision import Dense
from trainer.whitening import Whitening
from trainer.words import WordVectors

ID = "id"
EVENTS = "training_events"
TEXT = "text"
NUMERIC = "numeric"


class FeatureVectors(keras.layers.Layer):  # type: ignore[misc]
    """One vector an entity for each kind of feature: categories (mean of their embeddings), words, numbers, vectors.

    Args:
        specs: Which features there are.
        width: D of category and word embeddings.
        word_dropout: Share of the words that are hidden in a step.
        seed: Of that.
    """

    def __init__(
        self,
        specs: FeatureSpecs,
        width: int,
        *,
        word_dropout: float = 0.0,
        seed: int = 0,
        name: str = "features",
    ) -> None:
        super().__init__(name=name)
        self.specs = specs
        self._words = WordVectors(specs.words, width, word_dropout, seed) if specs.words else None
        self._embeddings = {
            spec.name: EmbeddingTable(spec.rows, width, name=f"category_{spec.name}")
            for spec in specs.categories
        }

    def build(self, input_shape: Any = None) -> None:
        """Builds the embedding tables."""
        for embedding in self._embeddings.values():
            embedding.build(None)
        if self._words is not None:
            self._words.build()
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> tuple[list[Any], list[Any]]:
        """The components and where they are present, as `Fusion` takes them.

        Args:
            inputs: What `FeatureLookup` returns.
            training: Whether to drop words.

        Returns:
            A list of float32 [B, width of the component] and a list of bool [B].
        """
        components, present = [], []
        for name, embedding in self._embeddings.items():
            known = keras.ops.cast(inputs[name] > 0, "float32")
            count = keras.ops.sum(known, axis=1)
            total = keras.ops.sum(embedding(inputs[name]) * known[:, :, None], axis=1)
            components.append(total / keras.ops.maximum(count, 1.0)[:, None])
            present.append(count > 0)
        if self._words is not None:
            vectors, known = self._words(inputs[WORDS], training=training)
            components.append(vectors)
            present.append(known)
        for name in [*([NUMERIC] if self.specs.numerics else []), *(name for name, _ in self.specs.vectors)]:
            components.append(inputs[name])
            present.append(keras.ops.ones_like(inputs[name][:, 0], dtype="bool"))
        return components, present

    def widths(self) -> list[int]:
        """Width of each component, in the order of `call`."""
        numbers = [len(self.specs.numerics)] if self.specs.numerics else []
        categories = [embedding.output_dim for embedding in self._embeddings.values()]
        words = [self._words.width] if self._words is not None else []
        return [*categories, *words, *numbers, *(width for _, width in self.specs.vectors)]


class ItemTower(keras.layers.Layer):  # type: ignore[misc]
    """Fuses text, ID embedding and features of an item.

    An item without an ID embedding (new, or hidden by ID dropout) is what its text and features say; see `missing_id`.

    Args:
        config: Which parts, and how they are fused.
        width: D of the item vector.
        trained_items: Number of ID embeddings.
        text_width: E of the text vectors, 0 = items have no text.
        specs: The item features.
        seed: Of the ID dropout.
    """

    def __init__(
        self,
        config: ItemTowerConfig,
        *,
        width: int,
        trained_items: int,
        text_width: int,
        specs: FeatureSpecs,
        seed: int,
    ) -> None:
        super().__init__(name="item_tower")
        self.config = config
        self.width = width
        self.text_width = text_width if config.text else 0
        self._seeds = keras.random.SeedGenerator(seed)
        self._features = FeatureVectors(specs, width, word_dropout=config.word_dropout, seed=seed)
        self._ids = (
            EmbeddingTable(trained_items + 1, width, embeddings_initializer="glorot_uniform", name="item_id")
            if config.id_embedding
            else None
        )
        self._generator = (
            Dense(width, use_bias=False, kernel_initializer="zeros", name="id_generator")
            if config.missing_id == "generated"
            else None
        )
        self.whitening = Whitening() if config.whiten_text and self.text_width else None
        self._fusion = Fusion(width, config.fusion, config.dropout, name="fusion")

    def build(self, input_shape: Any = None) -> None:
        """Builds tables and fusion.

        Raises:
            ConfigError: nothing is left that an item, or its ID vector, could be made of.
        """
        self._features.build()
        widths = self._features.widths()
        if self.text_width:
            widths = [*widths, self.text_width]
        if self._generator is not None:
            if not widths:
                raise ConfigError(
                    'train.model.item.missing_id = "generated" makes ID vectors of text and features, and the items '
                    'have none that the model may use. Take "learned" or "none", or turn train.model.item.text on.'
                )
            self._generator.build((None, sum(widths)))
        if self._ids is not None:
            self._ids.build(None)
            widths = [self.width, *widths]
        if self.whitening is not None:
            self.whitening.build((None, self.text_width))
        if not widths:
            raise ConfigError(
                "The item tower has nothing to read: the items have no text and no features that it may use, and "
                "train.model.item.id_embedding is off. Turn it on, or train.model.item.text if the items have text."
            )
        self._fusion.build([(None, width) for width in widths])
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        """Item vectors.

        Args:
            inputs: "id" int32 [B] (0 = no ID embedding), "text" float32 [B, E] (zeros = no text), what
                `FeatureLookup` returns for the item features, and, if training hides IDs by rarity, "training_events"
                float32 [B].
            training: Whether to drop.

        Returns:
            float32 [B, D].
        """
        components, present = self._features(inputs, training=training)
        if self.text_width:
            components.append(self.whitening(inputs[TEXT]) if self.whitening is not None else inputs[TEXT])
            present.append(keras.ops.any(inputs[TEXT] != 0, axis=1))
        if self._ids is not None:
            vectors, there = self._id_vectors(inputs, components, present, training)
            components, present = [vectors, *components], [there, *present]
        return self._fusion(components, present, training=training)

    def _id_vectors(
        self, inputs: dict[str, Any], components: list[Any], present: list[Any], training: bool | None
    ) -> tuple[Any, Any]:
        """float32 [B, D] ID vectors, or what stands for those that are missing; bool [B], where there is one."""
        assert self._ids is not None  # noqa: S101  `call` has looked
        known = self._id_known(inputs, training)
        if self.config.missing_id == "none":
            return self._ids(inputs[ID]), known
        vectors = self._ids(keras.ops.where(known, inputs[ID], 0))
        if self._generator is not None:
            shown = [
                component * keras.ops.cast(there, "float32")[:, None]
                for component, there in zip(components, present, strict=True)
            ]
            generated = self._generator(keras.ops.concatenate(shown, axis=1))
            vectors = keras.ops.where(known[:, None], vectors, generated)
        return vectors, keras.ops.ones_like(known)

    def _id_known(self, inputs: dict[str, Any], training: bool | None) -> Any:
        ids = inputs[ID]
        known = ids > 0
        if not training or not self.config.id_dropout:
            return known
        lots = keras.random.uniform(keras.ops.shape(ids), seed=self._seeds)
        return keras.ops.logical_and(known, lots >= self._id_dropout(inputs))

    def _id_dropout(self, inputs: dict[str, Any]) -> Any:
        """How likely each ID is hidden: a number, or float32 [B]."""
        rate, half = self.config.id_dropout, self.config.id_dropout_events
        return rate if half is None else rate * half / (half + inputs[EVENTS])
