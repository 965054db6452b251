"""Settings for items with few or no training events: `[train.long_tail]`."""

from __future__ import annotations

from pydantic import Field, model_validator

from trainer.settings_base import Closed


class LongTailConfig(Closed):
    """What the retrieval loss makes of how often items occur. By default rare items are treated as all others."""

    cold_negatives: bool = True
    """Items without training events are negatives, too. They are never targets, so the model learns that nobody wants
    what they are made of; but what nobody could choose was not refused (exposure, Liang 2016, section 3). Turn it off
    where they are new items, leave it on where they are items that have had their chance."""
    logit_adjustment: float = Field(0.0, ge=0, le=2)
    """This many times the logarithm of an item's share of the training events is added to its score in the loss, and
    only there: what is served then leans towards rare items. 1 learns as if all items were equally frequent (Menon
    2021, equation 10)."""
    popularity_discount: float = Field(0.0, ge=0, le=1)
    """An event counts in the loss in proportion to (its item's training events) to the power of minus this: inverse
    propensity weights, smoothed by the power (Schnabel 2016, section 4; Yang 2018, section 3.1)."""
    effective_numbers: float = Field(0.0, ge=0, lt=1)
    """An event counts in proportion to (1 - b) / (1 - b^n), n the training events of its item and b this number: the
    inverse of the effective number of samples (Cui 2019, equation 2, with b from .9 to .9999). 0 = all count alike."""

    @model_validator(mode="after")
    def _one_kind_of_weights(self) -> LongTailConfig:
        if self.popularity_discount and self.effective_numbers:
            raise ValueError(
                "popularity_discount and effective_numbers are two kinds of weights of the same events: take one"
            )
        return self
