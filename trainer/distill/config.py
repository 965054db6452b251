"""The `[distill]` table: how a smaller text tower learns from the trained one."""

from __future__ import annotations

from pydantic import Field

from trainer.train_config import Closed


class DistillConfig(Closed):
    """A student with fewer layers learns the teacher's vectors of the catalogue's texts."""

    layers: int = Field(2, ge=1, le=24)
    """Transformer layers of the student, fewer than the teacher has. They begin as layers of the teacher, evenly spaced
    from its first to its last (DistilBERT, Sanh 2019, section 3, takes every other one)."""
    epochs: int = Field(20, ge=1)
    """At most so many passes over the texts."""
    patience: int = Field(4, ge=1)
    """Stop after this many epochs without a better cosine on held-out texts; the best epoch is kept."""
    batch_size: int = Field(64, ge=1)
    """Texts in a step."""
    learning_rate: float = Field(5e-4, gt=0)
    """Of AdamW at its highest; falls to a tenth along a cosine (Loshchilov and Hutter 2017)."""
    warmup_share: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from zero."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay (AdamW, Loshchilov and Hutter 2019)."""
    train_embeddings: bool = False
    """Change the tables of word pieces and positions too; otherwise pieces that no text of the catalogue has keep their
    meaning."""
    validation_share: float = Field(0.1, gt=0, lt=1)
    """Share of the texts that are held out, to choose the epoch by."""
    seed: int = Field(42, ge=0)
    """Of the held-out texts and the order of the others."""
    cosine_weight: float = Field(1.0, ge=0)
    """Weight of 1 - cosine of student and teacher vector."""
    mse_weight: float = Field(1.0, ge=0)
    """Weight of the mean squared difference, divided by the teacher's mean square (MSE as in Reimers and Gurevych 2020,
    section 3)."""
    ranking_weight: float = Field(0.0, ge=0)
    """Weight of the ranking teacher: the divergence of the student's retrieval scores from the ranking head's scores
    over the teacher's best items for each text (soft labels, Hinton 2015); see `trainer/distill/ranking.py`."""
    ranking_list: int = Field(50, ge=2)
    """How many of these best items."""
    ranking_temperature: float = Field(1.0, gt=0)
    """What both kinds of scores are divided by before the softmax."""
