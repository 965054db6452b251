"""SASRec and BERT4Rec of RecTools on a dataset that `twotower features build` wrote: the same users, items and splits.

    python benchmarks/quality/rectools_models.py runs/amazon-beauty/leave_last_out/dataset --model sasrec

Trains on the training events, keeps the number of epochs with the best validation NDCG@10, and reads the test once.
Prints both protocols: items of the history left out of the ranking, and left in. The defaults are the setting of the
strongest published row on Amazon Beauty (SASRec with sampled softmax, eSASRec benchmark, 2025). Its own environment
is in requirements.txt. Only for leave-last-out data: one target a user.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import click
from dataset import User, interactions, read_users
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel

K = 10
PROTOCOLS = {"history out": True, "history in": False}
MODELS = {"sasrec": SASRecModel, "bert4rec": BERT4RecModel}


def measure(model: Any, users: list[User], *, exclude_history: bool) -> dict[str, float]:
    """Recall@10 and NDCG@10 of each user's first target in the ranking of the whole catalogue."""
    known = Dataset.construct(interactions(users, before_targets=True))
    targets = {user.name: user.items[user.target_start] for user in users if user.target_start}
    lists = model.recommend(
        list(targets), known, k=K, filter_viewed=exclude_history, on_unsupported_targets="warn"
    )
    hits = lists[lists["item_id"] == lists["user_id"].map(targets)]["rank"]
    return {
        "recall@10": len(hits) / len(users),
        "ndcg@10": sum(1 / math.log2(1 + rank) for rank in hits) / len(users),
    }


@click.command()
@click.argument("dataset", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", "name", type=click.Choice(list(MODELS)), default="sasrec", show_default=True)
@click.option("--width", default=256, show_default=True, help="Size of the vectors.")
@click.option("--blocks", default=1, show_default=True)
@click.option("--heads", default=1, show_default=True)
@click.option("--dropout", default=0.2, show_default=True)
@click.option("--max-length", default=50, show_default=True, help="Events of a history that are read.")
@click.option("--negatives", default=256, show_default=True, help="Of the sampled softmax; 0 = the full one.")
@click.option("--learning-rate", default=1e-3, show_default=True)
@click.option("--batch-size", default=128, show_default=True)
@click.option("--epochs", default=200, show_default=True, help="At most so many.")
@click.option(
    "--every", default=10, show_default=True, help="Epochs between two looks at the validation events."
)
@click.option(
    "--patience", default=3, show_default=True, help="Looks without a better figure before it stops."
)
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--json", "file", type=click.Path(path_type=Path), help="Keep the figures here, after every better epoch."
)
def main(
    dataset: Path,
    name: str,
    width: int,
    blocks: int,
    heads: int,
    dropout: float,
    max_length: int,
    negatives: int,
    learning_rate: float,
    batch_size: int,
    epochs: int,
    every: int,
    patience: int,
    seed: int,
    file: Path | None,
) -> None:
    """Trains one model on DATASET and measures it."""
    from pytorch_lightning import seed_everything

    seed_everything(seed)
    model = MODELS[name](
        n_factors=width,
        n_blocks=blocks,
        n_heads=heads,
        dropout_rate=dropout,
        session_max_len=max_length,
        loss="sampled_softmax" if negatives else "softmax",
        n_negatives=negatives or 1,
        lr=learning_rate,
        batch_size=batch_size,
        epochs=epochs,
    )
    validation, test = read_users(dataset, "validation"), read_users(dataset, "test")
    train = Dataset.construct(interactions(read_users(dataset, "train"), before_targets=False))
    began, busy, best, best_epoch = time.monotonic(), time.process_time(), -1.0, 0
    figures: dict[str, dict[str, float]] = {}
    for epoch in range(every, epochs + 1, every):
        model.fit_partial(train, min_epochs=every, max_epochs=every)
        value = measure(model, validation, exclude_history=True)["ndcg@10"]
        click.echo(
            f"epoch {epoch}: validation NDCG@10 {value:.4f} "
            f"({time.monotonic() - began:.0f} s, {time.process_time() - busy:.0f} CPU s)"
        )
        if value > best:
            best, best_epoch = value, epoch
            # Measured now, since RecTools keeps no copy of a model but a pickle; shown for the chosen epoch alone.
            figures = {
                protocol: measure(model, test, exclude_history=out) for protocol, out in PROTOCOLS.items()
            }
            keep(file, name, best_epoch, best, figures)
        elif epoch - best_epoch >= patience * every:
            break
    click.echo(f"chosen: epoch {best_epoch}")
    for protocol, metrics in figures.items():
        click.echo(
            f"test, {protocol}: " + " ".join(f"{metric} {value:.4f}" for metric, value in metrics.items())
        )


def keep(
    file: Path | None, name: str, epoch: int, validation: float, figures: dict[str, dict[str, float]]
) -> None:
    """Writes what is known so far, so that a run that is stopped leaves its best epoch."""
    if file is not None:
        file.write_text(
            json.dumps({"model": name, "epoch": epoch, "validation": validation, **figures}, indent=1)
        )


if __name__ == "__main__":
    main()
