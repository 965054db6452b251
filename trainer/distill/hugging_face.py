"""A text encoder as a folder in Hugging Face's layout, which other libraries read too.

`config.json`, `tokenizer_config.json`, `vocab.txt` and `model.safetensors` with the names that `BertModel` has there.
Kernels stand there as [outputs, inputs], with Keras as [inputs, outputs].
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from trainer.text_encoder import TextEncoder

Tensors = dict[str, npt.NDArray[np.float32]]


def write_hugging_face(encoder: TextEncoder, folder: Path) -> None:
    """Writes the folder beside its final name and renames it; an older one of that name is replaced.

    Args:
        encoder: Its backbone's weights and its tokenizer's vocabulary are written.
        folder: Where it appears.
    """
    scratch = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    backbone, tokenizer = encoder.backbone, encoder.tokenizer
    _write_json(scratch / "config.json", _config(backbone))
    _write_json(
        scratch / "tokenizer_config.json",
        {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": bool(tokenizer.lowercase),
            "strip_accents": bool(tokenizer.strip_accents),
            "tokenize_chinese_chars": bool(tokenizer.split_on_cjk),
            "model_max_length": int(backbone.max_sequence_length),
        },
    )
    pieces = "".join(f"{piece}\n" for piece in tokenizer.get_vocabulary())
    (scratch / "vocab.txt").write_text(pieces, encoding="utf-8", newline="\n")
    save_file(tensors_of(backbone), scratch / "model.safetensors", metadata={"format": "pt"})
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)


def tensors_of(backbone: Any) -> Tensors:
    """All weights of a KerasNLP BertBackbone under Hugging Face's names."""
    embeddings = "embeddings."
    tensors = {
        f"{embeddings}word_embeddings.weight": _array(backbone.token_embedding.embeddings),
        f"{embeddings}position_embeddings.weight": _array(backbone.position_embedding.position_embeddings),
        f"{embeddings}token_type_embeddings.weight": _array(backbone.segment_embedding.embeddings),
        **_norm(f"{embeddings}LayerNorm", backbone.embeddings_layer_norm),
        **_dense("pooler.dense", backbone.pooled_dense),
    }
    for place, layer in enumerate(backbone.transformer_layers):
        tensors |= _layer(f"encoder.layer.{place}.", layer)
    return tensors


def _layer(prefix: str, layer: Any) -> Tensors:
    attention = layer._self_attention_layer
    return {
        **_dense(f"{prefix}attention.self.query", attention._query_dense),
        **_dense(f"{prefix}attention.self.key", attention._key_dense),
        **_dense(f"{prefix}attention.self.value", attention._value_dense),
        **_dense(f"{prefix}attention.output.dense", attention._output_dense, inputs=2),
        **_norm(f"{prefix}attention.output.LayerNorm", layer._self_attention_layer_norm),
        **_dense(f"{prefix}intermediate.dense", layer._feedforward_intermediate_dense),
        **_dense(f"{prefix}output.dense", layer._feedforward_output_dense),
        **_norm(f"{prefix}output.LayerNorm", layer._feedforward_layer_norm),
    }


def _dense(name: str, layer: Any, inputs: int = 1) -> Tensors:
    """A dense layer; `inputs` of its kernel's dimensions are those of the input (heads and their size)."""
    kernel = _array(layer.kernel)
    rows = int(np.prod(kernel.shape[:inputs]))
    return {
        f"{name}.weight": np.ascontiguousarray(kernel.reshape(rows, -1).T),
        f"{name}.bias": _array(layer.bias).reshape(-1),
    }


def _norm(name: str, layer: Any) -> Tensors:
    return {f"{name}.weight": _array(layer.gamma), f"{name}.bias": _array(layer.beta)}


def _array(variable: Any) -> npt.NDArray[np.float32]:
    return np.asarray(variable.numpy(), np.float32)


def _config(backbone: Any) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": int(backbone.vocabulary_size),
        "hidden_size": int(backbone.hidden_dim),
        "num_hidden_layers": int(backbone.num_layers),
        "num_attention_heads": int(backbone.num_heads),
        "intermediate_size": int(backbone.intermediate_dim),
        "max_position_embeddings": int(backbone.max_sequence_length),
        "type_vocab_size": int(backbone.num_segments),
        "hidden_act": "gelu_new",  # by tanh, as KerasNLP and trainer/packed_bert.py compute it
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }


def _write_json(file: Path, document: dict[str, Any]) -> None:
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
