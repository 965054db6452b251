"""Which phrases of a text could be keywords."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+(?:['\u2019&.+-][^\W_{_HAN}]+)*")
_HAN_LENGTHS = range(2, 5)  # most Chinese words have two to four characters

_FUNCTION_WORDS = """
a about above across after again against all almost along already also although always am among an and another any
anybody anyone anything are aren't around as at away back be became because become been before behind being below
between both but by came can can't cannot come could couldn't did didn't do does doesn't doing don't done down
during each either else enough even ever every everybody everyone everything few for from further get gets getting
give go goes going gone got had hadn't has hasn't have haven't having he he'd he'll he's her here hers herself him
himself his how however i i'd i'll i'm i've if in instead into is isn't it it's its itself just keep last least less
let like made make many may maybe me might mine more most much must my myself near need neither never new no nobody
none nor not nothing now of off often on once one only onto or other others our ours ourselves out over own per
perhaps please put quite rather really said same say see seem seems shall she she's should shouldn't since so some
somebody someone something soon still such take than that that's the their theirs them themselves then there there's
these they they're they've thing things this those though through thus to together too toward towards under until
unto up upon us use used using very via want wants was wasn't way we we'd we'll we're we've well were weren't what
what's when where whether which while who who's whom whose why will with within without won't would wouldn't yes yet
you you'd you'll you're you've your yours yourself
da de del della der des di du el en et il l la las le les lo los un una und une van von y
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Function words of English, verbs that say little, and articles that names bring along from other languages."""


def phrases(text: str, max_words: int, stop_words: Collection[str] = STOP_WORDS) -> list[str]:
    """The candidates of a text in the order of their beginnings, repeated as often as they occur.

    Case does not count (Unicode's case folding, after NFKC). A phrase stays between punctuation marks, has a letter in
    it, and neither begins nor ends with a stop word or a single letter. Chinese has no spaces between words: there,
    every two to four neighbouring characters are a candidate.

    Args:
        text: To take apart.
        max_words: Most words of a phrase.
        stop_words: Case-folded.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [phrase for run in _runs(folded) for phrase in _of_run(run, max_words, stop_words)]


def _runs(text: str) -> Iterator[list[str]]:
    """Words that stand beside each other with nothing but spaces between; Chinese characters by themselves."""
    run: list[str] = []
    end = 0
    for found in _TOKEN.finditer(text):
        apart = text[end : found.start()].strip() or is_han(found[0]) or (run and is_han(run[-1]))
        if apart and run:
            yield run
            run = []
        run.append(found[0])
        end = found.end()
    if run:
        yield run


def _of_run(run: list[str], max_words: int, stop_words: Collection[str]) -> Iterator[str]:
    if is_han(run[0]):
        (characters,) = run
        for begin in range(len(characters)):
            yield from (
                characters[begin : begin + length]
                for length in _HAN_LENGTHS
                if begin + length <= len(characters)
            )
        return
    for begin, first in enumerate(run):
        if not _bears(first, stop_words):
            continue
        for words in range(1, min(max_words, len(run) - begin) + 1):
            phrase = run[begin : begin + words]
            if _bears(phrase[-1], stop_words) and any(map(_has_letter, phrase)):
                yield " ".join(phrase)


def _bears(word: str, stop_words: Collection[str]) -> bool:
    """A keyword may begin or end with it."""
    return len(word) > 1 and word not in stop_words


def _has_letter(word: str) -> bool:
    return any(map(str.isalpha, word))


def is_han(token: str) -> bool:
    """A phrase of Chinese characters."""
    return re.match(f"[{_HAN}]", token) is not None
