from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from trainer.evaluation.files import write_text
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.ranking import EvaluationResult, ItemFacts, evaluate
from trainer.evaluation.report import Measured, build_report, read_report, write_report
from trainer.evaluation.tables import print_report

COUNTS = np.array([9, 3, 3, 2, 1, 0])


@pytest.fixture
def queries() -> EvaluationQueries:
    rng = np.random.default_rng(0)
    return EvaluationQueries.from_sequences(rng.integers(0, 6, 60), np.arange(0, 61, 6), np.full(10, 4))


def measured(name: str, queries: EvaluationQueries, scores: np.ndarray, kind="baseline") -> Measured:
    result = evaluate(queries, lambda a, b: scores[a:b], ks=(2, 4), facts=ItemFacts(COUNTS))
    return Measured(name, result, kind, {"depth": 2}, {"evaluate": 0.5})


@pytest.fixture
def report(queries):
    oracle = np.eye(6, dtype=np.float32)[queries.target_items()]
    noise = np.random.default_rng(1).random((len(queries), 6)).astype(np.float32)
    rows = [measured("oracle", queries, oracle, "model"), measured("noise", queries, noise)]
    return build_report(queries, rows, COUNTS, run={"protocol": "by_time"})


def test_report_holds_every_row_on_the_same_queries(report):
    assert [model["name"] for model in report["models"]] == ["oracle", "noise"]
    assert report["queries"] == {"count": 20, "users": 10, "dropped_targets": 0, "mean_history": 4.5}
    assert report["catalogue"] == {"items": 6, "with_training_events": 5}
    oracle, noise = report["models"]
    assert oracle["metrics"]["ndcg@2"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    cell = noise["metrics"]["recall@2"]
    assert cell["low"] < cell["value"] < cell["high"]
    assert set(noise["metrics"]["coverage@2"]) == {"value"}


def test_the_other_protocol_stands_beside_the_configured_one(queries):
    scores = np.random.default_rng(1).random((len(queries), 6)).astype(np.float32)
    results = [
        evaluate(queries, lambda a, b: scores[a:b], (2, 4), exclude_history=out) for out in (True, False)
    ]
    row = Measured("noise", results[0], "model", other_protocol=results[1])
    model = build_report(queries, [row], COUNTS)["models"][0]
    assert set(model["other_protocol"]) == {
        f"{metric}@{k}" for metric in ("recall", "ndcg", "mrr", "hit_rate") for k in (2, 4)
    }
    cell = model["other_protocol"]["ndcg@4"]
    assert cell["value"] == pytest.approx(results[1].metrics["ndcg@4"])
    assert cell["value"] < model["metrics"]["ndcg@4"]["value"]
    assert cell["low"] < cell["value"] < cell["high"]
    assert (
        "other_protocol" not in build_report(queries, [measured("n", queries, scores)], COUNTS)["models"][0]
    )


def test_slices_add_up_to_the_mean(report):
    for model in report["models"]:
        items = {name: cell for name, cell in model["slices"].items() if name.startswith("item")}
        total = sum(cell["queries"] * cell["ndcg@2"]["value"] for cell in items.values())
        assert sum(cell["queries"] for cell in items.values()) == 20
        assert total / 20 == pytest.approx(model["metrics"]["ndcg@2"]["value"])


def test_the_model_is_compared_with_every_baseline(report):
    recall, ndcg = report["comparisons"]
    assert (recall["metric"], ndcg["metric"]) == ("recall@2", "ndcg@2")
    assert (ndcg["first"], ndcg["second"]) == ("oracle", "noise")
    values = [model["metrics"]["ndcg@2"]["value"] for model in report["models"]]
    assert ndcg["difference"] == pytest.approx(values[0] - values[1])
    assert 0 < ndcg["p_value"] < 0.05


def test_two_models_are_compared_once_with_each_other(queries):
    noise = np.random.default_rng(1).random((3, len(queries), 6)).astype(np.float32)
    kinds = {"a": "model", "b": "model", "c": "baseline"}
    rows = [measured(name, queries, noise[i], kind) for i, (name, kind) in enumerate(kinds.items())]
    pairs = {(row["first"], row["second"]) for row in build_report(queries, rows, COUNTS)["comparisons"]}
    assert pairs == {("a", "b"), ("a", "c"), ("b", "c")}


def test_a_written_report_reads_back_and_nothing_is_left_beside_it(report, tmp_path):
    path = tmp_path / "deep" / "evaluation.json"
    write_report(report, path)
    write_report(report, path)
    assert read_report(path) == report
    assert [entry.name for entry in path.parent.iterdir()] == ["evaluation.json"]


def test_a_failed_write_leaves_the_old_report(report, tmp_path):
    path = tmp_path / "evaluation.json"
    write_report(report, path)
    with pytest.raises(TypeError):
        write_report({**report, "run": {"bad": object()}}, path)
    assert read_report(path) == report
    assert len(list(tmp_path.iterdir())) == 1


def test_a_write_that_breaks_off_leaves_nothing_behind(tmp_path):
    path = tmp_path / "page.html"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps({"format": "twotower-evaluation", "version": 99}))
    with pytest.raises(ValueError, match=r"', 99\), expected .* `twotower evaluate`"):
        read_report(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="not an evaluation report"):
        read_report(path)


def test_rows_must_fit_the_queries(queries):
    short = EvaluationResult(np.ones(3, np.int64), np.zeros(6, np.int64), {}, (2, 4), 2)
    with pytest.raises(ValueError, match="'short' was measured on 3 queries"):
        build_report(queries, [Measured("short", short)], COUNTS)
    with pytest.raises(ValueError, match="different names"):
        build_report(queries, [Measured("a", short), Measured("a", short)], COUNTS)


def test_tables_show_every_model_slice_and_metric(report):
    out = io.StringIO()
    print_report(report, Console(file=out, width=200), "by_time")
    text = out.getvalue()
    assert "by_time: 20 queries of 10 users, 6 items ranked, items of the history left out" in text
    for expected in ("oracle", "noise", "NDCG@4", "Coverage@2", "Novelty@2", "item: cold", "oracle - noise"):
        assert expected in text
    assert f"{report['models'][1]['metrics']['recall@2']['value']:.4f} ±" in text


def test_the_other_protocol_and_another_model_are_printed(queries):
    scores = np.random.default_rng(1).random((len(queries), 6)).astype(np.float32)
    left_out, kept_in = (
        evaluate(queries, lambda a, b: scores[a:b], (2, 4), exclude_history=out, facts=ItemFacts(COUNTS))
        for out in (True, False)
    )
    report = build_report(queries, [Measured("m", kept_in, "model", other_protocol=left_out)], COUNTS)
    assert report["comparisons"] == []
    cell = {"difference": -0.0125, "low": -0.02, "high": 0.0, "p_value": 0.04}
    rows = [{"first": "m", "second": "m, before", "metric": "ndcg@2", **cell}]
    report["against"] = {"file": "runs/before/evaluation.json", "comparisons": rows}
    out = io.StringIO()
    print_report(
        {**report, "settings": {**report["settings"], "exclude_history": False}}, Console(file=out, width=200)
    )
    text = out.getvalue()
    assert "items of the history kept in\n" in text
    assert "The same, items of the history left out (± = 95% interval by user)" in text
    assert f"{left_out.metrics['ndcg@4']:.4f} ±" in text
    assert "Against runs/before/evaluation.json" in text
    assert "-0.0125" in text


def test_a_collapse_shows_in_the_share_of_the_item_shown_most(queries):
    alike = np.tile(np.arange(6, dtype=np.float32), (len(queries), 1))
    results = [
        evaluate(queries, lambda a, b, s=scores: s[a:b], (2,), exclude_history=False)
        for scores in (alike, np.random.default_rng(1).random((len(queries), 6)).astype(np.float32))
    ]
    assert results[0].metrics["top_item_share@2"] == 1.0  # everybody gets items 5 and 4
    assert results[1].metrics["top_item_share@2"] == results[1].exposure.max() / len(queries) < 1.0
