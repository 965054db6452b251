r"""What BERT's reference tokenizer does to a text before it splits it, and KerasNLP leaves out or does otherwise.

- Invisible characters disappear (Devlin 2018, reference code, `_clean_text`). KerasNLP splits words at them, though a
  joiner stands inside of an emoji, a non-joiner inside of a Persian word, and direction marks anywhere in right-to-left
  text.
- Spaces of every script become plain ones. KerasNLP splits at those of ASCII alone, so that a word before a no-break
  space and the one after it were one unknown word.
- Letters are lowered. KerasNLP folds case by NFKC, which puts together again what stripping accents has taken apart
  (Hangul, which uncased multilingual BERTs know by its parts) and writes the German sharp s as ss.
"""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import tf

_SPACES = r"[\t\n\r\p{Z}]"
_INVISIBLE = r"[\p{C}\x{FFFD}]"


def cleaned(texts: Any, *, lower: bool) -> Any:
    """String [B] with plain spaces, without control and format characters, and in lower case if that is wanted."""
    plain = tf.strings.regex_replace(tf.strings.regex_replace(texts, _SPACES, " "), _INVISIBLE, "")
    # Not before: the op ends a text at a zero byte, of which there is none left now.
    return tf.strings.lower(plain, encoding="utf-8") if lower else plain


def without_case_folding(tokenizer: Any) -> Any:
    """A KerasNLP WordPiece tokenizer that leaves letters as they are; the same one if it does so already."""
    if not tokenizer.lowercase:
        return tokenizer
    config = tokenizer.get_config() | {"lowercase": False, "vocabulary": tokenizer.get_vocabulary()}
    return type(tokenizer).from_config(config)
