"""Explanations as sentences: "Because you watched A and B; both are ...", from nothing but what contributed.

A sentence names an item of the history, or a word of the wish, only where its contribution to the score is positive and
large enough, and a property only where the recommended item and all items named beside it have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from serving.client.contributions import Contribution, contributions
from serving.client.results import Explanation

Language = Literal["en", "zh"]


@dataclass(frozen=True)
class ItemFacts:
    """What may be said of an item.

    Attributes:
        title: what people call it.
        keywords: its properties, in the words in which they are said: categories.
        mentions: keywords of its text.
    """

    title: str
    keywords: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reasons:
    """What a sentence claims, and all that it may claim.

    Attributes:
        asked: words of the wish, as they were written and in their order.
        items: titles of items of the history, the largest contribution first.
        shared: properties that the recommended item shares with all of `items`.
        mentioned: keywords of its text that are keywords of the texts of all of `items`, too.
        contributions: what the claims stand on.
    """

    asked: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    mentioned: tuple[str, ...] = ()
    contributions: tuple[Contribution, ...] = ()

    @property
    def phrases(self) -> tuple[str, ...]:
        """Everything that is named, in the order of a sentence."""
        return (*self.asked, *self.items, *self.shared, *self.mentioned)

    def __bool__(self) -> bool:
        return bool(self.asked or self.items)


@dataclass(frozen=True)
class Wording:
    """How sentences are put.

    Attributes:
        language: English or Chinese.
        verb: what people do with items: "watched", "bought"; by default "watched" and "看过".
    """

    language: Language = "en"
    verb: str = ""

    @property
    def done(self) -> str:
        """The verb."""
        return self.verb or _VERBS[self.language]


_VERBS: dict[Language, str] = {"en": "watched", "zh": "看过"}
ENGLISH = Wording()


def find_reasons(
    explanation: Explanation,
    items: Mapping[str, ItemFacts],
    *,
    least_share: float = 0.1,
    most_items: int = 2,
    most_words: int = 3,
    most_shared: int = 3,
    most_mentioned: int = 2,
) -> Reasons:
    """Returns what can be said of an explanation without claiming what it does not show.

    Args:
        explanation: of an item, as `explain` returns it.
        items: by id; an item that is not among them, or has no title, is not named.
        least_share: of all positive contributions that one must have to be named; 0.1 leaves out what is one of many.
        most_items: items of the history that are named.
        most_words: words of the wish that are named.
        most_shared: properties that are named; those whose words contribute most to the item's own score come first.
        most_mentioned: keywords that are named, in the same order; one that is a property already is not.

    Returns:
        Reasons; none if nothing contributed enough.
    """
    found = contributions(explanation)
    threshold = least_share * sum(one.value for one in found if one.value > 0)
    strong = [one for one in found if one.value > 0 and one.value >= threshold]
    history = [one for one in strong if one.kind == "history" and _title(items, one.name)][:most_items]
    words = [one for one in strong if one.kind == "query_word"][:most_words]
    written = [str(word) for word in explanation.parts["query_word"]]
    words.sort(key=lambda one: written.index(one.name))
    named = [one.name for one in history]
    shared = _shared(explanation, items, named, lambda facts: facts.keywords)[:most_shared]
    mentioned = _shared(explanation, items, named, lambda facts: facts.mentions)
    said = {_folded(word) for word in shared}
    return Reasons(
        tuple(one.name for one in words),
        tuple(dict.fromkeys(_title(items, one.name) for one in history)),
        shared,
        tuple(word for word in mentioned if _folded(word) not in said)[:most_mentioned],
        (*words, *history),
    )


def _title(items: Mapping[str, ItemFacts], item_id: str) -> str:
    return items[item_id].title.strip() if item_id in items else ""


def _shared(
    explanation: Explanation,
    items: Mapping[str, ItemFacts],
    named: Sequence[str],
    properties: Callable[[ItemFacts], Sequence[str]],
) -> tuple[str, ...]:
    """Properties of the recommended item that all named ones have too, in the order of what their words contribute."""
    if not named or explanation.item_id not in items:
        return ()
    own = properties(items[explanation.item_id])
    others = [{_folded(word) for word in properties(items[item_id])} for item_id in named]
    shared = [
        word for word in dict.fromkeys(own) if word.strip() and all(_folded(word) in one for one in others)
    ]
    weights: dict[str, float] = {}
    for one in contributions(explanation, "item_word"):
        weights[_folded(one.name)] = weights.get(_folded(one.name), 0.0) + one.value

    def weight(phrase: str) -> float:
        return sum(weights.get(_folded(word), 0.0) for word in phrase.split())

    supporting = [
        word for word in shared if weight(word) >= 0
    ]  # what speaks against the item is no reason for it
    return tuple(sorted(supporting, key=lambda word: -weight(word)))


def _folded(word: str) -> str:
    return word.strip(" .,;:!?\"'()[]").casefold()


def say(reasons: Reasons, wording: Wording = ENGLISH) -> str:
    """Returns one sentence, or "" where there is nothing to say."""
    if not reasons:
        return ""
    return _english(reasons, wording.done) if wording.language == "en" else _chinese(reasons, wording.done)


def explain_in_words(
    explanations: Iterable[Explanation],
    items: Mapping[str, ItemFacts],
    wording: Wording = ENGLISH,
) -> dict[str, str]:
    """Returns a sentence by item id for what `explain` returned; "" where nothing can be said."""
    return {one.item_id: say(find_reasons(one, items), wording) for one in explanations}


def item_facts(titles: Mapping[str, str], keywords: Mapping[str, str]) -> dict[str, ItemFacts]:
    """Returns what may be said of items.

    Args:
        titles: by item id.
        keywords: by item id: properties with commas between, then if any a tab and keywords of the text likewise.
    """
    properties = {item: [_listed(part) for part in line.split("\t")] for item, line in keywords.items()}
    return {item: ItemFacts(title, *properties.get(item, [])[:2]) for item, title in titles.items()}


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


def table(text: str) -> dict[str, str]:
    """Returns what stands behind the first tab of each line, by what stands before it."""
    return {item: rest for item, tab, rest in (line.partition("\t") for line in text.splitlines()) if tab}


def _english(reasons: Reasons, verb: str) -> str:
    clauses = []
    if reasons.asked:
        clauses.append("asked for " + _joined([f"“{word}”" for word in reasons.asked], " and "))
    if reasons.items:
        clauses.append(f"{verb} " + _joined(reasons.items, " and "))
    sentence = "Because you " + " and ".join(clauses)
    single = len(reasons.items) == 1
    claims = []
    if reasons.shared:
        claims.append(("is also " if single else "are also ") + _joined(reasons.shared, " and "))
    if reasons.mentioned:
        quoted = _joined([f"“{word}”" for word in reasons.mentioned], " and ")
        claims.append(("also mentions " if single else "also mention ") + quoted)
    if claims:
        whose = {1: ", which ", 2: "; both "}.get(len(reasons.items), "; all of them ")
        sentence += whose + " and ".join(claims)
    return sentence + "."


def _chinese(reasons: Reasons, verb: str) -> str:
    clauses = []
    if reasons.asked:
        clauses.append("想找" + _joined([f"“{word}”" for word in reasons.asked], "和", "、"))
    if reasons.items:
        clauses.append(verb + _joined([f"《{title}》" for title in reasons.items], "和", "、"))
    sentence = "因为您" + "，也".join(clauses)  # noqa: RUF001
    whose = "它也" if len(reasons.items) == 1 else "它们也都"
    if reasons.shared:
        sentence += f"，{whose}属于" + _joined(reasons.shared, "和", "、")  # noqa: RUF001
    if reasons.mentioned:
        quoted = [f"“{word}”" for word in reasons.mentioned]
        sentence += f"，{whose}提到" + _joined(quoted, "和", "、")  # noqa: RUF001
    return sentence + "。"


def _joined(parts: Sequence[str], last: str, others: str = ", ") -> str:
    return last.join([others.join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
