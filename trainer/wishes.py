# ruff: noqa: RUF001 - Chinese has marks of its own
r"""What a text asks for and what it asks to be spared: wishes and unwanted words, split by stock string ops.

Every route to a model (a server, a SavedModel, a batch job, the live model) runs these ops, so all read a text alike.

- Wishes are separated by the character U+001E, which no text has by chance.
- Words after a cue ("not", "without", "don't want", "except", "-word"; 不要, 不喜欢, 没有, 除了) are unwanted up to the
  next comma, semicolon or end of the sentence, or up to a word that turns to something else ("but", "only", "for",
  "under 300"; 但, 只要, 以外, 的). "or" and 、 go on: "not Apple or Samsung" leaves out both.
- A cue is in small letters, in capitals throughout, or at the beginning of a sentence: "Man Without a Face" is a title.
  One right after a quotation mark is none: "\"No Escape\"" is a title, too.
- A whole text that is nothing but a bare cue and what follows is a name: "No Country for Old Men", "without a paddle".
  Who means it says "-horror", "no more horror", "no horror please" or what is wanted instead.
- "not only", "no matter", "No. 5", 是不是, 不要紧 and their like are no cues.

A text without cue or separator comes back byte for byte, and so does a wish of more than 16 KiB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from trainer import contract
from trainer.keras_compat import tf
from trainer.text_encoder import is_text

_MOST = 16  # wishes; the last one takes what is beyond
_LONGEST = 16_384  # bytes of a wish in which cues are looked for
_CUT, _BEGIN, _END = "\x1b", "\x1d", "\x1f"  # inside what is no cue; before and behind what is unwanted
_SPACE = r"[\s\x{3000}]"

_NO_CUES = (
    r"(?i)\b(not|no|without)("
    + _SPACE
    + r"+(?:only|just|merely|simply|sure|bad|matter|too|necessarily|problem|idea|doubt|one|longer|wonder|\d))",
    r"(?i)\b(no)(\.)",
    r"(是不|要不|有[没沒]|喜不|想不|好不)([是要有喜想好])",
    r"(不)(要[紧緊]|是[吗嗎])",
)
_LIKE = r"(?:want|like|need|love|enjoy|show me|show|recommend|care for|include|give me)"
_WORDS = (
    r"(?:(?:but|and|or|just|please)\s+)?(?:"
    r"not interested in|tired of|sick of|enough of|no more|instead of|rather than|other than|apart from|aside from"
    r"|anything but|everything but|nothing (?:from|by|with|like)"
    rf"|(?:[iI]\s+)?(?:do(?:es)? not|do(?:es)?n['’]t|did not|didn['’]t)\s+(?:really\s+)?{_LIKE}"
    r"|(?:[iI]\s+)?(?:hate|dislike)"
    r"|(?:is|are)n['’]t|not|no|nor|without|w/o|except(?:\s+for)?|excluding|exclude|avoid(?:ing)?|minus"
    r")"
)
_CAPITALS = r"(?:(?:BUT|AND|OR)\s+)?(?:NOT|NO|WITHOUT|EXCEPT|EXCLUDING)"
_FILLERS = (
    r"(?:\s+(?:a|an|the|any|anything|something|from|by|with|like|for|made of|made by|to see|to watch))*"
)
_CUES = (
    rf"(^\s*|[.!?]\s+)(?i:{_WORDS}){_FILLERS}\s",
    rf"([\s(,;:，；、。！？])(?:{_WORDS}|{_CAPITALS}){_FILLERS}\s",
    r"(^|[^\x1b])(?:但|而|也|和|又)?我?(?:不想[要看买買]|不要|不想|不喜[欢歡]|不是|不含|不[带帶]|不用|不看|[没沒]有|除了|除去|除[开開]|排除"
    r"|[讨討][厌厭]|拒[绝絕])(?:任何|看到|看|[买買])?",
)
_SEARCH_STYLE = r"(^|\s)-(\pL\S*)"
_NAME = r"(?is)\s*(?:no|not|without)\s[^,;:!?…，；。！？\n]*"
_NO_NAME = r"(?is).*\s(?:but|however|instead|though|although|yet|only|please|more|interested)\b.*"
_ENDS = (
    r"(,\D|,$|[;!?…，；。！？\n]|[.:]\s|\.$)",
    r"(?i)(\s(?:but|however|instead|though|although|yet|only|please|for)\b)",
    r"(?i)(\s(?:under|below|over|above|around|about|between|up to|less than|more than|at most)\s+[$€£¥]?\d)",
    r"(但|可是|不[过過]|只[要想]|而[是要]|最好|以外|之外|的)",
)


class Wishes(NamedTuple):
    """What texts ask for, row by row.

    Attributes:
        wanted: string [B, W] wishes, at least one column; "" = no more wishes.
        unwanted: string [B] all unwanted words of the row; "" = none.
    """

    wanted: Any
    unwanted: Any

    def asked(self) -> Any:
        """Bool [B], whether a row says anything."""
        return is_text(self.words()) | is_text(self.unwanted)

    def words(self) -> Any:
        """String [B], all that is wanted in one text."""
        return tf.strings.strip(tf.strings.reduce_join(self.wanted, axis=1, separator=" "))


class WishVectors(NamedTuple):
    """Vectors of what texts ask for.

    Attributes:
        wanted: float32 [B, W, E], zeros = no more wishes.
        unwanted: float32 [B, E], zeros = none.
    """

    wanted: Any
    unwanted: Any


def wish_vectors(wishes: Wishes, encode: Callable[[Any], Any]) -> WishVectors:
    """Vectors of wishes.

    Args:
        wishes: Of B texts.
        encode: Gives float32 [N, E] vectors of string [N] texts, zeros for "".
    """
    shape = tf.shape(wishes.wanted)
    vectors = encode(tf.concat([tf.reshape(wishes.wanted, [-1]), wishes.unwanted], axis=0))
    wanted, unwanted = tf.split(vectors, [shape[0] * shape[1], shape[0]])
    return WishVectors(tf.reshape(wanted, [shape[0], shape[1], vectors.shape[-1]]), unwanted)


def split_wishes(texts: Any) -> Wishes:
    """Wishes and unwanted words of string [B] texts, which may be anything: not UTF-8, or without end."""
    wishes = tf.strings.split(texts, contract.WISH_SEPARATOR, maxsplit=_MOST - 1)
    flat = tf.strings.regex_replace(wishes.flat_values, contract.WISH_SEPARATOR, " ")  # beyond the most
    alone = tf.equal(tf.gather(wishes.row_lengths(), wishes.value_rowids()), 1)
    read = (tf.strings.length(flat) <= _LONGEST) & ~(alone & _is_name(flat))
    marked = _marked(tf.where(read, flat, ""))
    asks_less = tf.strings.regex_full_match(marked, f"(?s).*{_BEGIN}.*")
    wanted = tf.where(asks_less, _outside(marked), flat)
    unwanted = tf.where(asks_less, _inside(marked), "")
    joined = tf.strings.reduce_join(wishes.with_flat_values(unwanted), axis=1, separator=" ")
    columns = wishes.with_flat_values(wanted).to_tensor(default_value="")
    none = tf.fill([tf.shape(texts)[0], tf.cast(tf.shape(columns)[1] == 0, tf.int32)], "")
    return Wishes(tf.concat([columns, none], axis=1), tf.strings.strip(joined))


def _is_name(texts: Any) -> Any:
    return tf.strings.regex_full_match(texts, _NAME) & ~tf.strings.regex_full_match(texts, _NO_NAME)


def _marked(texts: Any) -> Any:
    """Texts with `_BEGIN` before each stretch of unwanted words and `_END` where it ends at the latest."""
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    texts = tf.strings.regex_replace(texts, r"[\x1b\x1d\x1f]", " ")
    for pattern in _NO_CUES:
        texts = tf.strings.regex_replace(texts, pattern, rf"\1{_CUT}\2")
    for pattern in _CUES:
        texts = tf.strings.regex_replace(texts, pattern, rf"\1{_BEGIN} ")
    for pattern in _ENDS:
        texts = tf.strings.regex_replace(texts, pattern, rf"{_END}\1")
    return tf.strings.regex_replace(texts, _SEARCH_STYLE, rf"\1{_BEGIN}\2{_END}")


def _outside(marked: Any) -> Any:
    """What is wanted; "" where no letter or digit is left."""
    rest = tf.strings.regex_replace(
        marked, f"{_BEGIN}[^{_BEGIN}{_END}]*(?:{_END}(?:以外|之外))?(?:{_END}的)?", " "
    )
    rest = tf.strings.regex_replace(rest, rf"[{_CUT}{_END}]", "")
    rest = tf.strings.regex_replace(rest, r"\s+", " ")
    rest = tf.strings.regex_replace(rest, r"[\s,;，；、]*([,;，；、])", r"\1")
    rest = tf.strings.regex_replace(rest, r"^[\s,;.，；、。]+|[\s,;，；、]+$", "")
    return tf.where(tf.strings.regex_full_match(rest, r"(?s).*[\pL\pN].*"), rest, "")


def _inside(marked: Any) -> Any:
    rest = tf.strings.regex_replace(marked, f"(^|{_END})[^{_BEGIN}]*", " ")
    rest = tf.strings.regex_replace(rest, rf"[{_CUT}{_END}{_BEGIN}]", " ")
    return tf.strings.strip(tf.strings.regex_replace(rest, r"\s+", " "))
