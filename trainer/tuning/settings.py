"""The settings of `[tune]`: how long to search, and among what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from trainer.train_config import Closed

Scalar = bool | int | float | str


class Range(Closed):
    """Numbers between two bounds, both included; whole numbers where both bounds are whole."""

    low: int | float
    """The least."""
    high: int | float
    """The greatest."""
    log: bool = False
    """Draw so that each factor is as likely as the next, as fits learning rates (Bergstra and Bengio 2012)."""
    step: int | float | None = None
    """Only low, low + step, ...; cannot be combined with `log`."""

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got low = {self.low} and high = {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log = true needs low above 0 and no step")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step must be above 0, got {self.step}")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return all(isinstance(bound, int) for bound in (self.low, self.high, self.step or 1))

    def holds(self, value: object) -> bool:
        """Whether a value could have been drawn."""
        kinds = (int,) if self.whole else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool) and self.low <= value <= self.high


Choices = tuple[Scalar, ...]


class TuneConfig(Closed):
    """A search over settings of `[train]`, by validation figures."""

    trials: int = Field(20, ge=1)
    """Trainings in all, those included that were stopped early; more can be asked for later."""
    seed: int = Field(0, ge=0)
    """Of what is drawn; the same search draws the same settings, also when it was interrupted."""
    monitored: Literal["val_ndcg@10", "val_recall@10", "val_ranked_ndcg@10", "val_ranked_recall@10"] = (
        "val_ndcg@10"
    )
    """What is judged, at the best epoch of a training: retrieval, or with "ranked" the re-ranked lists."""
    epochs: int | None = Field(None, ge=1)
    """At most so many epochs a trial; by default `train.epochs`. The learning rate falls over all of them."""
    startup_trials: int = Field(5, ge=1)
    """Trials drawn at random before the sampler (TPE, Bergstra 2011) and the pruner learn from them."""
    warmup_epochs: int = Field(2, ge=0)
    """No trial is stopped before so many epochs; then one is that has been worse than the median of the others at the
    same epoch (Golovin 2017, section 3.2)."""
    space: dict[str, Range | Choices] = Field(default_factory=dict)
    """By field of [train], such as "model.history.dropout": a range {low, high, log, step} or a list of choices."""

    @field_validator("space", mode="before")
    @classmethod
    def _one_level(cls, value: Any) -> Any:
        return dict(_leaves(value)) if isinstance(value, Mapping) else value

    @field_validator("space")
    @classmethod
    def _choices_differ(cls, space: dict[str, Range | Choices]) -> dict[str, Range | Choices]:
        for field, domain in space.items():
            if isinstance(domain, tuple) and (len(domain) < 2 or len(set(domain)) < len(domain)):
                raise ValueError(f"{field}: give at least two choices, each once, got {list(domain)}")
        return space


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """TOML reads `model.history.dropout = ...` as tables in tables; here it is one name again."""
    for name, value in table.items():
        if isinstance(value, Mapping) and not {"low", "high"} & set(value):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
