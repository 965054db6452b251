from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from beam_pipelines.build import build_dataset
from beam_pipelines.config import load_config
from beam_pipelines.reader import Dataset

# No deadlines: the first example of a test also pays for imports.
settings.register_profile("steady", deadline=None, max_examples=50)
settings.load_profile("steady")

EVENTS = """\
[features.events]
files = ["events*.csv"]
user_id = "user"
item_id = "item"
timestamp = "time"
"""


class Workshop:
    """A folder with input files, a config over them, and the datasets built from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self.data.mkdir()

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.data / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def config(self, tables: str = EVENTS, splits: str = '["leave_last_out"]', top: str = "") -> Path:
        path = self.root / "config.toml"
        top = top if "report" in top else f"report = false\n{top}"
        head = f'name = "shop"\nwork_dir = "{self.root / "run"}"\n'
        path.write_text(f'{head}[features]\nsplits = {splits}\ndata_dir = "{self.data}"\n{top}\n{tables}')
        return path

    def build(
        self,
        tables: str = EVENTS,
        protocol: str = "leave_last_out",
        top: str = "",
        arguments: Any = (),
        **kwargs: Any,
    ) -> Dataset:
        config = load_config(self.config(tables, f'["{protocol}"]', top))
        kwargs.setdefault("overwrite", True)
        built = build_dataset(config, protocol, str(self.data), beam_arguments=tuple(arguments), **kwargs)
        return Dataset.open(built.path)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def contents() -> Callable[[Dataset], dict[str, Any]]:
    """Everything a model can see of a dataset, apart from how it is cut into shards."""

    def read(dataset: Dataset) -> dict[str, Any]:
        splits = {
            s: sorted(dataset.sequences(s), key=lambda r: r["user_id"])
            for s in ("train", "validation", "test")
        }
        vocabularies = {p.name: p.read_bytes() for p in sorted((dataset.root / "vocab").iterdir())}
        items = sorted(dataset.items(), key=lambda r: r["item_id"])
        rejects = sorted(
            line for p in (dataset.root / "rejects").iterdir() for line in p.read_text().splitlines()
        )
        return {
            "splits": splits,
            "vocabularies": vocabularies,
            "items": items,
            "rejects": rejects,
            "stats": (dataset.root / "stats.json").read_bytes(),
            "titles": (dataset.root / "titles.tsv").read_bytes(),
        }

    return read
