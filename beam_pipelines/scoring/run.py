"""Runs a plan: what is there is not done again, what was begun is continued, and results appear all at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beam_pipelines.contract import digest
from beam_pipelines.errors import DatasetError, InputError, PipelineError, RejectRateError
from beam_pipelines.publishing import new_directory
from beam_pipelines.running import run_pipeline
from beam_pipelines.scoring.answering import first_line
from beam_pipelines.scoring.graph import build_graph
from beam_pipelines.scoring.manifest import read_manifest, reject_reasons, write_manifest, write_rejects
from beam_pipelines.scoring.parts import STATE, Part, read_parts
from beam_pipelines.scoring.plan import ScorePlan
from beam_pipelines.scoring.unfinished import unfinished_directory
from beam_pipelines.scoring.work import Output

Watch = Callable[[Path, int], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Scored:
    """Outcome of a run.

    Attributes:
        path: of the results.
        manifest: content of their `scores.json`.
        skipped: they were there already, from the same model, settings and input.
        resumed: parts that an interrupted run had left.
        changed: why nothing could be taken from an earlier run although that was asked for; "".
        seconds: the run took.
    """

    path: Path
    manifest: dict[str, Any]
    skipped: bool = False
    resumed: int = 0
    changed: str = ""
    seconds: float = 0.0


def run_scoring(
    plan: ScorePlan,
    overwrite: bool = False,
    incremental: bool = False,
    beam_arguments: tuple[str, ...] = (),
    watch: Watch = lambda root, units: nullcontext(),
) -> Scored:
    """Scores everything that a plan says.

    Args:
        plan: of the run.
        overwrite: replace results of another model, other settings or other input.
        incremental: take the results of records that have not changed from those that are there.
        beam_arguments: options for Beam, such as --runner.
        watch: shows progress; gets the directory under construction and the number of units.

    Raises:
        DatasetError: other results are in the way.
        RejectRateError: too many records were refused.
        InputError: there was no record at all.
    """
    began = time.monotonic()
    final = Path(plan.settings.output)
    earlier = read_manifest(final) if final.is_dir() and (incremental or not overwrite) else None
    same = earlier is not None and earlier["scoring_digest"] == plan.scoring_digest
    if earlier is not None and not overwrite:
        if same and earlier["input_digest"] == plan.input_digest:
            return Scored(final, earlier, skipped=True)
        if not incremental:
            raise DatasetError(
                f"{final}: results of {'other input' if same else 'another model or other settings'} are there. Score "
                "what has changed with --incremental, everything with --overwrite, or choose another --output."
            )
    base = earlier if incremental and same else None
    identity = digest(
        [plan.scoring_digest, plan.input_digest, plan.settings.part_records, base and base["input_digest"]]
    )
    with unfinished_directory(final, identity) as building:
        for folder in (STATE, "rejects"):
            (building / folder).mkdir(exist_ok=True)
        complete = read_parts(building)
        output = _output(plan, building, final, base)
        with watch(building, plan.unit_count):
            _score(plan, output, complete, beam_arguments)
        parts = read_parts(building)
        write_rejects(building, parts, plan.headers)
        _check(plan, parts, building, final)
        manifest = write_manifest(building, plan, parts)
    changed = (
        "the model or the settings are others" if incremental and earlier is not None and not same else ""
    )
    return Scored(final, manifest, False, len(complete), changed, time.monotonic() - began)


def _score(plan: ScorePlan, output: Output, complete: list[Part], arguments: tuple[str, ...]) -> None:
    """Runs the pipeline.

    Raises:
        PipelineError: it failed; what was scored is kept.
    """
    try:
        run_pipeline(lambda pipeline: build_graph(pipeline, plan, output, complete), arguments)
    except PipelineError:
        raise
    except Exception as error:  # runners in this process raise what the model or the client raised
        raise PipelineError(
            f"the run stopped: {first_line(error)}\nWhat was scored is kept; the same command continues."
        ) from error


def _output(plan: ScorePlan, building: Path, final: Path, base: dict[str, Any] | None) -> Output:
    settings = plan.settings
    return Output(
        root=str(building.resolve()),
        kind=settings.format,
        by_item=settings.by_item,
        k=settings.k,
        sentences=plan.sentences,
        part_records=settings.part_records,
        earlier=str(final.resolve()) if base else None,
        earlier_parts={int(unit): count for unit, count in base["unit_parts"].items()} if base else {},
    )


def _check(plan: ScorePlan, parts: list[Part], building: Path, final: Path) -> None:
    records, rejects = sum(part.records for part in parts), sum(len(part.rejects) for part in parts)
    if not records:
        raise InputError("there was no record to score: the input is empty.")
    if rejects > plan.settings.max_reject_rate * records:
        kept = final.with_name(f"{final.name}.rejects")
        with new_directory(kept) as folder:
            for file in sorted((building / "rejects").iterdir()):
                (folder / file.name).write_bytes(file.read_bytes())
        reasons = "\n".join(f"  {count:>9,}  {reason}" for reason, count in reject_reasons(parts).items())
        raise RejectRateError(
            f"{rejects:,} of {records:,} records were refused, more than "
            f"--max-reject-rate {plan.settings.max_reject_rate:g} allows:\n{reasons}\n"
            f"They are in {kept}. Correct the input, or allow more: what was scored is kept, and the same command "
            "with a higher rate only publishes it."
        )
