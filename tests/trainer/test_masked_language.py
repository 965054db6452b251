"""Words that BERT puts in the place of others, with a head and without."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.trainer.conftest import VOCABULARY
from trainer.distill.hugging_face import write_hugging_face
from trainer.errors import ConfigError
from trainer.keras_compat import tf
from trainer.masked_language import MaskedHead, MaskedLanguageModel, read_head
from trainer.text_encoder import build_text_encoder, load_text_encoder

RNG = np.random.default_rng(0)
TEXTS = ["a funny film", "Dark title, new FILM!", "film", "", "i12 i1"]
WORDS = {"film", "title", "new", "funny", "sad", "dark"}


def head(width: int) -> MaskedHead:
    return MaskedHead(
        *(RNG.normal(size=size).astype(np.float32) for size in ((width, width), width, width, width)),
        RNG.normal(size=len(VOCABULARY)).astype(np.float32),
    )


def test_words_are_replaced_by_other_whole_words(encoder):
    model = MaskedLanguageModel(encoder, None)
    out = model.substituted(TEXTS, 0.9, 3, range(len(TEXTS)))
    assert out == model.substituted(TEXTS, 0.9, 3, range(len(TEXTS)))
    assert out[2:] == TEXTS[2:]  # a single word stays, no text stays, and what has digits is not replaced
    first, second = out[0].split(), out[1].replace(",", " ,").replace("!", " !").split()
    assert first[0] == "a"  # too short to be replaced
    assert {first[1], first[2]} <= WORDS
    assert first[1] != "funny"
    assert first[2] != "film"
    assert [second[2], second[5]] == [",", "!"]
    assert {word.lower() for word in second if word.isalpha()} <= WORDS
    assert out[1][0].isupper()
    assert out[1].rstrip("!").split()[-1].isupper()
    assert out != model.substituted(TEXTS, 0.9, 3, range(10, 10 + len(TEXTS)))


def test_the_likeliest_word_is_what_the_head_says(encoder):
    width = encoder.width
    mine = head(width)
    model = MaskedLanguageModel(encoder, mine)
    # By definition: the masked piece's state through dense, gelu and normalization, times the embeddings.
    ids = [VOCABULARY.index(piece) for piece in ("[CLS]", "a", "[MASK]", "film", "[SEP]")]
    state = encoder.bert(tf.ragged.constant([ids], tf.int32)).numpy()[2]
    x = state @ mine.kernel + mine.bias
    x = np.asarray(tf.nn.gelu(x))
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-12) * mine.scale + mine.offset
    scores = x @ encoder.backbone.token_embedding.embeddings.numpy().T + mine.output_bias
    allowed = [number for number, piece in enumerate(VOCABULARY) if piece in WORDS]
    best = sorted(allowed, key=lambda number: -scores[number])
    likeliest = next(VOCABULARY[number] for number in best if VOCABULARY[number] != "sad")
    # Of "a sad film" one word is replaced at this share; seeds that draw the first long word.
    found = {text for seed in range(6) for text in model.substituted(["a sad film"], 0.1, 1, [seed])}
    assert f"a {likeliest} film" in found


def test_a_head_is_read_from_a_folder_that_has_one(encoder, tmp_path):
    write_hugging_face(encoder, tmp_path / "plain")
    assert read_head(tmp_path / "plain") is None
    assert read_head(tmp_path) is None  # no such file
    mine = head(encoder.width)
    names = (
        "transform.dense.weight",
        "transform.dense.bias",
        "transform.LayerNorm.weight",
        "transform.LayerNorm.bias",
        "bias",
    )
    tensors = load_file(tmp_path / "plain" / "model.safetensors")
    values = (np.ascontiguousarray(mine.kernel.T), *mine[1:])
    tensors |= {f"cls.predictions.{name}": value for name, value in zip(names, values, strict=True)}
    save_file(tensors, tmp_path / "plain" / "model.safetensors", metadata={"format": "pt"})
    for came, expected in zip(read_head(tmp_path / "plain"), mine, strict=True):
        np.testing.assert_array_equal(came, expected)
    loaded = load_text_encoder(str(tmp_path / "plain"), max_tokens=16, max_characters=200)
    assert json.loads((tmp_path / "plain" / "config.json").read_text())["hidden_size"] == loaded.width
    model = MaskedLanguageModel.of(loaded, str(tmp_path / "plain"))
    assert model.substituted(TEXTS, 0.5, 2, range(5)) == MaskedLanguageModel(encoder, mine).substituted(
        TEXTS, 0.5, 2, range(5)
    )


def test_long_texts_are_cut_and_what_is_cut_off_stays_as_it_is(encoder):
    text = " ".join(["film"] * 40)  # of 14 word pieces at most
    out = MaskedLanguageModel(encoder, None).substituted([text], 0.9, 2, [1])[0].split()
    assert len(out) == 40
    assert out[14:] == ["film"] * 26
    assert out[:14] != ["film"] * 14


def test_a_vocabulary_without_words_is_refused():
    pieces = build_text_encoder(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b"], width=4, layers=1, heads=1
    )
    with pytest.raises(ConfigError, match="no whole words"):
        MaskedLanguageModel(pieces, None)
