"""All checks, in the order in which they matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer.lint import constant_checks, file_checks, ops_checks, signature_checks
from trainer.lint.findings import Finding
from trainer.lint.saved_model import SavedModel, read_saved_model


def lint(saved_model_dir: Path | str, serving: str = "2.20", besides: Sequence[str] = ()) -> list[Finding]:
    """Checks a SavedModel against a release of TensorFlow Serving.

    Args:
        saved_model_dir: The folder that holds `saved_model.pb`.
        serving: TensorFlow Serving's release, see :func:`trainer.lint.ops.releases`.
        besides: Ops that the server has beside those of its release; a name that ends in ">" stands for a namespace.

    Returns:
        What was found, errors first; empty = nothing to say.

    Raises:
        FileNotFoundError: if the folder holds no SavedModel.
        ValueError: if the file is broken or the release unknown.
    """
    severities = ("error", "warning", "note")
    findings = _all(read_saved_model(Path(saved_model_dir)), serving, besides)
    return sorted(findings, key=lambda finding: severities.index(finding.severity))


def _all(model: SavedModel, serving: str, besides: Sequence[str]) -> Iterator[Finding]:
    yield from ops_checks.check_registered(model, serving, besides)
    yield from ops_checks.check_python_ops(model)
    yield from signature_checks.check_signatures_exist(model)
    yield from signature_checks.check_batchable(model)
    yield from file_checks.check_assets(model)
    yield from file_checks.check_warmup(model)
    yield from ops_checks.check_training_ops(model)
    yield from ops_checks.check_assigning_ops(model)
    yield from file_checks.check_optimizer_state(model)
    yield from constant_checks.check_large_constants(model)
    yield from constant_checks.check_graph_size(model)
    yield from file_checks.check_machine_paths(model)
    yield from signature_checks.check_unbounded(model)
    yield from signature_checks.check_names(model)
