"""A paired test between evaluations that were made at different times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer.evaluation.against import RANKS_FILE, compare_with, find_report
from trainer.evaluation.intervals import paired_comparison
from trainer.evaluation.metrics import ndcg
from trainer.evaluation.queries import EvaluationQueries
from trainer.evaluation.rank_file import KeptRanks, digest_of_queries
from trainer.evaluation.ranking import evaluate
from trainer.evaluation.report import Measured, build_report, write_report

ITEMS = np.random.default_rng(0).integers(0, 9, 200)
QUERIES = EvaluationQueries.from_sequences(ITEMS, np.arange(0, 201, 5), np.full(40, 3))
USERS = np.array([f"u{user}" for user in range(40)], object)
IDS = [f"i{item}" for item in range(9)]


def keep(folder: Path, strength: float, *, exclude_history: bool = True, ids: list[str] = IDS) -> Path:
    """An evaluation of a scorer that knows the target by `strength`; returns its report."""
    noise = np.random.default_rng(7).random((len(QUERIES), 9)).astype(np.float32)
    scores = noise + np.float32(strength) * np.eye(9, dtype=np.float32)[QUERIES.target_items()]
    result = evaluate(QUERIES, lambda a, b: scores[a:b], (2, 5), exclude_history)
    rows = [Measured("two-tower", result, "model"), Measured("baseline", result)]
    report = build_report(
        QUERIES, rows, np.ones(9, int), run={"name": folder.name}, exclude_history=exclude_history
    )
    write_report(report, folder / "evaluation.json")
    ranks = {row.name: row.result.ranks for row in rows}
    digest = digest_of_queries(QUERIES, ids, USERS)
    KeptRanks(digest, QUERIES.sequence, ranks).write(folder / RANKS_FILE)
    return folder / "evaluation.json"


def compare(better: Path, other: Path) -> dict:
    from trainer.evaluation.report import read_report

    return compare_with(read_report(better), KeptRanks.read(better.with_name(RANKS_FILE)), other)


def test_ranks_come_back_as_they_were_written(tmp_path):
    ranks = {"a, b": np.array([1, 40_000, 3]), "c": np.array([2, 2, 2])}
    KeptRanks("d", np.array([0, 0, 1], np.int32), ranks).write(tmp_path / "x" / "r.npz")
    found = KeptRanks.read(tmp_path / "x" / "r.npz")
    assert found.digest == "d"
    assert found.groups.tolist() == [0, 0, 1]
    assert {name: values.tolist() for name, values in found.ranks.items()} == {
        "a, b": [1, 40_000, 3],
        "c": [2, 2, 2],
    }
    assert [file.name for file in (tmp_path / "x").iterdir()] == ["r.npz"]


def test_a_better_model_is_told_from_a_worse_one(tmp_path):
    block = compare(keep(tmp_path / "new", 0.8), keep(tmp_path / "old", 0.2))
    recall, by_ndcg = block["comparisons"]  # the trained model alone, not the baseline
    assert (recall["metric"], by_ndcg["metric"]) == ("recall@2", "ndcg@2")
    new, old = (KeptRanks.read(tmp_path / name / RANKS_FILE).ranks["two-tower"] for name in ("new", "old"))
    expected = paired_comparison(ndcg(new, 2), ndcg(old, 2), QUERIES.sequence)
    assert by_ndcg["difference"] == pytest.approx(ndcg(new, 2).mean() - ndcg(old, 2).mean())
    assert by_ndcg["difference"] > 0
    assert by_ndcg["p_value"] == expected.p_value < 0.01
    assert block["name"] == "old"


def test_a_model_does_not_differ_from_itself(tmp_path):
    file = keep(tmp_path / "same", 0.5)
    for row in compare(file, file)["comparisons"]:
        assert (row["difference"], row["low"], row["high"], row["p_value"]) == (0.0, 0.0, 0.0, 1.0)


def test_other_test_events_are_refused(tmp_path):
    other = keep(tmp_path / "other", 0.5, ids=[f"j{item}" for item in range(9)])
    with pytest.raises(ValueError, match="other test events"):
        compare(keep(tmp_path / "mine", 0.5), other)


def test_the_other_protocol_is_refused(tmp_path):
    other = keep(tmp_path / "other", 0.5, exclude_history=False)
    with pytest.raises(ValueError, match="exclude_history = false, this evaluation has true"):
        compare(keep(tmp_path / "mine", 0.5), other)


def test_an_evaluation_without_ranks_says_what_to_do(tmp_path):
    other = keep(tmp_path / "other", 0.5)
    other.with_name(RANKS_FILE).write_bytes(b"no archive")
    with pytest.raises(ValueError, match="twotower evaluate --overwrite"):
        compare(keep(tmp_path / "mine", 0.5), other)


def test_the_digest_does_not_depend_on_the_order_of_the_catalogue():
    order = np.random.default_rng(1).permutation(9)
    place = np.argsort(order)
    moved = EvaluationQueries.from_sequences(place[ITEMS], QUERIES.row_splits, QUERIES.target_start)
    assert digest_of_queries(moved, [IDS[item] for item in order], USERS) == digest_of_queries(
        QUERIES, IDS, USERS
    )
    assert digest_of_queries(moved, IDS, USERS) != digest_of_queries(QUERIES, IDS, USERS)


def test_an_evaluation_is_found_by_file_folder_or_work_dir(tmp_path):
    file = keep(tmp_path / "work" / "by_time", 0.5)
    for path in (file, file.parent, tmp_path / "work"):
        assert find_report(path, "by_time") == file
    with pytest.raises(ValueError, match="no evaluation to compare with"):
        find_report(tmp_path / "work", "leave_last_out")
