"""The written folder, read by KerasHub's converter, and computed with NumPy as Hugging Face's names mean it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from trainer.distill.hugging_face import write_hugging_face
from trainer.text_encoder import TextEncoder, load_text_encoder

TEXTS = ["a funny film", "film", "new dark film i12"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, teacher: TextEncoder) -> Path:
    rng = np.random.default_rng(0)
    for weight in teacher.backbone.weights:  # biases and normalizations too, which begin as 0 and 1
        weight.assign(weight.numpy() + rng.normal(scale=0.1, size=weight.shape))
    teacher.take_weights()
    path = tmp_path_factory.mktemp("hf") / "encoder"
    write_hugging_face(teacher, path)
    return path


def numpy_bert(folder: Path, ids: list[int]) -> np.ndarray:
    """[T, W] last layer of one text, by the definition of BERT (Devlin 2018) and `nn.Linear`: x W^T + b."""
    config = json.loads((folder / "config.json").read_text())
    t = load_file(folder / "model.safetensors")
    heads = config["num_attention_heads"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
        return scaled * t[f"{name}.weight"] + t[f"{name}.bias"]

    e = "embeddings."
    x = t[f"{e}word_embeddings.weight"][ids] + t[f"{e}position_embeddings.weight"][: len(ids)]
    x = norm(x + t[f"{e}token_type_embeddings.weight"][0], f"{e}LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{layer}."
        q, k, v = (
            linear(x, f"{p}attention.self.{part}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        share = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (share / share.sum(-1, keepdims=True)) @ v
        mixed = linear(mixed.transpose(1, 0, 2).reshape(x.shape), f"{p}attention.output.dense")
        x = norm(x + mixed, f"{p}attention.output.LayerNorm")
        inner = linear(x, f"{p}intermediate.dense")
        inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))  # gelu_new
        x = norm(x + linear(inner, f"{p}output.dense"), f"{p}output.LayerNorm")
    return x


def test_the_names_mean_what_they_mean_elsewhere(folder: Path, teacher: TextEncoder) -> None:
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    for text, pieces in (("a funny film", "[CLS] a funny film [SEP]"), ("i12", "[CLS] i ##1 ##2 [SEP]")):
        states = numpy_bert(folder, [vocabulary.index(piece) for piece in pieces.split()])
        np.testing.assert_allclose(teacher.encode_all([text], 1)[0], states.mean(axis=0), atol=1e-5)


def test_it_comes_back_the_same(folder: Path, teacher: TextEncoder) -> None:
    loaded = load_text_encoder(str(folder), max_tokens=16, max_characters=4096)
    assert loaded.digest() == teacher.digest()
    np.testing.assert_allclose(loaded.encode_all(TEXTS, 2), teacher.encode_all(TEXTS, 2), atol=1e-6)


def test_an_older_folder_is_replaced_and_nothing_lies_beside(folder: Path, teacher: TextEncoder) -> None:
    (folder / "stale").write_text("")
    write_hugging_face(teacher, folder)
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]
