"""The optimizer that a configuration asks for."""

from __future__ import annotations

from typing import Any

from trainer.config import TrainConfig
from trainer.optimizers.grouped import GroupedAdamW
from trainer.optimizers.groups import Group, is_table
from trainer.optimizers.loss_scale import LossScale
from trainer.optimizers.rows import Adagrad, LazyAdam, RowRule
from trainer.optimizers.schedules import warmup_cosine

_ADAGRAD_RATE = 0.1
_RULES: dict[str, type[RowRule]] = {"adagrad": Adagrad, "lazy_adam": LazyAdam}


def make_optimizer(config: TrainConfig, steps: int, groups: tuple[Group, ...] = ()) -> Any:
    """AdamW with a linear warm-up, then a cosine down to a tenth (Loshchilov and Hutter 2017).

    Args:
        config: Rates, decay, clipping, and what happens to tables.
        steps: Of an epoch.
        groups: Variables with rates of their own, asked before the tables.
    """
    total = config.epochs * steps
    tables = _RULES[config.table_optimizer]() if config.table_optimizer != "adamw" else None
    highest = config.table_learning_rate or (_ADAGRAD_RATE if config.table_optimizer == "adagrad" else None)
    if highest is not None:
        rate = warmup_cosine(highest, steps=total, warmup_steps=config.warmup_steps)
        groups = (*groups, Group("tables", is_table, rate))
    optimizer = GroupedAdamW(
        groups,
        tables,
        config.fixed_shapes,
        learning_rate=warmup_cosine(config.learning_rate, steps=total, warmup_steps=config.warmup_steps),
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
        name="adamw",
    )
    return LossScale(optimizer) if config.precision == "mixed_float16" else optimizer
