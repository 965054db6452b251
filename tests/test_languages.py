# ruff: noqa: RUF001
"""Chinese and Arabic items and queries the whole way: events, dataset, training, export, server, client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("apache_beam", reason="needs twotower[beam]")
pytest.importorskip("tensorflow", reason="needs twotower[train]")

import twotower
from serving.client import RecommenderClient
from serving.server.server import EmbeddedServer
from tests.test_smoke import CONFIG, EVENTS, ITEMS, USERS
from trainer.text_encoder import build_text_encoder, load_text_encoder

pytestmark = pytest.mark.slow

KINDS = ("恐怖電影", "فيلم حزين", "喜剧🎬")
IDS = ("電影", "فيلم", "f")
LETTERS = sorted(set("".join(KINDS)) - {" "})
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", *LETTERS, *(f"##{x}" for x in LETTERS)]


def item(number: int) -> str:
    return f"{IDS[number % 3]}{number % ITEMS}"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The exported model's work directory."""
    folder = tmp_path_factory.mktemp("languages")
    items = [f"{item(number)},{KINDS[number % 3]}" for number in range(ITEMS)]
    (folder / "items.csv").write_text("\n".join(["item,kind", *items]) + "\n", "utf-8")
    events = [
        f"u{user},{item(user + 3 * step)},{1000 + 60 * step},{1 + step % 5}"
        for user in range(USERS)
        for step in range(EVENTS)
    ]
    (folder / "events.csv").write_text("\n".join(["user,item,time,stars", *events]) + "\n", "utf-8")
    encoder = build_text_encoder(VOCABULARY, width=16, layers=1, heads=2, max_tokens=16)
    encoder.backbone.save_to_preset(str(folder / "encoder"))
    encoder.tokenizer.save_to_preset(str(folder / "encoder"))
    settings = CONFIG.format(work=folder).replace("epochs = 1", "epochs = 8\nlearning_rate = 0.01")
    (folder / "languages.toml").write_text(settings.replace('name = "smoke"', 'name = "languages"'), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWOTOWER_CACHE", str(folder / "cache"))
        for command in (["features", "build"], ["train"], ["export"]):
            arguments = [*command, str(folder / "languages.toml")]
            done = CliRunner().invoke(twotower.main, arguments, catch_exceptions=False)
            assert done.exit_code == 0, done.output
        yield folder


@pytest.fixture(scope="module")
def client(work: Path) -> Iterator[RecommenderClient]:
    base = str(work / "saved_models" / "languages")
    with (
        EmbeddedServer(model_name="languages", model_base_path=base, port=0) as server,
        RecommenderClient(server.address, "languages") as connected,
    ):
        yield connected


def test_ids_and_categories_of_any_script_come_back(client: RecommenderClient) -> None:
    everything = {item(number) for number in range(ITEMS)}
    found = client.recommend([item(0)], allow_category=["فيلم حزين"])
    assert {entry.item_id for entry in found.items} == {
        name for name in everything if name.startswith("فيلم")
    }
    ranked = client.rank([item(1), "沒有這個"], [item(0)])
    assert [entry.item_id for entry in ranked.items] == [item(1)]
    assert ranked.unknown == ("沒有這個",)


def test_queries_of_every_script_are_told_apart_and_answered(client: RecommenderClient) -> None:
    everything = {item(number) for number in range(ITEMS)}
    vectors = [client.embed_query(query=f"{kind} film").vector for kind in KINDS]
    for kind, vector in zip(KINDS, vectors, strict=True):
        found = client.recommend(query=f"{kind} film")
        assert {entry.item_id for entry in found.items} <= everything
        assert len(found.items) == 5
        near = [np.abs(vector - other).max() < 1e-3 for other in vectors]
        assert sum(near) == 1  # its own


def test_what_cannot_be_seen_changes_no_answer(client: RecommenderClient) -> None:
    plain = client.embed_query(query="فيلم حزين").vector
    marked = client.embed_query(query="\u202b\u200fفيلم\u00a0حـزين\u202c".replace("ـ", "\u200c")).vector
    np.testing.assert_allclose(plain, marked, atol=1e-5)
    assert np.abs(plain - client.embed_query(query="恐怖電影").vector).max() > 1e-3


@pytest.mark.parametrize("text", ["電影" * 5000, "ا" * 5000, "👩\u200d👩\u200d👧" * 999, "\u0301" * 999])
def test_very_long_texts_are_answered(client: RecommenderClient, text: str) -> None:
    assert np.isfinite(client.embed_query(query=text).vector).all()


def test_the_encoder_on_disk_knows_every_letter(work: Path) -> None:
    encoder = load_text_encoder(str(work / "encoder"), max_tokens=16, max_characters=64)
    vectors = encoder.encode_all(list(KINDS), 3)
    assert len(np.unique(np.round(vectors, 4), axis=0)) == len(KINDS)
