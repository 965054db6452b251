"""What the model is told of the data: its shape and the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.features import FeatureSpecs
from trainer.long_tail import NO_CORRECTION, TailCorrection
from trainer.text_modes.rows import TextRows
from trainer.text_variants import TextVariants
from trainer.value_scale import AS_OBSERVED, ValueScale


@dataclass(frozen=True)
class ModelSpec:
    """What the data decides about the model's shape.

    Attributes:
        trained_items: Items of the training events; each has an ID embedding.
        text_width: E of the text vectors, 0 without a text encoder.
        item_specs: Item features.
        user_specs: User features.
        event_types: Known event types, most frequent first; row i of the embedding is type i - 1.
        values: Where the observed values lie.
    """

    trained_items: int
    text_width: int
    item_specs: FeatureSpecs
    user_specs: FeatureSpecs
    event_types: tuple[str, ...]
    values: ValueScale = AS_OBSERVED


@dataclass(frozen=True)
class CatalogueTables:
    """The catalogue as tensors, N items in catalogue order.

    Attributes:
        inputs: What `ItemTower` takes, [N, ...].
        share: float32 [N] share of each item in the training events, adding up to 1.
        scale: float32 [N] log(1 + training count).
        query_views: float32 [N, V, E] vectors of texts that stand for a user's words for the item, by the encoder as
            it came; V may be 0.
        tail: What each item gets in the retrieval loss for being rare or frequent.
        variants: Other wordings of the items' texts, read now and then in training.
        texts: The texts themselves where their encoder learns; the text vectors of `inputs` are a variable then.
    """

    inputs: dict[str, Any]
    share: Any
    scale: Any
    query_views: Any
    tail: TailCorrection = NO_CORRECTION
    variants: TextVariants | None = None
    texts: TextRows | None = None

    def __len__(self) -> int:
        return int(self.share.shape[0])
