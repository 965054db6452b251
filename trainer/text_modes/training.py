"""What a training, and all that reads a trained run, does with a text tower that learns."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import Progress

from trainer.item_tower import TEXT
from trainer.keras_compat import keras
from trainer.text_cache import TextVectorCache


class Unfreeze(keras.callbacks.Callback):  # type: ignore[misc]
    """Lets the text tower learn from an epoch on; until then steps read the vectors of the encoder as it came.

    Args:
        after: Epochs in which it does not learn.
        console: Where to say it.
    """

    def __init__(self, after: int, console: Console) -> None:
        super().__init__()
        self._after = after
        self._console = console

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Traces the training step anew when it is time."""
        tower = self.model.text_tower
        if tower is None or tower.learning or epoch < self._after:
            return
        tower.learning = True
        self.model.make_train_function(force=True)
        self._console.print(f"  From epoch {epoch + 1} on the text tower learns as well.", highlight=False)


def refresh_texts(model: Any, console: Console) -> None:
    """Encodes the catalogue's texts anew, with a progress bar, where the text tower has learned."""
    tower = model.text_tower
    if tower is None or not tower.learning:
        return
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("encoding texts", total=len(set(tower.rows.items.tolist()) - {0}))
        vectors = tower.item_vectors(lambda done: bar.advance(task, done))
    model.known_catalogue.inputs[TEXT].assign(vectors)


def settle_texts(model: Any, console: Console) -> None:
    """After a checkpoint was read: encoder and catalogue by the weights that were learned.

    The vectors come from the cache of text vectors where they have been computed before.

    Args:
        model: With its text tower, if it has one; nothing is trained after this.
        console: For progress.
    """
    tower = model.text_tower
    if tower is None:
        return
    tower.settle()
    texts = [tower.rows.texts[row] for row in tower.rows.items]
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("encoding texts", total=None)
        cache = TextVectorCache(tower.encoder, batch_size=model.config.text.batch_size)
        vectors = cache.vectors(texts, lambda done: bar.advance(task, done))
    model.known_catalogue.inputs[TEXT].assign(vectors)
