"""The commands `twotower fetch` and `twotower features`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from beam_pipelines.config import RunConfig, load_config
from beam_pipelines.errors import ConfigError, DatasetError, PipelineError
from beam_pipelines.settings import Protocol

_CONFIG = click.argument("config", type=click.Path(path_type=Path))


@contextlib.contextmanager
def friendly_errors() -> Iterator[None]:
    """Turns errors that the user can mend into a message without a traceback."""
    try:
        yield
    except PipelineError as error:
        raise click.ClickException(str(error)) from None


@click.command()
@_CONFIG
@click.option("--source", help="movielens-100k, an http(s) address of a zip, a zip file or a folder.")
@click.option("--encoder", help="minilm, a folder with a BERT, or the name of a KerasHub preset.")
def fetch(config: Path, source: str | None, encoder: str | None) -> None:
    """Download the raw data and the text encoder that CONFIG names.

    Downloads stay in a cache (~/.cache/twotower, or $TWOTOWER_CACHE) that later runs reuse without a network.
    """
    from beam_pipelines.fetching.command import fetch_all

    with friendly_errors():
        fetch_all(load_config(config), source, encoder, Console())


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def features() -> None:
    """Turn raw events and items into a dataset directory."""


@features.command(context_settings={"ignore_unknown_options": True})
@_CONFIG
@click.option(
    "--split", "protocol", type=click.Choice(["leave_last_out", "by_time"]), help="Only this split protocol."
)
@click.option("--overwrite", is_flag=True, help="Replace a dataset that is already there.")
@click.option("--append", is_flag=True, help="Read only event files that are new, and extend the dataset.")
@click.option("--data", "data_dir", help="Folder with the input files, instead of the config's data_dir.")
@click.option("--max-reject-rate", type=click.FloatRange(0, 1), help="Instead of the config's.")
@click.argument("beam_arguments", nargs=-1, type=click.UNPROCESSED)
def build(
    config: Path,
    protocol: Protocol | None,
    overwrite: bool,
    append: bool,
    data_dir: str | None,
    max_reject_rate: float | None,
    beam_arguments: tuple[str, ...],
) -> None:
    """Build the datasets that CONFIG describes.

    BEAM_ARGUMENTS after -- go to Apache Beam: --runner, --direct_num_workers, --project, ...
    """
    quiet_beam()
    from beam_pipelines.build import build_dataset
    from beam_pipelines.show import print_built

    console = Console()
    with friendly_errors():
        run = load_config(config)
        if max_reject_rate is not None and run.features is not None:
            changed = run.features.model_copy(update={"max_reject_rate": max_reject_rate})
            run = RunConfig(run.path, run.name, run.work_dir, run.fetch, changed)
        folder = data_directory(run, data_dir)
        for one in [protocol] if protocol else run.required_features().splits:
            with console.status(f"Building {run.dataset_place(one)} ..."):
                built = build_dataset(run, one, folder, overwrite, append, beam_arguments)
            print_built(console, built)


def quiet_beam() -> None:
    """Keeps Beam's import from warning that its optional Google Cloud parts are not installed."""
    logging.getLogger().addFilter(lambda record: "apitools not found" not in str(record.msg))


def data_directory(run: RunConfig, given: str | None) -> str:
    """Where relative input files lie: the option, else the config's data_dir, else <work_dir>/raw.

    Raises:
        ConfigError: data_dir names an environment variable that is not set.
    """
    folder = given or run.required_features().data_dir or str(run.work_dir / "raw")
    expanded = os.path.expandvars(folder)
    if "$" in expanded:
        raise ConfigError(
            f"{run.path}: features.data_dir is {folder!r}, and that environment variable is not set. "
            "Set it, or give the folder with --data."
        )
    return expanded


@features.command("embed-texts", context_settings={"ignore_unknown_options": True})
@_CONFIG
@click.option(
    "--split", "protocol", type=click.Choice(["leave_last_out", "by_time"]), help="Only this split protocol."
)
@click.argument("beam_arguments", nargs=-1, type=click.UNPROCESSED)
def embed_texts(config: Path, protocol: Protocol | None, beam_arguments: tuple[str, ...]) -> None:
    """Compute the text vectors that a training of CONFIG will read, on many workers.

    `twotower train` computes what is missing by itself, in one process. The cache, $TWOTOWER_CACHE, and the dataset
    must be folders that all workers share. BEAM_ARGUMENTS after -- go to Apache Beam, as with `build`.
    """
    quiet_beam()
    from beam_pipelines.embedding_texts import embed_missing

    console = Console()
    with friendly_errors():
        run = load_config(config)
        for one in [protocol] if protocol else run.required_features().splits:
            with console.status(f"Embedding the texts of {run.dataset_place(one)} ..."):
                done = embed_missing(str(config), one, beam_arguments)
            console.print(f"{one}: {done:,} texts embedded; the cache has all that a training reads.")


@features.command(context_settings={"ignore_unknown_options": True})
@click.argument("source")
@click.argument("target")
@click.option("--overwrite", is_flag=True, help="Replace a dataset that is already there.")
@click.argument("beam_arguments", nargs=-1, type=click.UNPROCESSED)
def copy(source: str, target: str, overwrite: bool, beam_arguments: tuple[str, ...]) -> None:
    """Copy a dataset from SOURCE to TARGET, each a folder or an address such as s3://bucket/shop/by_time/dataset.

    BEAM_ARGUMENTS after -- go to Apache Beam's file systems: --s3_endpoint_url, ...
    """
    quiet_beam()
    from beam_pipelines.copying import copy_dataset
    from beam_pipelines.running import use_options

    with friendly_errors(), Progress(transient=True) as progress:
        use_options(beam_arguments)
        task = progress.add_task("Copying", total=None)
        for done, total in copy_dataset(source, target, overwrite):
            progress.update(task, completed=done, total=total)
    click.echo(f"Copied {source} to {target}")


def local_dataset(text: str) -> Path:
    """A dataset that is read in place.

    Raises:
        ConfigError: it is in an object store.
    """
    if "://" in text:
        raise ConfigError(
            f"{text}: is not on this machine. Bring it with: twotower features copy {text} FOLDER; after a change "
            "copy it back with --overwrite."
        )
    return Path(text)


@features.command()
@click.argument("dataset")
@click.option("--user", "user_id", help="Print this user's record as JSON.")
@click.option(
    "--split", default="test", show_default=True, type=click.Choice(["train", "validation", "test"])
)
@click.option("--as-request", is_flag=True, help="As a request for `twotower recommend --request -`.")
@click.option("--verify", is_flag=True, help="Compare every file with its checksum.")
def show(dataset: str, user_id: str | None, split: str, as_request: bool, verify: bool) -> None:
    """Show what the directory DATASET holds, or one user of it.

    With --as-request the events before the target become the history; without --user some user is taken.
    """
    from beam_pipelines import requests
    from beam_pipelines.reader import Dataset
    from beam_pipelines.show import print_dataset

    with friendly_errors():
        opened = Dataset.open(local_dataset(dataset))
        if verify and (damaged := opened.damaged()):
            raise DatasetError(
                f"{dataset}: {len(damaged)} files are damaged: {', '.join(damaged)}. Build it again."
            )
        if not (as_request or user_id is not None):
            print_dataset(Console(), opened)
            return
        record = requests.find_record(opened, user_id, split)
        shown = requests.as_request(record, opened.schema) if as_request else record
        click.echo(json.dumps(shown, ensure_ascii=False))


@features.command()
@click.argument("dataset")
@click.option("--users", "listed", required=True, type=click.Path(path_type=Path), help="One user id a line.")
@click.option("--key-env", help="Environment variable with the key, where the dataset has pseudonyms.")
@click.option("--key-file", help="File with that key.")
def forget(dataset: str, listed: Path, key_env: str | None, key_file: str | None) -> None:
    """Rewrite the directory DATASET without the users of a list, then look through it for them.

    The input files, other datasets and trained models are not changed. A later --append leaves these users out;
    building everything again brings back who is still in the input files.
    """
    quiet_beam()
    from beam_pipelines.forgetting import forget_users
    from beam_pipelines.privacy import pseudonym, read_key
    from beam_pipelines.settings import PrivacySettings

    with friendly_errors():
        try:
            users = [line.strip() for line in listed.read_text("utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{listed}: cannot be read as a list of user ids ({error}).") from None
        key = read_key(PrivacySettings.model_validate({"key_env": key_env, "key_file": key_file}))
        names = frozenset(users if key is None else (pseudonym(user, key) for user in users))
        done = forget_users(local_dataset(dataset), names)
    click.echo(
        f"Removed {done.users:,} sequences with {done.events:,} events; {done.absent:,} ids were not there."
    )
    click.echo(f"Looked through {done.scanned:,} places in {dataset}: none has a forgotten user.")


@features.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--name", default="my-data", show_default=True, help="Name of the run.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write the draft to this file, not to the terminal."
)
def init(data: tuple[Path, ...], name: str, output: Path | None) -> None:
    """Look at the files DATA and draft a commented config to edit."""
    quiet_beam()
    from beam_pipelines.drafting import draft_config
    from beam_pipelines.sampling import sample_file

    with friendly_errors():
        draft = draft_config([sample_file(path) for path in data], name)
        if output is None:
            click.echo(draft, nl=False)
            return
        if output.exists():
            raise ConfigError(f"{output}: is there already; choose another name for the draft.")
        output.write_text(draft, "utf-8")
    click.echo(f"Wrote {output}. Edit it, then: twotower features build {output}")
