from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.conftest import VOCABULARY
from trainer.errors import ConfigError
from trainer.keras_compat import tf
from trainer.text_encoder import TextEncoder, build_text_encoder, is_text, load_text_encoder

ID = {piece: row for row, piece in enumerate(VOCABULARY)}
TEXTS = ["a funny film", "", "film", "a sad film title i0", "new dark film a funny film a sad film i12"]


def encode(encoder: TextEncoder, texts: list[str]) -> np.ndarray:
    return encoder._compiled.encode(tf.constant(texts)).numpy()


@functools.cache
def packer(encoder: TextEncoder):
    return tf.function(encoder.pack, input_signature=[tf.TensorSpec([None], tf.string)])


def pack(encoder: TextEncoder, *texts: str) -> list[list[int]]:
    return packer(encoder)(tf.constant(texts)).to_list()


def ids(*pieces: str) -> list[int]:
    return [ID[piece] for piece in pieces]


def test_packing_by_hand(encoder):
    assert pack(encoder, "A sad film", "i02", "unheard") == [
        ids("[CLS]", "a", "sad", "film", "[SEP]"),
        ids("[CLS]", "i", "##0", "##2", "[SEP]"),
        ids("[CLS]", "[UNK]", "[SEP]"),
    ]


def test_long_texts_are_cut_and_still_closed(encoder):
    assert pack(encoder, "film " * 40) == [ids("[CLS]") + ids("film") * 14 + ids("[SEP]")]  # max_tokens = 16


def test_characters_are_cut_before_pieces(encoder):
    short = TextEncoder(encoder.tokenizer, encoder.backbone, max_tokens=16, max_characters=6)
    assert pack(short, "a film title") == [ids("[CLS]", "a", "film", "[SEP]")]
    # Characters, not bytes: six two-byte letters before the cut.
    assert pack(short, "é" * 6 + " film") == [ids("[CLS]", "[UNK]", "[SEP]")]


def test_never_longer_than_the_bert_was_made_for(encoder):
    assert TextEncoder(encoder.tokenizer, encoder.backbone, max_tokens=512, max_characters=9).max_tokens == 16


def test_an_empty_text_is_the_zero_vector(encoder):
    vectors = encode(encoder, ["", " \t\n ", "a film"])
    assert not vectors[:2].any()
    assert vectors[2].any()
    assert is_text(tf.constant(["", "  ", "x"])).numpy().tolist() == [False, False, True]


def test_a_text_alone_and_in_a_batch_have_one_vector(encoder):
    together = encode(encoder, TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(encode(encoder, [text])[0], vector, atol=1e-5)
    distinct = {tuple(np.round(vector, 4)) for vector in together}
    assert len(distinct) == len(TEXTS)


@pytest.mark.parametrize("limit", [1, 7, 16])
def test_texts_in_several_chunks_have_the_same_vectors_in_the_same_order(encoder, monkeypatch, limit):
    expected = encode(encoder, TEXTS)
    monkeypatch.setattr("trainer.text_encoder.PIECES_AT_ONCE", limit)
    spec = tf.TensorSpec([None], tf.string)
    in_chunks = tf.function(encoder.__call__, input_signature=[spec])
    np.testing.assert_allclose(in_chunks(tf.constant(TEXTS)), expected, atol=1e-5)
    assert in_chunks(tf.constant([], tf.string)).shape == (0, encoder.width)


def test_the_vector_is_kerasnlps_mean_over_the_tokens(encoder):
    texts = ["a funny film", "film", "new dark film a funny film a sad film i12"]
    packed = [pack(encoder, text)[0] for text in texts]
    longest = max(map(len, packed))
    tokens = np.asarray([row + [0] * (longest - len(row)) for row in packed])
    mask = np.asarray([[1] * len(row) + [0] * (longest - len(row)) for row in packed])
    output = encoder.backbone({"token_ids": tokens, "segment_ids": 0 * tokens, "padding_mask": mask})
    mean = (output["sequence_output"].numpy() * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1)[:, None]
    np.testing.assert_allclose(encode(encoder, texts), mean, atol=1e-5)


def test_case_and_accents_do_not_matter(encoder):
    vectors = encode(encoder, ["a sad film", "A SAD FILM", "á säd fìlm"])
    np.testing.assert_allclose(vectors[1:], vectors[[0, 0]], atol=1e-6)


def test_encode_present_equals_calling(encoder):
    encode_present = tf.function(encoder.encode_present, input_signature=[tf.TensorSpec([None], tf.string)])
    for texts in (TEXTS, ["", " "], ["film"], []):
        present = encode_present(tf.constant(texts, tf.string)).numpy()
        assert present.shape == (len(texts), 8)
        np.testing.assert_allclose(
            present, encoder._compiled.encode(tf.constant(texts, tf.string)).numpy(), atol=1e-5
        )


def test_encode_all_keeps_the_order_and_counts(encoder):
    done = []
    vectors = encoder.encode_all(TEXTS, 2, done.append)
    np.testing.assert_allclose(vectors, encode(encoder, TEXTS), atol=1e-5)
    assert done == [2, 2, 1]
    assert encoder.encode_all([], 2).shape == (0, 8)


@pytest.mark.parametrize(
    "text",
    ["x" * 100_000, "film " * 20_000, "我喜歡電影", "فيلم حزين", "🎬🎞️👩‍👩‍👧", "a\x00b", "\u200b", "x́̂̃" * 99],
    ids=["a long word", "long", "Chinese", "Arabic", "emoji", "NUL", "zero width", "combining"],
)
def test_any_text_is_encoded(encoder, text):
    vector = encode(encoder, [text])
    assert np.isfinite(vector).all()
    assert vector.any()


def test_bytes_that_are_not_utf8_do_not_fail(encoder):
    vectors = encoder._compiled.encode(tf.constant([b"\xff\xfe film", b"\xe9t\xe9"])).numpy()
    assert np.isfinite(vectors).all()


def test_the_graph_needs_no_op_that_older_servers_lack(encoder):
    graph = encoder._compiled.encode.get_concrete_function().graph
    ops = {node.type for node in graph.get_operations()}
    ops |= {node.op for function in graph.as_graph_def().library.function for node in function.node_def}
    assert not {op for op in ops if "RoundRobinTrim" in op}
    assert "FastWordpieceTokenizeWithOffsets" in ops  # the list is not empty


def test_the_digest_tells_what_changes_the_vectors(encoder):
    # As many words, one of them another; other weights; other limits.
    again = build_text_encoder(VOCABULARY, width=8, layers=1, heads=2, max_tokens=16)
    assert again.digest() == encoder.digest()
    np.testing.assert_allclose(encode(again, TEXTS), encode(encoder, TEXTS), atol=1e-6)
    limits = TextEncoder(again.tokenizer, again.backbone, max_tokens=8, max_characters=4096)
    characters = TextEncoder(again.tokenizer, again.backbone, max_tokens=16, max_characters=99)
    others = {encoder.digest(), limits.digest(), characters.digest()}
    kernel = again.backbone.weights[-1]
    kernel.assign(kernel.numpy() + 1e-3)
    assert len(others | {again.digest()}) == 4


def test_a_saved_encoder_is_the_same_encoder(encoder, work):
    loaded = load_text_encoder(str(work / "encoder"), max_tokens=16, max_characters=4096)
    np.testing.assert_allclose(encode(loaded, TEXTS), encode(encoder, TEXTS), atol=1e-6)
    assert loaded.digest() == encoder.digest()
    assert not loaded.backbone.trainable_variables


def test_a_loaded_uncased_encoder_strips_accents(encoder, tmp_path):
    config = encoder.tokenizer.get_config() | {"strip_accents": False, "vocabulary": VOCABULARY}
    type(encoder.tokenizer).from_config(config).save_to_preset(str(tmp_path))
    encoder.backbone.save_to_preset(str(tmp_path))
    loaded = load_text_encoder(str(tmp_path), max_tokens=16, max_characters=64)
    assert pack(loaded, "säd") == [ids("[CLS]", "sad", "[SEP]")]


def test_a_missing_folder_says_what_to_do(tmp_path: Path):
    with pytest.raises(ConfigError, match="twotower fetch"):
        load_text_encoder(str(tmp_path / "none"), max_tokens=16, max_characters=64)


def test_a_folder_without_a_bert_is_named(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=f"Cannot load a BERT from '{tmp_path}'"):
        load_text_encoder(str(tmp_path), max_tokens=16, max_characters=64)
