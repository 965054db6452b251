r"""What BERT's reference tokenizer does to a text before it splits it, and KerasNLP's leaves out.

Invisible characters disappear (Devlin 2018, reference code, `_clean_text`); KerasNLP splits words at them, though a
joiner stands inside of an emoji, a non-joiner inside of a Persian word, and direction marks anywhere in right-to-left
text. Spaces of every script become plain ones; KerasNLP splits at those of ASCII alone, so that a word before a
no-break space and the one after it were one unknown word.
"""

from __future__ import annotations

from typing import Any

from trainer.keras_compat import tf

_SPACES = r"[\t\n\r\p{Z}]"
_INVISIBLE = r"[\p{C}\x{FFFD}]"


def cleaned(texts: Any) -> Any:
    """String [B] with plain spaces and without control and format characters."""
    return tf.strings.regex_replace(tf.strings.regex_replace(texts, _SPACES, " "), _INVISIBLE, "")
