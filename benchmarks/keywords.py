"""Keywords of texts, measured: do they say what people filed the texts under?

    python benchmarks/keywords.py --data DIR --encoder runs/movielens-100k/encoder

What was filed is held out: nobody shows it to what finds the keywords.

- banking77: questions to a bank, each of one of 77 intents ("card_arrival").
- films: titles of MovieLens (ml-latest-small), filed under genres; "tags": titles with genres, beside the tags that
  people wrote, for films that have any.

Each way chooses `--count` keywords from the same candidates: phrases of at most two words that stand in two to 20 % of
the texts. For each:

- purity: of the other texts with the same keyword, the share that is filed the same (has a genre in common), mean over
  the keywords of a text and over the texts.
- vote: how often the others with the same keywords, each keyword one vote, name the label (one of the genres).
- words: how often a keyword has a word of the label (of a tag) in it, compared by the first five letters.
- found: share of the texts that have a keyword at all.
"""

from __future__ import annotations

import csv
import json
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from beam_pipelines.keywords.extraction import candidates_of, keywords_of
from beam_pipelines.keywords.frequencies import DocumentFrequencies
from beam_pipelines.keywords.ranking import by_tf_idf, without_overlap
from beam_pipelines.keywords.settings import KeywordSettings
from trainer.text_encoder import TextEncoder, load_text_encoder

_COLUMNS = ("purity", "vote", "words", "found", "seconds")
Lists = list[list[str]]


@dataclass(frozen=True)
class Filed:
    """Texts and what they are filed under."""

    name: str
    texts: list[str]
    labels: Lists


class Encoding:
    """Vectors by the encoder; those of phrases are counted once."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    def of_texts(self, texts: Any) -> npt.NDArray[np.float32]:
        """Encodes what is new."""
        new = sorted(set(texts) - self._known.keys())
        if new:
            self._known |= dict(zip(new, self._encoder.encode_all(new, 128), strict=True))
        return np.stack([self._known[text] for text in texts])

    of_phrases = of_texts


def read_filed(data: Path, limit: int) -> list[Filed]:
    """The three collections."""
    with (data / "banking77" / "test.csv").open(encoding="utf-8", newline="") as stream:
        asked = [(row["text"], row["category"]) for row in csv.DictReader(stream)]
    with (data / "ml-latest-small" / "movies.csv").open(encoding="utf-8", newline="") as stream:
        films = list(csv.DictReader(stream))
    tags: dict[str, list[str]] = defaultdict(list)
    with (data / "ml-latest-small" / "tags.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            tags[row["movieId"]].append(row["tag"])
    titles = {film["movieId"]: re.sub(r"\s*\(\d{4}\)$", "", film["title"]) for film in films}
    genres = {film["movieId"]: film["genres"].split("|") for film in films}
    filed = [film for film in genres if genres[film] != ["(no genres listed)"]]
    return [
        _drawn("banking77", [text for text, _ in asked], [[label] for _, label in asked], limit),
        _drawn("films", [titles[film] for film in filed], [genres[film] for film in filed], limit),
        _drawn(
            "tags", [f"{titles[film]}. {' '.join(genres[film])}" for film in tags], list(tags.values()), limit
        ),
    ]


def _drawn(name: str, texts: list[str], labels: Lists, limit: int) -> Filed:
    places = sorted(random.Random(0).sample(range(len(texts)), min(limit, len(texts))))
    return Filed(name, [texts[place] for place in places], [labels[place] for place in places])


def ways(count: int, encoding: Encoding) -> dict[str, Callable[[list[str]], Lists]]:
    """Texts to keywords, by name."""
    statistical = KeywordSettings(count=count)

    def ranked(order: Callable[[list[str], list[str]], list[str]]) -> Callable[[list[str]], Lists]:
        def found(texts: list[str]) -> Lists:
            every = [candidates_of(text, statistical) for text in texts]
            known = DocumentFrequencies.counted(every)
            least, most = statistical.min_items, statistical.max_share
            kept = [by_tf_idf(one, known, least, most) for one in every]
            return [without_overlap(order(one, k), count) for one, k in zip(every, kept, strict=True)]

        return found

    def by(settings: KeywordSettings) -> Callable[[list[str]], Lists]:
        def found(texts: list[str]) -> Lists:
            known = DocumentFrequencies.counted(candidates_of(text, settings) for text in texts)
            return keywords_of(texts, settings, known, encoding if settings.method == "embedding" else None)

        return found

    draw = random.Random(1)
    shares = (0.0, 0.3, 0.5, 0.7)
    return {
        "by chance": ranked(lambda _, kept: draw.sample(kept, len(kept))),
        "first in the text": ranked(lambda every, kept: sorted(kept, key=every.index)),
        "statistical (tf-idf)": by(statistical),
        **{
            f"embedding, diversity {share}": by(
                KeywordSettings(method="embedding", count=count, diversity=share)
            )
            for share in shares
        },
    }


def measures(filed: Filed, found: Lists) -> dict[str, float]:
    """Figures over the texts that have a keyword."""
    held: dict[str, list[int]] = defaultdict(list)
    for place, keywords in enumerate(found):
        for keyword in keywords:
            held[keyword].append(place)
    purity, vote, words = [], [], []
    for place, keywords in enumerate(found):
        own = set(filed.labels[place])
        votes: Counter[str] = Counter()
        pure = []
        for keyword in keywords:
            others = [other for other in held[keyword] if other != place]
            if others:
                pure.append(np.mean([bool(own & set(filed.labels[other])) for other in others]))
            for other in others:
                for label in set(filed.labels[other]):
                    votes[label] += 1 / len(others)  # type: ignore[assignment]  # shares of a vote
        if keywords:
            purity += [np.mean(pure)] if pure else []
            vote.append(bool(votes) and min(votes, key=lambda label: (-votes[label], label)) in own)
            words.append(bool(_stems(" ".join(keywords)) & _stems(" ".join(own))))
    return {
        "purity": float(np.mean(purity)), "vote": float(np.mean(vote)), "words": float(np.mean(words)),
        "found": len(vote) / len(found),
    }  # fmt: skip


def _stems(text: str) -> set[str]:
    return {word[:5] for word in re.findall(r"[^\W\d_]{3,}", text.casefold())}


@click.command()
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of the data."
)
@click.option(
    "--encoder", type=click.Path(exists=True, path_type=Path), required=True, help="A BERT's folder."
)
@click.option(
    "--count", "counts", multiple=True, default=(1, 3), show_default=True, help="Keywords of a text."
)
@click.option("--limit", default=3000, show_default=True, help="Texts of each collection.")
@click.option("--examples", default=4, show_default=True, help="Texts to print with their keywords.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here, too.")
def main(
    data: Path, encoder: Path, counts: tuple[int, ...], limit: int, examples: int, json_file: Path | None
) -> None:
    """Measure keywords against what texts are filed under."""
    console, figures = Console(width=150), {}
    encoding = Encoding(load_text_encoder(str(encoder), max_tokens=64, max_characters=512, pooling="mean"))
    for filed in read_filed(data, limit):
        shown: dict[str, Lists] = {}
        for count in counts:
            table = Table(f"{filed.name}, {len(filed.texts):,} texts, {count} keywords", *_COLUMNS)
            for name, keywords in ways(count, encoding).items():
                began = time.perf_counter()
                found = keywords(filed.texts)
                row = measures(filed, found) | {"seconds": time.perf_counter() - began}
                figures[f"{filed.name}, {count}: {name}"] = row
                shown[name] = found[:examples]
                table.add_row(
                    name, *(f"{row[c]:.1f}" if c == "seconds" else f"{row[c]:.3f}" for c in _COLUMNS)
                )
            console.print(table)
        for place in range(min(examples, len(filed.texts))):
            console.print(f"{filed.texts[place]!r} {filed.labels[place][:3]}", soft_wrap=True)
            for name in ("statistical (tf-idf)", "embedding, diversity 0.3"):
                console.print(f"  {name}: {', '.join(shown[name][place])}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
