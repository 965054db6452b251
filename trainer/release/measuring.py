"""Everything the gate wants to know of one version, asked in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer import contract
from trainer.errors import ReleaseError
from trainer.export import read_facts
from trainer.indexes.scann import op_modules
from trainer.release import asker
from trainer.release.index_recall import exact_lists
from trainer.release.probes import Failure, Probe, as_request, failure_of
from trainer.release.questions import HeldOut, signature_inputs_of
from trainer.requests_file import write_requests

_BATCH = 32
_SINGLE = 100  # requests of one row whose time is taken
_RECALL = 200  # events whose retrieval is compared with exact search
_MOST_EVENTS = 200  # of a history; models cut longer ones themselves
Ids = npt.NDArray[np.bytes_]


@dataclass(frozen=True)
class Measured:
    """What one version is like.

    Attributes:
        path: The version directory.
        lists: bytes [Q, K] answers of `recommend` to the held-out events; None if none were asked.
        index_recall: Share of the exact best items that `retrieve` finds; None if it cannot be told.
        latencies: Seconds of requests of one row, sorted.
        processor: Seconds that the cores worked for each of them, sorted; other programs do not make these longer.
        memory_bytes: What loading it takes.
        load_seconds: How long loading takes.
        disk_bytes: Size of its files.
        catalogue_size: Items of its index; None for a model that does not say.
        failures: Probes that it does not answer as agreed.
        facts: serving.json.
    """

    path: Path
    lists: Ids | None
    index_recall: float | None
    latencies: npt.NDArray[np.float64]
    processor: npt.NDArray[np.float64]
    memory_bytes: int
    load_seconds: float
    disk_bytes: int
    catalogue_size: int | None
    failures: list[Failure] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def measure(version_dir: Path, held_out: HeldOut | None, probes: Sequence[Probe], k: int) -> Measured:
    """Asks a version everything.

    Args:
        version_dir: A version directory.
        held_out: Events to predict; None = only probes and what the process measures of itself.
        probes: Requests with agreed answers.
        k: Length of the lists whose recall is measured.

    Raises:
        ReleaseError: it does not serve `recommend`, or the process failed.
    """
    inputs = signature_inputs_of(version_dir, "recommend")
    with tempfile.TemporaryDirectory() as scratch:
        requests, answers = Path(scratch) / "requests", Path(scratch) / "answers"
        requests.mkdir()
        answers.mkdir()
        write_requests(
            requests / "probes.tfrecord", (("recommend", as_request(probe, inputs)) for probe in probes)
        )
        if held_out is not None:
            _write_held_out(version_dir, held_out, requests)
        _run(version_dir, requests, answers)
        found = {file.stem: _load(file) for file in answers.glob("*.npz")}
        own = json.loads((answers / "measured.json").read_text())
    facts = read_facts(version_dir)
    return Measured(
        path=version_dir,
        lists=_stacked(found["lists"], contract.ITEM_ID) if held_out is not None else None,
        index_recall=_recall(version_dir, held_out, found, k),
        latencies=_times(found, "seconds"),
        processor=_times(found, "processor"),
        memory_bytes=own["memory_bytes"],
        load_seconds=own["load_seconds"],
        disk_bytes=sum(file.stat().st_size for file in version_dir.rglob("*") if file.is_file()),
        catalogue_size=facts.get("catalogue_size"),
        failures=_failures(probes, found["probes"]),
        facts=facts,
    )


def _write_held_out(version_dir: Path, held_out: HeldOut, folder: Path) -> None:
    def batches(signature: str, size: int, most: int | None = None) -> Any:
        some = held_out if most is None else held_out.sample(most)
        inputs = signature_inputs_of(version_dir, signature)
        return ((signature, request) for request in some.batches(inputs, size, _MOST_EVENTS))

    write_requests(folder / "lists.tfrecord", batches("recommend", _BATCH))
    write_requests(folder / "single.tfrecord", batches("recommend", 1, _SINGLE + 1))
    write_requests(folder / "retrieved.tfrecord", batches("retrieve", _BATCH, _RECALL))
    write_requests(folder / "queries.tfrecord", batches("embed_query", _BATCH, _RECALL))


def _run(version_dir: Path, requests: Path, answers: Path) -> None:
    folders = (str(version_dir), str(requests), str(answers))
    command = [sys.executable, "-I", asker.__file__, *folders, *op_modules(version_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"{version_dir} cannot be used by a fresh process:\n{done.stderr[-2000:]}")


def _times(found: dict[str, dict[str, npt.NDArray[Any]]], kind: str) -> npt.NDArray[np.float64]:
    """Of the requests of one row, without the first, which pays for what is set up late."""
    return np.sort(found["single"][kind][1:]) if "single" in found else np.zeros(0)


def _load(file: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(file, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def _stacked(answers: dict[str, npt.NDArray[Any]], output: str) -> Any:
    """One output of all requests of a file, in their order."""
    return np.concatenate([answers[f"{number}/{output}"] for number in range(len(answers["seconds"]))])


def _recall(
    version_dir: Path, held_out: HeldOut | None, found: dict[str, dict[str, npt.NDArray[Any]]], k: int
) -> float | None:
    if held_out is None:
        return None
    queries = _stacked(found["queries"], contract.EMBEDDING)
    exact = exact_lists(version_dir, queries, held_out.sample(_RECALL).histories(_MOST_EVENTS), k)
    if exact is None:
        stated = read_facts(version_dir).get("index", {}).get("recall")
        return None if stated is None else float(stated)
    retrieved = _stacked(found["retrieved"], contract.ITEM_ID)[:, :k]
    wanted = [set(row) - {b""} for row in exact]
    shares = [len(w & set(r)) / len(w) for w, r in zip(wanted, retrieved, strict=True) if w]
    return float(np.mean(shares)) if shares else None


def _failures(probes: Sequence[Probe], answers: dict[str, npt.NDArray[Any]]) -> list[Failure]:
    failures = []
    for number, probe in enumerate(probes):
        found = [item.decode("utf-8") for item in answers[f"{number}/{contract.ITEM_ID}"][0] if item]
        if failure := failure_of(probe, found):
            failures.append(failure)
    return failures
