"""From a dataset directory to what the model reads: specs, catalogue tensors, training columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.catalogue import Catalogue
from trainer.config import TrainConfig
from trainer.contract import RESERVED_INPUTS
from trainer.dataset import DatasetDirectory, Feature
from trainer.errors import DatasetError
from trainer.features import CategorySpec, FeatureLookup, FeatureSpecs, NumericSpec, pad_lists
from trainer.item_tower import EVENTS, ID, TEXT
from trainer.keras_compat import tf
from trainer.lexical import LEXICAL, LexicalSketch, LexicalSpec
from trainer.long_tail import TailCorrection
from trainer.model_inputs import CatalogueTables, ModelSpec
from trainer.query_views import query_views
from trainer.sequences import Sequences
from trainer.text_cache import TextVectorCache
from trainer.text_modes.rows import TextRows
from trainer.text_variants import TextVariants, variant_texts
from trainer.value_scale import ValueScale
from trainer.words import WordSpec


@dataclass(frozen=True)
class Preparation:
    """Everything between the files and the model.

    Attributes:
        dataset: Where it came from.
        catalogue: Items in catalogue order.
        spec: The model's shape.
        item_lookup: Raw item features to tower inputs.
        user_lookup: Raw user features to tower inputs.
        item_text: Name of the item text feature, None without one.
    """

    dataset: DatasetDirectory
    catalogue: Catalogue
    spec: ModelSpec
    item_lookup: FeatureLookup
    user_lookup: FeatureLookup
    item_text: str | None


def prepare(
    dataset: DatasetDirectory, catalogue: Catalogue, train: Sequences, text_width: int, words: int = 0
) -> Preparation:
    """Derives the model's shape from training data alone.

    Args:
        dataset: A complete dataset directory.
        catalogue: Its items.
        train: Its training split.
        text_width: E of the text encoder, 0 without one.
        words: How many words of the item texts have a vector.

    Raises:
        DatasetError: user features have reserved names, or the words of texts are wanted that do not exist.
    """
    _refuse_reserved_names(dataset)
    text = dataset.one("items", "item_text")
    item_specs = replace(_item_specs(dataset, catalogue), words=_word_spec(dataset, catalogue, text, words))
    user_specs = _user_specs(dataset, train)
    types = [
        event
        for event, _ in sorted(Counter(train.events).items(), key=lambda item: (-item[1], item[0]))
        if event
    ]
    return Preparation(
        dataset=dataset,
        catalogue=catalogue,
        spec=ModelSpec(
            catalogue.trained,
            text_width if text else 0,
            item_specs,
            user_specs,
            tuple(types),
            ValueScale.measured(train.values),
        ),
        item_lookup=FeatureLookup(item_specs, name="item_lookup"),
        user_lookup=FeatureLookup(user_specs, name="user_lookup"),
        item_text=text.name if text else None,
    )


def catalogue_tables(
    preparation: Preparation,
    config: TrainConfig,
    cache: TextVectorCache | None,
    progress: Any = None,
    sketch: LexicalSketch | None = None,
) -> CatalogueTables:
    """The catalogue as tensors; encodes texts that the cache does not know yet.

    Args:
        preparation: See `prepare`.
        config: Its query-text settings decide the query views.
        cache: Gives text vectors; None without a text encoder.
        progress: Called with the number of texts encoded after each batch.
        sketch: Of the words of texts, in a model that compares them.
    """
    catalogue = preparation.catalogue
    counts = catalogue.counts.astype(np.float32)
    width = preparation.spec.text_width
    texts = item_texts(preparation)
    views = text_views(preparation.dataset, catalogue, texts, config) if width else []
    variants = variant_texts(preparation.dataset, catalogue, config.model.item.text_variants)
    flat = [text for each in (texts, *views, *variants) for text in each] if width else []
    vectors = (
        cache.vectors(flat, progress)
        if cache is not None and flat
        else np.zeros((len(flat), width), np.float32)
    )
    known = len(catalogue) * (1 + len(views))
    stacked = vectors[:known].reshape(-1, len(catalogue), width) if width else vectors
    learns = bool(width) and config.text.mode != "frozen"
    inputs = preparation.item_lookup(raw_items(preparation))
    inputs[ID] = tf.constant(
        np.where(np.arange(len(catalogue)) < catalogue.trained, np.arange(len(catalogue)) + 1, 0), tf.int32
    )
    if config.model.item.id_dropout_events is not None:
        inputs[EVENTS] = tf.constant(counts)
    if width:
        inputs[TEXT] = tf.Variable(stacked[0], trainable=False) if learns else tf.constant(stacked[0])
    if sketch is not None:
        inputs[LEXICAL] = sketch.all_items(texts)
    return CatalogueTables(
        inputs=inputs,
        share=tf.constant(counts / max(1.0, counts.sum())),
        scale=tf.constant(np.log1p(counts)),
        query_views=tf.constant(np.moveaxis(stacked[1:], 0, 1))
        if len(views)
        else tf.zeros([len(catalogue), 0, width]),
        variants=TextVariants.of(config.model.item.text_variants, variants, vectors[known:])
        if variants and width
        else None,
        tail=TailCorrection.of(catalogue.counts, config.long_tail),
        texts=TextRows.of(texts if config.model.item.text else [""] * len(texts), views) if learns else None,
    )


def text_views(
    dataset: DatasetDirectory, catalogue: Catalogue, texts: Sequence[str], config: TrainConfig
) -> list[list[str]]:
    """V lists of what users might type for each item; none in a model without text queries."""
    return query_views(dataset, catalogue, texts, config) if config.model.query_text else []


def lexical_sketch(preparation: Preparation, width: int) -> LexicalSketch | None:
    """The sketch of a model that compares words, weighted by the texts of items with events; None for width 0.

    Raises:
        DatasetError: the items have no text.
    """
    if not width:
        return None
    if preparation.item_text is None:
        raise DatasetError(
            f"{preparation.dataset.path}: train.model.lexical_width = {width}, but the items have no text. Set "
            "features.items.text and build again, or leave the words out."
        )
    return LexicalSketch(
        LexicalSpec.measured(item_texts(preparation)[: preparation.catalogue.trained]), width
    )


def item_texts(preparation: Preparation) -> list[str]:
    """The text of each item, in catalogue order; "" without a text feature."""
    name = preparation.item_text
    return (
        [str(text) for text in preparation.catalogue.columns[name]]
        if name
        else [""] * len(preparation.catalogue)
    )


def raw_items(preparation: Preparation) -> dict[str, Any]:
    """Raw item features as `FeatureLookup` takes them, in catalogue order."""
    return {
        name: _tensor(preparation.catalogue.columns[name])
        for name in feature_names(preparation.spec.item_specs)
    }


def user_inputs(preparation: Preparation, sequences: Sequences) -> dict[str, Any]:
    """Tower inputs of the users of a split, [S, ...]; empty without user features."""
    specs = preparation.spec.user_specs
    if not specs:
        return {}
    raw = {name: _tensor(sequences.user_columns[name]) for name in feature_names(specs)}
    return preparation.user_lookup(raw)


def event_rows(preparation: Preparation, events: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """int32 rows of the event type embedding, 0 for an unknown type."""
    rows = {event: row for row, event in enumerate(preparation.spec.event_types, start=1)}
    return np.asarray([rows.get(event, 0) for event in events], np.int32)


def feature_names(specs: FeatureSpecs) -> list[str]:
    """Names of all features: categories, numbers, vectors, then the text whose words are read."""
    names = [spec.name for spec in specs.categories] + [spec.name for spec in specs.numerics]
    names += [name for name, _ in specs.vectors]
    return [*names, specs.words.text] if specs.words else names


def _word_spec(
    dataset: DatasetDirectory, catalogue: Catalogue, text: Feature | None, size: int
) -> WordSpec | None:
    if not size:
        return None
    if text is None:
        raise DatasetError(
            f"{dataset.path}: train.model.item.words = {size}, but the items have no text. Set features.items.text "
            "and build again, or leave the words out."
        )
    trained = [str(value) for value in catalogue.columns[text.name][: catalogue.trained]]
    return WordSpec.measured(text.name, trained, size)


def _tensor(column: npt.NDArray[Any]) -> Any:
    if column.dtype != object:
        return tf.constant(column, tf.float32)
    lists = len(column) > 0 and isinstance(column[0], tuple)
    return tf.constant((pad_lists(column) if lists else column).tolist(), tf.string)


def _item_specs(dataset: DatasetDirectory, catalogue: Catalogue) -> FeatureSpecs:
    trained = slice(0, catalogue.trained)
    return FeatureSpecs(
        categories=tuple(
            CategorySpec(feature.name, tuple(dataset.vocabulary(feature)[0]), feature.oov_buckets)
            for feature in dataset.with_role("items", "item_category")
        ),
        numerics=tuple(
            NumericSpec.measured(feature.name, catalogue.columns[feature.name][trained].astype(np.float32))
            for feature in dataset.with_role("items", "item_numeric")
        ),
        vectors=tuple(
            (feature.name, int(feature.shape[0] or 0))
            for feature in dataset.with_role("items", "item_vector")
        ),
    )


def _user_specs(dataset: DatasetDirectory, train: Sequences) -> FeatureSpecs:
    return FeatureSpecs(
        categories=tuple(
            CategorySpec(feature.name, tuple(dataset.vocabulary(feature)[0]), feature.oov_buckets)
            for feature in dataset.with_role("sequences", "user_category")
        ),
        numerics=tuple(
            NumericSpec.measured(feature.name, train.user_columns[feature.name])
            for feature in dataset.with_role("sequences", "user_numeric")
        ),
    )


def _refuse_reserved_names(dataset: DatasetDirectory) -> None:
    names: Sequence[str] = [
        feature.name
        for role in ("user_category", "user_numeric")
        for feature in dataset.with_role("sequences", role)
    ]
    if taken := sorted(set(names) & set(RESERVED_INPUTS)):
        raise DatasetError(
            f"{dataset.path}: the user features {', '.join(taken)} have names that the model's own inputs need; "
            f"rename them in [features]. Reserved are {', '.join(RESERVED_INPUTS)}."
        )
