from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.catalogue import load_catalogue
from trainer.dataset import DatasetDirectory
from trainer.query_views import drop_words, query_views

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.sampled_from(WORDS)).map(" ".join), max_size=5), st.integers(0, 3), st.integers(0, 9)
)
def test_variants_are_shortened_texts(texts, variants, seed):
    views = drop_words(texts, variants, seed)
    assert [len(view) for view in views] == [len(texts)] * variants
    for view in views:
        for text, short in zip(texts, view, strict=True):
            rest = iter(text.split())
            assert all(word in rest for word in short.split())  # a subsequence: the order is kept
            assert bool(short) == bool(text)  # at least one word


def test_half_of_the_words_are_kept():
    (view,) = drop_words([f"{number} " + " ".join(WORDS) * 40 for number in range(20)], 1, 0)
    kept = sum(len(text.split()) for text in view)
    total = 20 * len(("0 " + " ".join(WORDS) * 40).split())
    assert abs(kept / total - 0.5) < 0.03  # 5,620 words: standard deviation 0.0067


def test_the_choice_depends_on_text_and_seed_alone():
    text = " ".join(WORDS)
    alone = [view[0] for view in drop_words([text], 2, 7)]
    among = [view[1] for view in drop_words(["another text", text], 2, 7)]
    assert alone == among
    assert alone[0] != alone[1]
    assert alone != [view[0] for view in drop_words([text], 2, 8)]


def test_views_are_text_title_categories_and_shortened_texts(config):
    dataset = DatasetDirectory.open(config.dataset_dir("leave_last_out"))
    catalogue = load_catalogue(dataset)
    texts = [str(text) for text in catalogue.columns["text"]]
    views = query_views(dataset, catalogue, texts, config.train)
    row = catalogue.item_ids.index("i4")  # 4 % 3 = 1: Drama, "sad"
    assert [view[row] for view in views[:3]] == ["a sad film i4", "Title i4", "Drama"]
    assert len(views) == 3 + config.train.query_text.word_dropouts


def test_where_a_view_is_missing_the_text_takes_its_place(config):
    from dataclasses import replace

    dataset = DatasetDirectory.open(config.dataset_dir("leave_last_out"))
    catalogue = load_catalogue(dataset)
    bare = replace(catalogue, titles=("",) * len(catalogue))
    bare.columns["genre"][0] = ()
    texts = [f"text {row}" for row in range(len(catalogue))]
    views = query_views(dataset, bare, texts, config.train)
    assert views[1] == texts
    assert views[2][0] == "text 0"
