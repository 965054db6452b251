"""The same users, asked three ways: the live Keras model, the SavedModel in a fresh process, the client over gRPC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("tensorflow", reason="needs twotower[train,server]")

from serving.client import RecommenderClient, Route, UserQuery
from serving.server import EmbeddedServer
from trainer import contract
from trainer.config import ProjectConfig
from trainer.dataset import DatasetDirectory
from trainer.live import LiveModel
from trainer.probes import Arrays, Probes
from trainer.run import RunDirectory
from trainer.sequences import load_sequences
from trainer.signatures import signature_inputs
from trainer.training import load_best
from trainer.verification import ask_stranger
from trainer.warmup import write_warmup
from trainer.workbench import Workbench

USERS = 64
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def bench(trained: ProjectConfig) -> Workbench:
    bench = Workbench.open(
        trained, DatasetDirectory.open(trained.dataset_dir("leave_last_out")), Console(quiet=True)
    )
    load_best(bench.model, trained.train, RunDirectory(trained.run_dir("leave_last_out")))
    return bench


@pytest.fixture(scope="module")
def probes(bench: Workbench) -> Probes:
    test = load_sequences(bench.dataset, "test", bench.preparation.catalogue)
    return Probes(bench.preparation, test, signature_inputs(bench.model, bench.preparation.item_text))


@pytest.fixture(scope="module")
def live(bench: Workbench, probes: Probes, trained: ProjectConfig) -> Arrays:
    model = LiveModel(bench, trained.export.k, trained.train.model.history.max_length)
    return model.answer("recommend", probes.of("recommend", USERS))


def same_lists(first: Arrays, second: Arrays) -> None:
    """Scores to the tolerance; ids wherever neighbouring scores differ by more than it."""
    scores, others = first[contract.SCORE], second[contract.SCORE]
    np.testing.assert_allclose(scores, others, rtol=TOLERANCE, atol=TOLERANCE)
    with np.errstate(invalid="ignore"):
        apart = np.abs(np.diff(scores, axis=1)) > 4 * TOLERANCE * np.maximum(1.0, np.abs(scores[:, 1:]))
    edge = np.ones((len(scores), 1), bool)
    distinct = np.hstack([edge, apart]) & np.hstack([apart, edge])
    distinct[:, -1] = False  # who follows the last place may share its score
    assert distinct.mean() > 0.5, "too many ties for the comparison to mean something"
    np.testing.assert_array_equal(
        first[contract.ITEM_ID].astype("S")[distinct], second[contract.ITEM_ID].astype("S")[distinct]
    )


def test_live_model_and_a_fresh_process_agree(
    exported: Path, probes: Probes, live: Arrays, tmp_path: Path
) -> None:
    write_warmup(tmp_path / "requests", probes, ["recommend"], [USERS])
    answers = ask_stranger(exported, tmp_path / "requests", tmp_path)
    for route in ("code", "server"):
        same_lists(live, {name: answers[f"{route}/0/{name}"] for name in (contract.ITEM_ID, contract.SCORE)})


def test_live_model_and_the_client_over_grpc_agree(exported: Path, probes: Probes, live: Arrays) -> None:
    with (
        EmbeddedServer(model_name="tiny", model_base_path=str(exported.parent), port=0) as server,
        RecommenderClient(server.address, model="tiny") as client,
    ):
        answers = client.recommend_batch(
            queries_of(probes.of("recommend", USERS)), route=Route(version=int(exported.name))
        )
    ids = np.full(live[contract.ITEM_ID].shape, b"", dtype=object)
    scores = np.full(live[contract.SCORE].shape, -np.inf, np.float32)
    for row, answer in enumerate(answers):
        for place, found in enumerate(answer):
            ids[row, place], scores[row, place] = found.item_id.encode(), found.score
    same_lists(live, {contract.ITEM_ID: ids, contract.SCORE: scores})


def queries_of(inputs: Arrays) -> list[UserQuery]:
    """Raw signature inputs as a service would say them."""
    texts = {
        name: [[part.decode() for part in row] for row in inputs[name]]
        for name in inputs
        if inputs[name].ndim == 2
    }
    return [
        UserQuery(
            history=[item for item in texts[contract.HISTORY_ITEM_ID][row] if item],
            query=inputs[contract.QUERY][row].decode(),
            user={"gender": inputs["gender"][row].decode(), "age": float(inputs["age"][row])},
            exclude=[item for item in texts[contract.EXCLUDE_ITEM_ID][row] if item],
            allow=[item for item in texts[contract.ALLOW_ITEM_ID][row] if item],
            allow_category=[name for name in texts[contract.ALLOW_CATEGORY][row] if name],
            block_category=[name for name in texts[contract.BLOCK_CATEGORY][row] if name],
            max_per_category=int(inputs[contract.MAX_PER_CATEGORY][row]),
            min_score=_number(inputs[contract.MIN_SCORE][row]),
            one_per_variant=bool(inputs[contract.ONE_PER_VARIANT][row]),
            diversity=_number(inputs[contract.DIVERSITY][row]),
            exploration=_number(inputs[contract.EXPLORATION][row]),
            seed=int(inputs[contract.SEED][row]),
        )
        for row in range(len(inputs[contract.QUERY]))
    ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
