"""Settings of the item tower: `[train.model.item]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from trainer.settings_base import Closed


class ItemTowerConfig(Closed):
    """What an item's vector is made of."""

    text: bool = True
    """Use the encoder's text vector; without text or features a new item has no vector of its own."""
    text_variants: float = Field(0.0, ge=0, le=1)
    """Share of the steps in which an item's text is one of its variants, which the dataset must have for rare items."""
    words: int = Field(0, ge=0, le=1_000_000)
    """Learn a vector for each of this many words of the item texts, the most frequent; 0 = none. An encoder that was
    not trained for it blurs brands and names, which is what buyers go by; see `trainer/words.py`."""
    word_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of these words that are hidden in a step."""
    id_embedding: bool = True
    """Learn a vector for each item of the training events, beside what its features say."""
    id_dropout: float = Field(0.2, ge=0, lt=1)
    """Share of items whose ID vector is hidden in a step, so that text alone must serve (DropoutNet, Volkovs 2017)."""
    id_dropout_events: float | None = Field(None, gt=0)
    """With it that share rises with rarity: `id_dropout` * k / (k + n) for an item with n training events, k being this
    number, so that rare items, whose ID vectors learn least, do without; by default it is the same for all items."""
    missing_id: Literal["none", "learned", "generated"] = "none"
    """What stands for the ID vector of an item without one, new or hidden by `id_dropout`: nothing; one vector for all,
    learned with the rest; or one that a layer makes of its text and features (Meta-E, Pan 2019, section 4.1; learned
    from hidden IDs alone)."""
    fusion: Literal["concatenate", "gate", "attention", "add"] = "gate"
    """How ID, text, categories and numbers become one vector; see `trainer/fusion.py`."""
    whiten_text: bool = False
    """Rotate and scale text vectors so that no direction dominates (WhitenRec, Zhang 2024), measured on the items."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout on each component before fusion."""

    @model_validator(mode="after")
    def _ids_are_hidden_at_all(self) -> ItemTowerConfig:
        needs = {"id_dropout_events": self.id_dropout_events, "missing_id": self.missing_id != "none"}
        if (named := [name for name, used in needs.items() if used]) and not (
            self.id_dropout and self.id_embedding
        ):
            raise ValueError(
                f"{' and '.join(named)} learn from IDs that are hidden in training: set id_dropout above 0 and leave "
                "id_embedding on"
            )
        return self
