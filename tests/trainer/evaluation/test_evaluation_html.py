from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from trainer.evaluation.embedding_map import project
from trainer.evaluation.examples import Example, pick_examples
from trainer.evaluation.extras import Extras
from trainer.evaluation.html_report import html_report, write_html_report
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import ItemFacts, evaluate
from trainer.evaluation.report import Measured, build_report

COUNTS = np.array([9, 3, 3, 2, 1, 0, 4, 4])
TITLES = [f"Film {letter}" for letter in "ABCDEFGH"]


@pytest.fixture(scope="module")
def queries() -> EvaluationQueries:
    rng = np.random.default_rng(0)
    return EvaluationQueries.from_sequences(rng.integers(0, 8, 160), np.arange(0, 161, 8), np.full(20, 4))


@pytest.fixture(scope="module")
def scores(queries) -> np.ndarray:
    noise = np.random.default_rng(1).random((len(queries), 8)).astype(np.float32)
    return noise + 0.3 * np.eye(8, dtype=np.float32)[queries.target_items()]


@pytest.fixture(scope="module")
def report(queries, scores):
    result = evaluate(queries, lambda a, b: scores[a:b], ks=(2, 4), facts=ItemFacts(COUNTS))
    flat = evaluate(
        queries, lambda a, b: np.zeros((b - a, 8), np.float32), ks=(2, 4), facts=ItemFacts(COUNTS)
    )
    rows = [Measured("<model>", result, "model"), Measured("flat", flat, settings={"depth": 3})]
    found = {"item_effective_rank": 3.5, "item_norm_mean": 1.0, "item_norm_max": 2.0}
    return build_report(queries, rows, COUNTS, run={"protocol": "by_time"}, diagnostics=found)


@pytest.fixture(scope="module")
def page(report) -> str:
    example = Example(("Film A",), "Film <B>", 1, ("Film <B>", "Film C"))
    vectors = np.random.default_rng(0).random((30, 4))
    extras = Extras({"loss": [2.0, 1.0]}, project(vectors, ["x", "y"] * 15), [example], [example])
    kept = json.loads(
        json.dumps({**report, "extras": extras.to_json()})
    )  # the page is drawn from the file alone
    return html_report(kept, "Films & more")


def test_the_page_holds_every_part(page):
    for heading in (
        "Accuracy",
        "By popularity of the wanted item",
        "By length of the history",
        "Differences",
    ):
        assert f"<h2>{heading}</h2>" in page
    for heading in ("Training", "Item vectors", "Lists that hit", "Lists that missed"):
        assert f"<h2>{heading}</h2>" in page
    assert "80 queries of 20 users" in page  # 4 of the 8 events of each user are targets


def test_every_slice_is_a_row_with_its_queries(page, report):
    table = page.partition("<h2>Every slice</h2>")[2].partition("</table>")[0]
    slices = report["models"][0]["slices"]
    for name, cell in slices.items():
        assert f"<td>{name}<br>" in table
        assert f"<td>{cell['queries']:,}</td>" in table
    assert table.count("<tr") == 1 + 2 * len(slices)  # recall and NDCG


def test_signs_of_a_collapse_are_shown(page):
    assert "use 3.5 directions" in page
    lists = page.partition("<h2>Lists beyond accuracy</h2>")[2].partition("</table>")[0]
    assert "top_item_share@2" in lists


def test_the_other_protocol_and_another_model_have_their_tables(queries, scores):
    left_out, kept_in = (
        evaluate(queries, lambda a, b: scores[a:b], ks=(2, 4), exclude_history=out, facts=ItemFacts(COUNTS))
        for out in (True, False)
    )
    report = build_report(queries, [Measured("m", left_out, "model", other_protocol=kept_in)], COUNTS)
    report["against"] = {"file": "x", "comparisons": [comparison(report)]}
    page = html_report(report, "Films")
    assert "<h2>The same with items of the history kept in the ranking</h2>" in page
    assert f"{kept_in.metrics['ndcg@4']:.4f}" in page
    assert "<h2>Against another model</h2>" in page
    assert "m - m, before" in page


def comparison(report) -> dict:
    cell = {"difference": 0.01, "low": 0.0, "high": 0.02, "p_value": 0.04}
    return {"first": "m", "second": "m, before", "metric": "ndcg@2", **cell}


def test_the_page_needs_nothing_else(page):
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=[\"'](?!#)", page)
    assert set(re.findall(r"https?://[\w.]+", page)) <= {"http://www.w3.org"}  # names of SVG's own vocabulary


def test_plots_are_well_formed(page):
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert (
        len(drawings) == 6
    )  # accuracy, recall curve, items, histories, training, map; one kind of user only
    for drawing in drawings:
        ET.fromstring(drawing)  # noqa: S314


def test_names_and_titles_are_escaped(page):
    assert "<title>Films &amp; more</title>" in page
    assert "<h1>Films &amp; more</h1>" in page
    assert "<model>" not in page
    assert "<li class=hit>Film &lt;B&gt;</li>" in page


def test_missing_parts_are_left_out(report):
    page = html_report(report, "Films")
    assert "Training" not in page
    assert "Item vectors" not in page
    assert "Lists that" not in page


def test_the_same_report_gives_the_same_bytes(report, tmp_path):
    for name in ("a.html", "b.html"):
        write_html_report(report, tmp_path / "x" / name, "Films")
    assert (tmp_path / "x" / "a.html").read_bytes() == (tmp_path / "x" / "b.html").read_bytes()
    assert len(list((tmp_path / "x").iterdir())) == 2


def test_examples_show_what_was_ranked(queries, scores):
    ranks = evaluate(queries, lambda a, b: scores[a:b], ks=(2,)).ranks
    good, bad = pick_examples(queries, ranks, lambda a, b: scores[a:b], TITLES, count=3, length=2)
    assert len(good) == 3
    assert all(example.rank <= 3 for example in good)
    assert all(example.rank > 2 for example in bad)
    for example in good + bad:
        assert len(example.history) == 2
        assert (example.wanted in example.shown) == (example.rank <= 2)
        assert not set(example.shown[: example.rank - 1]) & {example.wanted}
    again = pick_examples(queries, ranks, lambda a, b: scores[a:b], TITLES, count=3, length=2)
    assert again == (good, bad)


def test_examples_are_of_different_users():
    queries = EvaluationQueries.from_sequences(np.arange(8), np.array([0, 8]), np.array([0]))
    good, bad = pick_examples(
        queries, np.ones(8, int), lambda a, b: np.zeros((b - a, 8), np.float32), TITLES, count=4, length=3
    )
    assert len(good) == 1
    assert bad == []


def test_projection_finds_the_plane_that_holds_the_points():
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.normal(size=(6, 2)))[0]
    flat = rng.normal(size=(40, 2)) @ plane.T + 5.0
    found = project(flat)
    assert found.explained == pytest.approx(1.0)
    distance = np.linalg.norm(flat[:, None] - flat, axis=-1)
    assert np.linalg.norm(found.points[:, None] - found.points, axis=-1) == pytest.approx(distance)


def test_projection_samples_items_and_merges_rare_groups():
    found = project(
        np.random.default_rng(0).random((50, 3)),
        ["a"] * 30 + ["b"] * 15 + ["c"] * 5,
        max_points=40,
        max_groups=2,
    )
    assert found.points.shape == (40, 2)
    assert set(found.groups) == {"a", "b", "other"}
