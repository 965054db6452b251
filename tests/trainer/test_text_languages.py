# ruff: noqa: RUF001
"""Word pieces of many scripts: made here, made in a saved graph, and made by Hugging Face's tokenizer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainer.errors import ConfigError
from trainer.keras_compat import tf
from trainer.text_encoder import TextEncoder, build_text_encoder, load_text_encoder

tokenizers = pytest.importorskip("tokenizers", reason="the reference; needs twotower[dev]")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHINESE = "我喜歡看電影恐怖喜剧的是不"
ARABIC = "فيلمحزينمضحكرعب"
HEBREW = "סרטמצחיק"
OTHERS = "абвfilmnewéüñcreatord0123456789🎬👩👧❤ひらがなカタナ한국ßος"
MARKS = "!?,.:;-()\"'«»،؟。「」€+"
INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u202b\u202c\u2066\ufeff\u00ad\x00\x07\ufffd"
SPACES = " \t\n\r\u00a0\u3000\u2009\u2028"
ACCENTS = "\u0301\u0308\u064b\u0650\u05b4"
LETTERS = CHINESE + ARABIC + HEBREW + OTHERS
TEXTS = [
    "我喜歡看電影",
    "恐怖film的 new",
    "فيلم حزين، مضحك؟",
    "فِيلْم",  # with vowel signs, which are marks without width
    "\u202bفيلم\u202c رعب\u200f!",  # embedded right to left
    "סרט מצחיק (new)",
    "🎬 film 👩\u200d👩\u200d👧 ❤\ufe0f",
    "new\u00a0film\u3000電影",
    "Çréátor FILM",
    "ßο ος İI",
    "한국 ひらがな カタカナ",
    "😱",  # no such piece
    "film " * 300,
    "電影" * 300,
    "ا" * 300,  # a word that is too long to be split
    "",
]


def _vocabulary() -> list[str]:
    import unicodedata

    plain = "".join(
        c for c in unicodedata.normalize("NFD", LETTERS.lower()) if unicodedata.category(c) != "Mn"
    )
    letters = sorted(set(plain))
    words = ["film", "new", "##tor", "فيلم", "حزين", "##ين", "סרט"]
    return [*SPECIAL, *letters, *sorted(set(MARKS)), *(f"##{letter}" for letter in letters), *words]


VOCABULARY = _vocabulary()
REFERENCE = tokenizers.BertWordPieceTokenizer(
    {piece: place for place, piece in enumerate(VOCABULARY)}, strip_accents=True, lowercase=True
)


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return build_text_encoder(VOCABULARY, width=8, layers=1, heads=2, max_tokens=512)


@pytest.fixture(scope="module")
def live(encoder: TextEncoder) -> Any:
    return tf.function(encoder.pack, input_signature=[tf.TensorSpec([None], tf.string)])


def reference(text: str) -> list[int]:
    pieces: list[int] = REFERENCE.encode(text, add_special_tokens=False).ids
    return [VOCABULARY.index("[CLS]"), *pieces[:510], VOCABULARY.index("[SEP]")]


def test_pieces_are_those_of_the_reference(live: Any) -> None:
    for text, came in zip(TEXTS, live(tf.constant(TEXTS)).to_list(), strict=True):
        assert came == reference(text), text
    known = [row.count(VOCABULARY.index("[UNK]")) for row in live(tf.constant(TEXTS)).to_list()]
    assert known == [0] * 11 + [1, 0, 0, 1, 0]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.text(LETTERS + MARKS + INVISIBLE + SPACES + ACCENTS + "😱", max_size=40), min_size=1, max_size=8
    )
)
@example(["a\u200bb", "\u00a0", "\u0301", "\x00film"])
def test_any_text_has_the_pieces_of_the_reference(live: Any, texts: list[str]) -> None:
    assert live(tf.constant(texts)).to_list() == [reference(text) for text in texts]


def test_a_saved_graph_makes_the_same_pieces(encoder: TextEncoder, tmp_path: Path) -> None:
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="text")

    def dense(text: Any) -> dict[str, Any]:
        return {"pieces": encoder.pack(text).to_tensor(default_value=-1)}

    module.pack = tf.function(dense, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.pack})
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path)).signature_def[
            "serving_default"
        ]
        rows = session.run(signature.outputs["pieces"].name, {signature.inputs["text"].name: TEXTS})
    assert [row[row >= 0].tolist() for row in rows] == [reference(text) for text in TEXTS]


def test_a_text_can_be_read_back_from_its_pieces(live: Any) -> None:
    """Nothing of these is lost but case, accents, spaces and invisible characters."""
    for text, plain in (
        ("我喜歡看電影", "我 喜 歡 看 電 影"),
        ("فِيلْم حزين، مضحك؟", "فيلم حزين ، مضحك ؟"),
        ("\u202bסרט\u202c מצחיק!", "סרט מצחיק !"),
        ("👩\u200d👧 FILM", "👩👧 film"),
    ):
        (pieces,) = live(tf.constant([text])).to_list()
        words = " ".join(VOCABULARY[piece] for piece in pieces[1:-1]).replace(" ##", "")
        assert words == plain


def test_direction_marks_and_joiners_change_no_vector(encoder: TextEncoder) -> None:
    plain, marked = encoder.encode_all(["فيلم حزين", "\u200fفيلم\u200e \u202bحز\u200cين\u202c"], 2)
    np.testing.assert_allclose(plain, marked, atol=1e-6)
    assert np.abs(plain - encoder.encode_all(["恐怖電影"], 1)[0]).max() > 1e-3


def test_a_kerashub_preset_is_found_by_its_name(
    encoder: TextEncoder, tmp_path: Path, monkeypatch: Any
) -> None:
    """`bert_base_multi` as Kaggle's client keeps it after a download; no network is asked."""
    from keras_hub.src.utils.preset_utils import BUILTIN_PRESETS

    handle = BUILTIN_PRESETS["bert_base_multi"]["kaggle_handle"].removeprefix("kaggle://")
    owner, model, framework, variation, version = handle.split("/")
    kept = tmp_path / "models" / owner / model / framework / variation / version
    encoder.backbone.save_to_preset(str(kept))
    encoder.tokenizer.save_to_preset(str(kept))
    for file in [file for file in kept.rglob("*") if file.is_file()]:
        marker = kept.parent / ".complete" / version / f"{file.relative_to(kept)}.complete"
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    loaded = load_text_encoder("bert_base_multi", max_tokens=512, max_characters=4096)
    assert loaded.digest() == encoder.digest()


def test_a_preset_of_another_family_is_refused(tmp_path: Path, encoder: TextEncoder) -> None:
    encoder.backbone.save_to_preset(str(tmp_path))
    config = (
        (tmp_path / "config.json")
        .read_text()
        .replace("BertBackbone", "GPT2Backbone")
        .replace(">Bert", ">GPT2")
    )
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ConfigError, match="Cannot load a BERT"):
        load_text_encoder(str(tmp_path), max_tokens=16, max_characters=64)


@pytest.mark.slow
@pytest.mark.skipif(
    "TWOTOWER_ENCODER" not in os.environ, reason="set TWOTOWER_ENCODER to the folder of `twotower fetch`"
)
def test_the_packaged_minilm_is_written_as_it_came(tmp_path: Path) -> None:
    """Reading the fetched folder and writing it again gives the same tensors, bit by bit."""
    from safetensors.numpy import load_file

    from trainer.distill.hugging_face import write_hugging_face

    came = Path(os.environ["TWOTOWER_ENCODER"])
    write_hugging_face(load_text_encoder(str(came), max_tokens=64, max_characters=2048), tmp_path / "again")
    first, again = load_file(came / "model.safetensors"), load_file(tmp_path / "again" / "model.safetensors")
    shared = [name for name in first if name in again]
    assert len(shared) == len(again)
    for name in shared:
        np.testing.assert_array_equal(first[name], again[name])
