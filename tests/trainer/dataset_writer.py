"""Writes small dataset directories (contract A) with TensorFlow's own encoder, independent of the Beam pipelines."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from trainer.keras_compat import tf

GENRES = ("Comedy", "Drama", "Horror")
WORDS = ("funny", "sad", "dark")


@dataclass
class Event:
    item: str
    timestamp: int
    value: float = 1.0
    kind: str = "view"


@dataclass
class User:
    name: str
    events: list[Event]
    gender: str = "F"
    age: float = 30.0


@dataclass
class Dataset:
    """Items are (id, genre) pairs; each user's last event is the test target, the one before that of validation."""

    items: dict[str, str]
    users: list[User] = field(default_factory=list)

    def write(self, path: Path) -> Path:
        path.mkdir(parents=True)
        (path / "vocab").mkdir()
        splits = {"train": (0, -2), "validation": (-2, -1), "test": (-1, None)}
        for split, (start, stop) in splits.items():
            self._write_sequences(path, split, start, stop)
        self._write_items(path)
        self._write_vocabularies(path)
        (path / "schema.json").write_text(json.dumps(_schema()))
        (path / "titles.tsv").write_text("".join(f"{i}\tTitle {i}\n" for i in sorted(self.items)))
        manifest = {
            "format": "twotower-dataset",
            "version": 1,
            "name": "tiny",
            "protocol": "leave_last_out",
            "config_digest": "c",
            "input_digest": str(len(self.users)),
            "schema_digest": "s",
            "seed": 0,
            "splits": {s: {"pattern": f"sequences/{s}/*.tfrecord.gz", "shards": 1} for s in splits},
            "items": {"pattern": "items/*.tfrecord.gz", "shards": 1},
        }
        (path / "dataset.json").write_text(json.dumps(manifest))
        return path

    def _write_sequences(self, path: Path, split: str, start: int, stop: int | None) -> None:
        examples = []
        for user in self.users:
            events = user.events[:stop]
            first = 0 if split == "train" else len(user.events) + start
            examples.append(
                {
                    "user_id": _strings([user.name]),
                    "item_id": _strings([event.item for event in events]),
                    "timestamp": _ints([event.timestamp for event in events]),
                    "event": _strings([event.kind for event in events]),
                    "value": _floats([event.value for event in events]),
                    "gender": _strings([user.gender]),
                    "age": _floats([user.age]),
                    "target_start": _ints([first]),
                }
            )
        _write(path / "sequences" / split / "part-00000-of-00001.tfrecord.gz", examples)

    def _write_items(self, path: Path) -> None:
        examples = [
            {
                "item_id": _strings([item]),
                "title": _strings([f"Title {item}"]),
                "text": _strings([f"a {WORDS[GENRES.index(genre)]} film {item}"]),
                "genre": _strings([genre]),
                "year": _floats([1990.0 + place]),
            }
            for place, (item, genre) in enumerate(self.items.items())
        ]
        _write(path / "items" / "items-00000-of-00001.tfrecord.gz", examples)

    def _write_vocabularies(self, path: Path) -> None:
        train = [event for user in self.users for event in user.events[:-2]]
        counts = {
            "item_id": Counter(event.item for event in train),
            "event": Counter(event.kind for event in train),
            "genre": Counter(self.items[event.item] for event in train),
            "gender": Counter(user.gender for user in self.users),
        }
        for name, counter in counts.items():
            ordered = sorted(counter.items(), key=lambda pair: (-pair[1], pair[0]))
            (path / "vocab" / f"{name}.txt").write_text(
                "".join(f"{value}\t{count}\n" for value, count in ordered)
            )


def checkerboard(items: int = 24, users: int = 48, length: int = 8) -> Dataset:
    """Users of even number watch even items in a circle, the others odd ones: what comes next is certain.

    One further item, "new", occurs in no event.
    """
    catalogue = {f"i{number}": GENRES[number % 3] for number in range(items)} | {"new": "Horror"}
    people = []
    for user in range(users):
        circle = [f"i{number}" for number in range(user % 2, items, 2)]
        start = user // 2
        events = [
            Event(circle[(start + step) % len(circle)], 1000 + 60 * step, 1.0 + step % 5)
            for step in range(length)
        ]
        people.append(User(f"u{user:02d}", events, "FM"[user % 2], 20.0 + user))
    return Dataset(catalogue, people)


def _schema() -> dict[str, object]:
    def feature(
        name: str, role: str, dtype: str, shape: list[int | None], vocabulary: bool = False
    ) -> dict[str, object]:
        default = {"string": "", "float32": 0.0, "int64": 0}[dtype] if not shape else None
        file = f"vocab/{name}.txt" if vocabulary else None
        return {
            "name": name,
            "role": role,
            "dtype": dtype,
            "shape": shape,
            "default": default,
            "vocabulary": file,
            "description": f"The {name}.",
        }

    items = [
        feature("item_id", "item_id", "string", [], vocabulary=True),
        feature("title", "item_title", "string", []),
        feature("text", "item_text", "string", []),
        feature("genre", "item_category", "string", [None], vocabulary=True),
        feature("year", "item_numeric", "float32", []),
    ]
    sequences = [
        feature("user_id", "user_id", "string", []),
        feature("item_id", "item_id", "string", [None], vocabulary=True),
        feature("timestamp", "timestamp", "int64", [None]),
        feature("event", "event", "string", [None], vocabulary=True),
        feature("value", "value", "float32", [None]),
        feature("gender", "user_category", "string", [], vocabulary=True),
        feature("age", "user_numeric", "float32", []),
        feature("target_start", "target_start", "int64", []),
    ]
    return {"format": "twotower-dataset", "version": 1, "tables": {"items": items, "sequences": sequences}}


def _strings(values: list[str]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))


def _ints(values: list[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values: list[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _write(path: Path, examples: list[dict[str, tf.train.Feature]]) -> None:
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for example in examples:
            writer.write(tf.train.Example(features=tf.train.Features(feature=example)).SerializeToString())
