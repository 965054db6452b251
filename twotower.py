"""The `twotower` command: one root on which every package hangs its commands.

The three packages do not import each other and this root imports none of them until a command runs, so
`twotower --help` answers at once and `pip install twotower` (the client alone) needs no TensorFlow.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class _Command:
    """Where a command lives and what `twotower --help` says about it."""

    module: str
    attribute: str
    help: str
    extra: str | None = None


_OURS = ("beam_pipelines", "trainer", "serving")

# In the order in which the data flows.
_COMMANDS = {
    "fetch": _Command(
        "beam_pipelines.cli", "fetch", "Download the example data and the text encoder.", "beam"
    ),
    "features": _Command(
        "beam_pipelines.cli", "features", "Turn raw events and items into a dataset directory.", "beam"
    ),
    "train": _Command("trainer.cli", "train", "Train the two-tower model on a dataset directory.", "train"),
    "tune": _Command(
        "trainer.tuning.cli", "tune", "Search settings of the training by validation figures.", "tune"
    ),
    "evaluate": _Command(
        "trainer.cli", "evaluate", "Rank the whole catalogue for held-out events, beside baselines.", "train"
    ),
    "distill": _Command(
        "trainer.distill.cli", "distill", "Train a smaller text tower from the trained one.", "train"
    ),
    "export": _Command("trainer.cli", "export", "Write the SavedModel that a server loads.", "train"),
    "lint-model": _Command(
        "trainer.lint.cli", "lint_model", "Check a SavedModel against a TensorFlow Serving release.", "train"
    ),
    "index": _Command(
        "trainer.refresh.cli", "index", "Change the catalogue of an exported model without training.", "train"
    ),
    "score": _Command(
        "beam_pipelines.scoring.cli",
        "score",
        "Score users and items in bulk with an exported model.",
        "score",
    ),
    "export-embeddings": _Command(
        "beam_pipelines.scoring.cli",
        "export_embeddings",
        "Write item and user vectors for a store of vectors.",
        "score",
    ),
    "promote": _Command(
        "trainer.release.cli",
        "promote",
        "Put a candidate in charge if it is no worse than production.",
        "train",
    ),
    "rollback": _Command(
        "trainer.release.cli", "rollback", "Put the previous version back in charge.", "train"
    ),
    "serve": _Command(
        "serving.server.cli", "serve", "Serve SavedModels over gRPC, as TensorFlow Serving does.", "server"
    ),
    "deploy": _Command(
        "serving.deploy.cli", "deploy", "Write files to run a model on the real TensorFlow Serving."
    ),
    "status": _Command("serving.cli", "status", "Show which versions of a model a server has."),
    "recommend": _Command("serving.cli", "recommend", "Ask a server for recommendations."),
    "rank": _Command("serving.cli", "rank", "Ask a server to order given items for a user."),
    "explain": _Command("serving.cli_explain", "explain", "Say why items score as they do for a user."),
    "similar": _Command("serving.cli", "similar", "Ask a server for items like a given one."),
    "embed": _Command("serving.cli", "embed", "Ask a server for the vector of a query or an item."),
    "ping": _Command("serving.cli_load", "ping", "Measure how long a server takes to answer at all."),
    "bench": _Command("serving.cli_load", "bench", "Drive a server at a rate and print a latency histogram."),
}


@contextlib.contextmanager
def _missing_extra_explained(name: str) -> Iterator[None]:
    """A library that the command's extra would bring is a line with the remedy, at import and while it runs."""
    entry = _COMMANDS.get(name)
    try:
        yield
    except ModuleNotFoundError as error:
        if entry is None or entry.extra is None or (error.name or "").split(".")[0] in _OURS:
            raise
        raise click.ClickException(
            f"`twotower {name}` needs the package {error.name!r}, which is not installed. "
            f"Install it with: pip install 'twotower[{entry.extra}]'"
        ) from None


class _LazyGroup(click.Group):
    """Lists commands from the table above and imports a command's module only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _COMMANDS.get(cmd_name)
        if entry is None:
            return None
        with _missing_extra_explained(cmd_name):
            module = importlib.import_module(entry.module)
        command: click.Command = getattr(module, entry.attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        name = next(iter([*ctx._protected_args, *ctx.args]), "")
        with _missing_extra_explained(name):
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in _COMMANDS.items()])


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="twotower")
def main() -> None:
    """From raw events and item text to recommendations over gRPC.

    Each command has its own --help; docs/architecture.md shows how they follow one another.
    """


if __name__ == "__main__":
    main()
