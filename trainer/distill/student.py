"""The student: a BERT of the teacher's width, tokenizer and limits, its layers some of the teacher's."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.errors import ConfigError
from trainer.text_encoder import TextEncoder


def spaced_layers(teacher: int, student: int) -> list[int]:
    """Which of the teacher's layers the student begins with: evenly spaced, the first and the last among them.

    Args:
        teacher: Number of its layers.
        student: Number of its layers; a single one is the teacher's first.

    Raises:
        ConfigError: the student would be no smaller.
    """
    if student >= teacher:
        raise ConfigError(
            f"distill.layers = {student}, but the trained text tower has {teacher} layers itself. Ask for fewer."
        )
    return [int(place) for place in np.linspace(0, teacher - 1, student).round()]


def make_student(teacher: TextEncoder, layers: int) -> TextEncoder:
    """A text encoder with fewer layers, which begins with the teacher's weights.

    Raises:
        ConfigError: the student would be no smaller.
    """
    import keras_nlp

    given = teacher.backbone
    chosen = spaced_layers(len(given.transformer_layers), layers)
    settings = given.get_config()
    kept = ("vocabulary_size", "num_heads", "hidden_dim", "intermediate_dim", "max_sequence_length")
    backbone = keras_nlp.models.BertBackbone(
        **{name: settings[name] for name in (*kept, "num_segments")}, num_layers=layers
    )
    for ours, theirs in _pairs(backbone, given, chosen):
        ours.set_weights(theirs.get_weights())
    return teacher.with_backbone(backbone)


def _pairs(student: Any, teacher: Any, chosen: list[int]) -> list[tuple[Any, Any]]:
    names = (
        "token_embedding",
        "position_embedding",
        "segment_embedding",
        "embeddings_layer_norm",
        "pooled_dense",
    )
    pairs = [(getattr(student, name), getattr(teacher, name)) for name in names]
    layers = [teacher.transformer_layers[place] for place in chosen]
    return [*pairs, *zip(student.transformer_layers, layers, strict=True)]
