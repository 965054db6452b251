"""Settings of `[train.augmentation]`: training histories that are changed a little, anew in every epoch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from trainer.settings_base import Closed

Operation = Literal["crop", "mask", "reorder", "substitute"]


class AugmentationConfig(Closed):
    """Random changes of histories (CL4SRec, Xie 2022, section 3.3; CoSeRec, Liu 2021, section 3.2).

    They serve the prediction of the next event; the papers' contrastive loss is not part of it.
    """

    rate: float = Field(0.0, ge=0, le=1)
    """Share of the histories that are changed in an epoch, each by one of the operations, drawn evenly."""
    operations: Annotated[tuple[Operation, ...], Field(min_length=1)] = (
        "crop",
        "mask",
        "reorder",
        "substitute",
    )
    """"crop": a run of events stays, the others are neither read nor predicted. "mask": some events are read as unknown
    items. "reorder": a run of events is shuffled. "substitute": instead of some events, items are read that the same
    users had. What is predicted stays true in all of them, and is never read before it is predicted."""
    crop: float = Field(0.6, gt=0, le=1)
    """Share of the events that a crop leaves."""
    mask: float = Field(0.3, gt=0, le=1)
    """Share of the events that are masked."""
    reorder: float = Field(0.3, gt=0, le=1)
    """Share of the events that are shuffled."""
    substitute: float = Field(0.3, gt=0, le=1)
    """Share of the events for which other items are read."""
    similar: int = Field(10, ge=1, le=1000)
    """Among how many of the most similar items the substitute is drawn."""
    max_events: int | None = Field(None, ge=1)
    """Only histories of up to so many events are changed; by default all."""

    @field_validator("operations")
    @classmethod
    def _each_once(cls, values: tuple[Operation, ...]) -> tuple[Operation, ...]:
        if len(set(values)) < len(values):
            raise ValueError("name each one once")
        return values
