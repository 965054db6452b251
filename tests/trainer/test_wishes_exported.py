# ruff: noqa: RUF001 - Chinese has marks of its own
"""Negated words and several wishes, asked of models as callers ask them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from serving.client import ClientSettings, RecommenderClient, UserQuery
from serving.server import EmbeddedServer
from tests.trainer.conftest import TINY, VOCABULARY
from tests.trainer.dataset_writer import WORDS, checkerboard
from trainer.config import load_config
from trainer.keras_compat import tf
from trainer.text_encoder import build_text_encoder
from trainer.train_config import QueryTextConfig
from trainer.wishes import split_wishes, wish_vectors

DRAMAS = {f"i{number}" for number in range(1, 24, 3)}
STRENGTH = QueryTextConfig().unwanted
CHINESE = dict(zip(WORDS, ("好笑", "悲伤", "恐怖"), strict=True))


@pytest.fixture(scope="module")
def client(exported: Path) -> Any:
    with (
        EmbeddedServer(model_name="tiny", model_base_path=str(exported.parent), port=0) as server,
        RecommenderClient(server.address, "tiny", ClientSettings(deadline=120.0)) as client,
    ):
        yield client


def scores(client: RecommenderClient, query: Any, history: tuple[str, ...] = ()) -> dict[str, float]:
    """Retrieval scores of the whole catalogue, from the vectors of query and items."""
    found = client.retrieve_batch([UserQuery(history, query=query, allow=[item]) for item in CATALOGUE])
    return {one.item_id: one.score for items in found for one in items.items}


CATALOGUE = [f"i{number}" for number in range(24)]


def mean_gap(scored: dict[str, float]) -> float:
    """How much better dramas are scored than the others."""
    of = [
        np.mean([score for item, score in scored.items() if (item in DRAMAS) == wanted]) for wanted in (1, 0)
    ]
    return float(of[0] - of[1])


def gaps(first: dict[str, float], second: dict[str, float]) -> list[float]:
    """By how much each item is scored better in the first."""
    return [first[item] - second[item] for item in CATALOGUE[3:]]  # the others are in histories


def test_unwanted_words_take_away_what_they_alone_bring_to_a_stranger(client: RecommenderClient) -> None:
    def vector(text: str, history: tuple[str, ...] = ()) -> Any:
        return client.embed_query(history, query=text).vector

    wish, unwanted = vector("a film") - vector(""), vector("sad") - vector("")
    alone = unwanted - wish * max(0.0, float(unwanted @ wish / (wish @ wish)))
    assert np.abs(alone).max() > 1e-3
    for history in ((), ("i0", "i2")):
        for text in ("a film, not sad", "a film, 不要 sad", "a film -sad"):
            taken = vector("a film", history) - vector(text, history)
            np.testing.assert_allclose(taken, STRENGTH * alone, atol=1e-5)


def test_only_what_is_not_wanted_may_be_said(client: RecommenderClient) -> None:
    spared = gaps(scores(client, "-sad", ("i0", "i2")), scores(client, "-dark", ("i0", "i2")))
    strangers = gaps(scores(client, "sad"), scores(client, "dark"))
    np.testing.assert_allclose(spared, [-STRENGTH * gap for gap in strangers], atol=1e-4)


def test_several_wishes_each_count(client: RecommenderClient) -> None:
    one, other = scores(client, "a sad film"), scores(client, "a dark film")
    assert scores(client, ["a sad film", ""]) == one == scores(client, ("a sad film",))
    two, turned = scores(client, ["a sad film", "a dark film"]), scores(client, ["a dark film", "a sad film"])
    np.testing.assert_allclose(gaps(two, turned), 0, atol=1e-5)
    assert min(np.ptp(gaps(two, one)), np.ptp(gaps(two, other))) > 1e-4
    spared = scores(client, ["a dark film", "not sad"])
    np.testing.assert_allclose(gaps(spared, scores(client, "a dark film, not sad")), 0, atol=1e-5)


def test_wishes_of_other_rows_do_not_matter(client: RecommenderClient) -> None:
    rows = [UserQuery(query=query) for query in ("a sad film", ["a sad film", "dark", "funny"], "")]
    together = client.retrieve_batch(rows)
    alone = [client.retrieve_batch([row])[0] for row in rows]
    assert [row.item_ids for row in together] == [row.item_ids for row in alone]


def test_chinese_and_mixed_wishes_are_read_by_their_parts() -> None:
    letters = sorted({letter for text in CHINESE.values() for letter in text} | set("我要一部手机苹果的电影"))
    encoder = build_text_encoder([*VOCABULARY, *letters], width=8, layers=1, heads=2, max_tokens=16)
    texts = ["我要一部手机，不要苹果", "a film 的电影，不要恐怖", "funny 电影\x1e不要悲伤的 film"]
    wishes = split_wishes(tf.constant(texts))
    vectors = wish_vectors(wishes, lambda found: tf.constant(encoder.encode_all(found.numpy().tolist(), 8)))
    parts = ["我要一部手机", "a film 的电影", "funny 电影", "film", "苹果", "恐怖", "悲伤"]
    alone = encoder.encode_all(parts, 8)
    np.testing.assert_allclose(vectors.wanted[:, 0], alone[:3], atol=1e-5)
    np.testing.assert_allclose(vectors.wanted[2, 1], alone[3], atol=1e-5)
    np.testing.assert_allclose(vectors.unwanted, alone[4:], atol=1e-5)
    assert all(np.abs(alone[row] - alone[:row]).max(axis=1).min() > 1e-2 for row in range(1, 7))


@pytest.mark.slow
def test_a_model_of_chinese_texts_leaves_out_what_is_not_wanted(tmp_path: Path) -> None:
    """Texts in two languages, half of the wishes from two views, words compared as well."""
    from trainer.export import export
    from trainer.training import train

    data = checkerboard()
    data.write(tmp_path / "leave_last_out" / "dataset")
    for file in (tmp_path / "leave_last_out" / "dataset" / "items").glob("*"):
        _translate(file)
    letters = sorted({letter for text in CHINESE.values() for letter in text})
    encoder = build_text_encoder([*VOCABULARY, *letters], width=8, layers=1, heads=2, max_tokens=16)
    encoder.backbone.save_to_preset(str(tmp_path / "encoder"))
    encoder.tokenizer.save_to_preset(str(tmp_path / "encoder"))
    settings = TINY.replace("embedding_dim = 16", "embedding_dim = 16\nlexical_width = 64")
    settings = settings.replace("rate = 0.5", "rate = 0.5\nseveral = 0.5")
    (tmp_path / "tiny.toml").write_text(settings.format(work=tmp_path))
    config, console = load_config(tmp_path / "tiny.toml"), Console(quiet=True)
    train(config, "leave_last_out", console)
    version = export(config, "leave_last_out", console)  # compares every signature with the live model
    with (
        EmbeddedServer(model_name="tiny", model_base_path=str(version.parent), port=0) as server,
        RecommenderClient(server.address, "tiny", ClientSettings(deadline=120.0)) as client,
    ):
        plain, spared, asked = (
            mean_gap(scores(client, text)) for text in ("film", "film，不要悲伤的", "悲伤 film")
        )
    assert spared < plain < asked


def _translate(file: Path) -> None:
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    records = [
        bytes(record.numpy()) for record in tf.data.TFRecordDataset(str(file), compression_type="GZIP")
    ]
    with tf.io.TFRecordWriter(str(file), options) as writer:
        for record in records:
            example = tf.train.Example.FromString(record)
            (text,) = example.features.feature["text"].bytes_list.value
            translated = text.decode()
            for word, chinese in CHINESE.items():
                translated = translated.replace(word, chinese)
            example.features.feature["text"].bytes_list.value[:] = [translated.encode()]
            writer.write(example.SerializeToString())
