"""The `[intent]` table: a labelled file, and how a classifier is fine-tuned on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from trainer.train_config import Closed


class IntentConfig(Closed):
    """A text classifier: BERT, the mean of its last layer at length 1, one dense layer; all of it is trained."""

    train: Path
    """CSV with a header, one labelled text a row; `$NAME` stands for an environment variable."""
    test: Path | None = None
    """CSV that `twotower evaluate --task intent` measures on; it is not read in training."""
    tower: Literal["own", "recommender"] = "own"
    """Whose BERT reads the texts: a copy that is fine-tuned for the labels, or the trained recommender's of the same
    file, on which a dense layer is learned; `twotower export` then puts `classify_intent` beside `recommend`."""
    text_column: str = "text"
    """Column of the text."""
    label_column: str = "label"
    """Column of the label; every label of the training file is a class."""
    answer_column: str | None = None
    """Column of the answer to each text of the training file; by default the label is the answer."""
    answers: int = Field(0, ge=0, le=100)
    """Distinct answers that the signature `nearest_answers` gives, those of the known texts most like a query; 0 =
    there is no such signature."""
    encoder: str | None = None
    """Text encoder: a folder or a KerasHub preset name; by default <work_dir>/encoder."""
    max_tokens: int = Field(64, ge=3)
    """Longer texts are cut to this many word pieces, [CLS] and [SEP] included."""
    max_characters: int = Field(4096, ge=1)
    """Longer texts are cut to this many characters before they are tokenized."""
    epochs: int = Field(12, ge=1)
    """Passes over the training texts."""
    batch_size: int = Field(64, ge=1)
    """Texts in a step."""
    learning_rate: float = Field(1e-4, gt=0)
    """Of BERT's last layer, at the end of the warm-up; then it falls linearly to zero (Devlin 2018, appendix A.2)."""
    head_learning_rate: float = Field(1e-3, gt=0)
    """Of the dense layer, which begins with the mean vectors of the classes."""
    scale: float = Field(20.0, gt=0)
    """A score is this many times the cosine of a text and its class when the training begins (Qi 2018, section 3.2)."""
    layer_decay: float = Field(0.9, gt=0, le=1)
    """Each layer learns at this share of the rate of the one above it (Howard and Ruder 2018, section 3.2)."""
    train_embeddings: bool = False
    """Train the embeddings of the word pieces as well; they are half of the weights and are seen too rarely to gain."""
    warmup_share: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rates rise."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay of the matrices (Loshchilov and Hutter 2017)."""
    clip_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this global norm."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of hidden values left out in training (Devlin 2018, appendix A.2)."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Share of a label's weight that is spread over all classes (Szegedy 2015, section 7)."""
    consistency: float = Field(0.0, ge=0)
    """Weight of how much two passes over a text with different dropout differ (R-Drop, Liang 2021); above 0 a step
    takes twice as long."""
    validation_share: float = Field(0.1, ge=0, lt=1)
    """Share of the training file that chooses the epoch, drawn by label and seed; 0 learns from every text and keeps
    the last epoch."""
    patience: int = Field(4, ge=1)
    """Epochs without a better validation figure after which training stops."""
    seed: int = 0
    """Of everything random."""

    @field_validator("train", "test")
    @classmethod
    def _expand(cls, path: Path | None) -> Path | None:
        if path is None:
            return None
        expanded = os.path.expandvars(path)
        if "$" in expanded:
            raise ValueError(f"the environment variable in {path} is not set")
        return Path(expanded)
