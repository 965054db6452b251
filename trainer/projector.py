"""Item vectors for TensorBoard's embedding projector, which shows them in three dimensions beside the curves."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tensorboard.plugins.projector import ProjectorConfig, visualize_embeddings

from trainer.evaluation.files import write_text

MOST = 10_000
"""Items that are shown, the most popular: the projector draws in a browser."""
_FOLDER = "projector"


def write_projector(
    logs: Path, vectors: npt.NDArray[np.floating], columns: dict[str, Sequence[object]]
) -> None:
    """Writes vectors.tsv, metadata.tsv and projector_config.pbtxt.

    Args:
        logs: TensorBoard's folder of a run; read by `tensorboard --logdir`.
        vectors: float [N, D], most popular items first.
        columns: What is known of each item, N values by name, such as ids and titles; at least two.
    """
    shown = min(len(vectors), MOST)
    folder = logs / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    rows = "\n".join("\t".join(f"{value:.6g}" for value in row) for row in vectors[:shown])
    write_text(folder / "vectors.tsv", f"{rows}\n")
    lines = ["\t".join(columns)]
    lines += ["\t".join(_field(values[row]) for values in columns.values()) for row in range(shown)]
    write_text(folder / "metadata.tsv", "\n".join(lines) + "\n")
    config = ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "items"
    embedding.tensor_path = f"{_FOLDER}/vectors.tsv"
    embedding.metadata_path = f"{_FOLDER}/metadata.tsv"
    visualize_embeddings(str(logs), config)


def _field(value: object) -> str:
    """One cell: a tab or a line break would begin another."""
    return " ".join(str(value).split())
