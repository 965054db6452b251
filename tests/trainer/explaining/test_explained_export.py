"""`explain` from an export to a server, to the client, and through another catalogue."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.trainer.explaining.test_explained_graph import explain
from trainer.config import ProjectConfig
from trainer.keras_compat import tf

pytestmark = pytest.mark.slow
KEYWORDS = "i0\tDrama\tsad film\ni2\t\tdark\n"


@pytest.fixture(scope="module")
def exported(trained: ProjectConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with the signature; the export compares it with the live model."""
    from trainer.export import export

    folder = tmp_path_factory.mktemp("explained")
    (trained.dataset_dir("leave_last_out") / "keywords.tsv").write_text(KEYWORDS)
    wanted = trained.export.model_copy(update={"explanations": True, "directory": folder})
    return export(trained.model_copy(update={"export": wanted}), "leave_last_out", Console(quiet=True))


@pytest.fixture(scope="module")
def loaded(exported: Path) -> Any:
    return tf.saved_model.load(str(exported))


def test_the_graph_knows_the_query_side_once(exported: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes())
    names = [f.signature.name for f in model.meta_graphs[0].graph_def.library.function]
    assert len([name for name in names if "compute_query_side" in name]) == 1
    assert len([name for name in names if "encode_texts" in name]) == 1


def test_keywords_come_along(exported: Path) -> None:
    assert (exported / "assets.extra" / "keywords.tsv").read_text() == KEYWORDS


def test_descriptions_follow_a_new_catalogue(exported: Path, tmp_path: Path) -> None:
    from trainer.refresh.refresh import RefreshOptions, refresh

    shutil.copytree(exported, tmp_path / "tiny" / "1")
    items = tmp_path / "items.jsonl"
    items.write_text(
        '{"item_id": "n1", "title": "Title n1", "text": "a sad film", "genre": ["Drama"], "year": 1999}\n'
    )
    version = refresh(tmp_path / "tiny", items, RefreshOptions(only_changes=True), Console(quiet=True))
    answer = explain(tf.saved_model.load(str(version)), [["i0", "i2"]], [""], [["n1", "i6"]])
    assert answer["item_word"][0, 0].tolist() == [b"a", b"sad", b"film", b""]
    assert answer["item_word"][0, 1].tolist() == [b"a", b"funny", b"film", b"i6"]
    assert np.nanmax(answer["completeness_error"]) < 1e-4


def test_the_client_over_grpc_says_the_same(exported: Path, loaded: Any) -> None:
    from serving.client import ClientSettings, RecommenderClient, UserQuery
    from serving.client.contributions import contributions
    from serving.server import EmbeddedServer

    histories, queries = [["i0", "i2", "i4"], ["i1", "", ""]], ["a dark film", ""]
    direct = explain(loaded, histories, queries, [["i6", "i7"], ["new", ""]])
    user = {"gender": "F", "age": 30.0}
    asked = [
        UserQuery([item for item in history if item], query=query, user=user)
        for history, query in zip(histories, queries, strict=True)
    ]
    with (
        EmbeddedServer(model_name="tiny", model_base_path=str(exported.parent), port=0) as server,
        RecommenderClient(server.address, "tiny", ClientSettings(deadline=120.0)) as client,
    ):
        answers = client.explain_batch([["i6", "i7"], ["new"]], asked)
    for row, answer in enumerate(answers):
        for place, one in enumerate(answer):
            assert float(one.parts["score"]) == pytest.approx(direct["score"][row, place], abs=1e-5)
            found = {(part.kind, part.name): part.value for part in contributions(one)}
            for kind, names in (("history", "history_item_id"), ("query_word", "query_word")):
                expected = zip(
                    direct[names][row, place], direct[f"{kind}_contribution"][row, place], strict=True
                )
                for name, value in expected:
                    if name:
                        assert found[kind, name.decode()] == pytest.approx(value, abs=1e-4)
