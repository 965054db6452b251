from __future__ import annotations

from pathlib import Path

from beam_pipelines.reference import render_reference

DOCS = Path(__file__).parents[2] / "docs/features.md"


def test_the_page_lists_every_key_as_it_is() -> None:
    assert render_reference().strip() in DOCS.read_text("utf-8"), (
        "docs/features.md is out of date: replace what follows 'Every key' by `python -m beam_pipelines.reference`"
    )
