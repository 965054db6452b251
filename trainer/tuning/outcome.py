"""What a search found: a table for the terminal, all trials as JSON, the best settings as TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from trainer.evaluation.files import write_text
from trainer.tuning.study import REASON

TRIALS_FILE, BEST_FILE = "trials.json", "best.toml"
_SHOWN = 10


def write_outcome(folder: Path, trials: Sequence[FrozenTrial], monitored: str) -> FrozenTrial | None:
    """Writes trials.json, and best.toml once a trial has ended by itself.

    Args:
        folder: Where the search is kept.
        trials: Those that are finished.
        monitored: What was judged.

    Returns:
        The best trial.
    """
    rows = [trial_row(trial) for trial in trials]
    write_text(folder / TRIALS_FILE, json.dumps({"monitored": monitored, "trials": rows}, indent=1) + "\n")
    best = best_trial(trials)
    if best is not None:
        head = f"# {monitored} {best.value:.4f} on validation events: trial {best.number} of {len(trials)}."
        write_text(folder / BEST_FILE, f"{head}\n{as_toml(best.params)}")
    return best


def best_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The one with the highest figure, of equals the first; None where none has ended by itself."""
    ended = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    return max(ended, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def trial_row(trial: FrozenTrial) -> dict[str, Any]:
    """A trial as JSON: what was drawn, how it ended, the figure of each epoch."""
    curve = [trial.intermediate_values[epoch] for epoch in sorted(trial.intermediate_values)]
    return {
        "number": trial.number,
        "state": _state(trial),
        "value": trial.value if trial.state is TrialState.COMPLETE else None,
        "reason": trial.user_attrs.get(REASON),
        "params": trial.params,
        "epochs": curve,
        "seconds": round(trial.duration.total_seconds(), 1) if trial.duration else None,
    }


def trials_table(trials: Sequence[FrozenTrial], monitored: str) -> Table:
    """The best trials, best first; the settings that were drawn are columns."""
    fields = list(dict.fromkeys(name for trial in trials for name in trial.params))
    table = Table(title=f"Best of {len(trials)} trials")
    for column in ("trial", monitored, "epochs", *fields):
        table.add_column(column, justify="right")
    for trial in sorted(trials, key=_order)[:_SHOWN]:
        shown = f"{trial.value:.4f}" if trial.state is TrialState.COMPLETE else _state(trial)
        values = (_short(trial.params.get(field)) for field in fields)
        table.add_row(str(trial.number), shown, str(len(trial.intermediate_values)), *values)
    return table


def as_toml(params: Mapping[str, Any]) -> str:
    """Fields of [train] by dotted name as TOML tables.

    >>> print(as_toml({"epochs": 3, "model.history.dropout": 0.5}), end="")
    [train]
    epochs = 3
    <BLANKLINE>
    [train.model.history]
    dropout = 0.5
    """
    tables: dict[str, list[str]] = {}
    for field in sorted(params, key=lambda name: (name.count("."), name)):
        table, _, name = f"train.{field}".rpartition(".")
        tables.setdefault(table, []).append(f"{name} = {_toml_value(params[field])}")
    return "\n".join("\n".join([f"[{table}]", *lines, ""]) for table, lines in tables.items())


def _toml_value(value: object) -> str:
    """JSON and TOML write numbers, truth and strings alike, but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _order(trial: FrozenTrial) -> tuple[bool, float, int]:
    complete = trial.state is TrialState.COMPLETE
    return not complete, -(trial.value or 0.0) if complete else 0.0, trial.number


def _state(trial: FrozenTrial) -> str:
    return {TrialState.COMPLETE: "done", TrialState.PRUNED: "stopped early"}.get(trial.state, "impossible")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
