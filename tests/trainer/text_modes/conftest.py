"""A small BERT of its own for every test that lets one learn."""

from __future__ import annotations

import pytest

from tests.trainer.conftest import VOCABULARY
from trainer.text_encoder import TextEncoder, build_text_encoder

TEXTS = ("", "a funny film", "dark", "sad funny dark film a title new", "a a a a", "film i0 i1 i2")


@pytest.fixture
def bert() -> TextEncoder:
    return build_text_encoder(VOCABULARY, width=8, layers=3, heads=2, max_tokens=16, seed=3)
