from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import text_cache
from trainer.text_cache import TextVectorCache, default_cache_dir


class Counting:
    """An encoder whose vectors are known and whose work is written down."""

    width = 3

    def __init__(self, name: str = "one") -> None:
        self.name = name
        self.encoded: list[str] = []

    def digest(self) -> str:
        return self.name * 20

    def encode_all(self, texts, batch_size, progress=None):
        self.encoded += texts
        if progress is not None:
            progress(len(texts))
        return vectors_of(texts)


def vectors_of(texts) -> np.ndarray:
    return np.array(
        [[len(text), sum(map(ord, text)), sum(map(ord, text[::2]))] for text in texts], np.float32
    ).reshape(-1, 3)


def test_a_text_is_encoded_once(tmp_path):
    encoder = Counting()
    cache = TextVectorCache(encoder, tmp_path)
    np.testing.assert_array_equal(cache.vectors(["b", "a", "b"]), vectors_of(["b", "a", "b"]))
    assert encoder.encoded == ["a", "b"]
    cache.vectors(["a", "b"])
    TextVectorCache(encoder, tmp_path).vectors(["b"])  # another process
    assert encoder.encoded == ["a", "b"]


def test_only_new_texts_are_encoded(tmp_path):
    encoder = Counting()
    cache = TextVectorCache(encoder, tmp_path)
    cache.vectors(["a", "c"])
    assert cache.missing(["d", "c", "b", "b"]) == ["b", "d"]
    np.testing.assert_array_equal(cache.vectors(["d", "c", "b"]), vectors_of(["d", "c", "b"]))
    assert encoder.encoded == ["a", "c", "b", "d"]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=6), max_size=5)
)
def test_order_and_repetitions_are_kept(tmp_path_factory, calls):
    cache = TextVectorCache(Counting(), tmp_path_factory.mktemp("cache"))
    for texts in calls:
        np.testing.assert_array_equal(cache.vectors(texts), vectors_of(texts))


def test_encoders_do_not_share_vectors(tmp_path):
    one, two = Counting("one"), Counting("two")
    TextVectorCache(one, tmp_path).vectors(["a"])
    TextVectorCache(two, tmp_path).vectors(["a"])
    assert two.encoded == ["a"]


@pytest.mark.parametrize("file", ["keys.npy", "vectors.npy"])
def test_an_interrupted_write_leaves_nothing_that_counts(tmp_path, monkeypatch, file):
    real = np.save

    def dies(target, array):
        if Path(target).name == file:
            Path(target).write_bytes(b"half")
            raise KeyboardInterrupt
        real(target, array)

    encoder = Counting()
    monkeypatch.setattr(np, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        TextVectorCache(encoder, tmp_path).vectors(["a", "b"])
    assert not list(tmp_path.rglob("segment-*"))
    monkeypatch.setattr(np, "save", real)
    np.testing.assert_array_equal(
        TextVectorCache(encoder, tmp_path).vectors(["b", "a"]), vectors_of(["b", "a"])
    )
    assert encoder.encoded == ["a", "b", "a", "b"]


def test_a_killed_process_leaves_nothing_that_counts(tmp_path):
    """What a process without time to clean up leaves: a temporary folder with half a segment."""
    encoder = Counting()
    cache = TextVectorCache(encoder, tmp_path)
    cache.vectors(["a"])
    folder = next(tmp_path.iterdir()) / "tmp-x" / "segment"
    folder.mkdir(parents=True)
    (folder / "keys.npy").write_bytes(b"half")
    assert cache.missing(["a", "b"]) == ["b"]


def test_two_processes_that_meet_the_same_texts_agree(tmp_path):
    """Both encode, the second finds the segment there."""
    first, second = TextVectorCache(Counting(), tmp_path), TextVectorCache(Counting(), tmp_path)
    first._keep(["a", "b"], vectors_of(["a", "b"]))
    second._keep(["a", "b"], vectors_of(["a", "b"]))
    assert len(list(tmp_path.rglob("segment-*"))) == 1
    np.testing.assert_array_equal(second.vectors(["b"]), vectors_of(["b"]))


@pytest.mark.parametrize("killed", [False, True])
def test_several_processes_write_at_once(tmp_path, killed):
    """Overlapping texts from three processes, one of which may be killed: every vector is there and right."""
    context = multiprocessing.get_context("fork")
    parts = [[f"text {number}" for number in range(start, start + 40)] for start in (0, 20, 20)]
    writers = [context.Process(target=_write, args=(tmp_path, part)) for part in parts]
    for writer in writers:
        writer.start()
    if killed:
        writers[0].kill()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers[1:]] == [0, 0]
    encoder, texts = Counting(), [f"text {number}" for number in range(60)]
    np.testing.assert_array_equal(TextVectorCache(encoder, tmp_path).vectors(texts), vectors_of(texts))
    assert not {text for text in parts[1] if text in encoder.encoded}
    if not killed:
        assert encoder.encoded == []


def _write(folder, texts):
    for stop in range(4, len(texts) + 1, 4):
        TextVectorCache(Counting(), folder).vectors(texts[:stop])


def test_an_interruption_costs_one_segment(tmp_path, monkeypatch):
    monkeypatch.setattr(text_cache, "SEGMENT", 2)

    class Dying(Counting):
        def encode_all(self, texts, batch_size, progress=None):
            if "e" in texts:
                raise KeyboardInterrupt
            return super().encode_all(texts, batch_size, progress)

    with pytest.raises(KeyboardInterrupt):
        TextVectorCache(Dying(), tmp_path).vectors(list("abcdef"))
    encoder = Counting()
    TextVectorCache(encoder, tmp_path).vectors(list("abcdef"))
    assert encoder.encoded == ["e", "f"]


def test_progress_is_passed_on(tmp_path):
    done = []
    TextVectorCache(Counting(), tmp_path).vectors(["a", "b", "a"], done.append)
    assert done == [2]


def test_the_folder_can_be_chosen(monkeypatch):
    monkeypatch.setenv("TWOTOWER_CACHE", "/somewhere")
    assert default_cache_dir() == Path("/somewhere")
    monkeypatch.setenv("TWOTOWER_CACHE", "")
    assert default_cache_dir() == Path.home() / ".cache" / "twotower"
