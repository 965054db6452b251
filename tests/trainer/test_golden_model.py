"""saved_models/golden answers what docs/savedmodel.md computes by hand: in a server, asked by the client."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs twotower[train]")

from serving.client import RecommenderClient
from serving.server import EmbeddedServer
from trainer.lint.lint import lint

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "saved_models" / "golden"


@pytest.fixture(scope="module")
def client() -> Iterator[RecommenderClient]:
    with (
        EmbeddedServer(model_name="golden", model_base_path=str(GOLDEN), port=0) as server,
        RecommenderClient(server.address, "golden") as asking,
    ):
        yield asking


def pairs(result) -> list[tuple[str, float]]:
    return [(item.item_id, pytest.approx(item.score, abs=1e-6)) for item in result]


def test_it_is_what_its_script_writes() -> None:
    spec = importlib.util.spec_from_file_location("golden_model", ROOT / "scripts" / "golden_model.py")
    assert spec is not None
    assert spec.loader is not None
    golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(golden)
    assert golden.different() == []


def test_a_stock_server_would_load_and_batch_it() -> None:
    assert {finding.severity for finding in lint(GOLDEN / "1")} <= {"note"}
    assert sum(file.stat().st_size for file in GOLDEN.rglob("*") if file.is_file()) < 12_000


def test_after_north(client: RecommenderClient) -> None:
    # The query is (0, 1): products 0.8, 0, 0, -1; a tenth of the popularity 2, 4, 1, 0 is added to rank.
    retrieved, recommended = (
        client.retrieve(["north"], deadline=30.0),
        client.recommend(["north"], deadline=30.0),
    )
    assert pairs(retrieved) == [("northeast", 0.8), ("east", 0.0), ("west", 0.0)]
    assert pairs(recommended) == [("northeast", 1.0), ("east", 0.4), ("west", 0.1)]


def test_history_and_words_together(client: RecommenderClient) -> None:
    # The mean of (0, 1) and (1, 0), plus twice (-1, 0): (-1.5, 0.5).
    result = client.retrieve(["north", "east"], query="west west", deadline=30.0)
    assert pairs(result) == [("west", 1.5), ("south", -0.5), ("northeast", -0.5)] or pairs(result) == [
        ("west", 1.5),
        ("northeast", -0.5),
        ("south", -0.5),
    ]
    assert client.embed_query(["north", "east"], query="west west", deadline=30.0).vector.tolist() == [
        -1.5,
        0.5,
    ]


def test_nothing_known_exclusions_and_categories(client: RecommenderClient) -> None:
    assert pairs(client.recommend(deadline=30.0)) == [("east", 4.0), ("north", 3.0), ("northeast", 2.0)]
    left = client.retrieve(["north"], exclude=["northeast"], allow_category=["axis"], deadline=30.0)
    assert pairs(left) == [("east", 0.0), ("west", 0.0), ("south", -1.0)]
    assert pairs(client.retrieve(["north"], allow_category=["between"], deadline=30.0)) == [
        ("northeast", 0.8)
    ]


def test_rank_similar_and_new_items(client: RecommenderClient) -> None:
    ranked = client.rank(["south", "east", "nowhere"], history=["north"], deadline=30.0)
    assert pairs(ranked) == [("east", 0.4), ("south", -1.0)]
    assert ranked.unknown == ("nowhere",) or list(ranked.unknown) == ["nowhere"]
    assert pairs(client.similar_items("northeast", deadline=30.0)) == [
        ("north", 0.8),
        ("east", 0.6),
        ("west", -0.6),
    ]
    found = client.embed_item({"text": "north by northeast"}, deadline=30.0).vector
    np.testing.assert_allclose(found, [0.6, 1.8], rtol=1e-6)
