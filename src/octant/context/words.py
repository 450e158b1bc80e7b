"""Words: how texts are compared, for ranking passages and for checking citations. Pure.

Law: comparison ignores case, punctuation, accents' encoding and width, and nothing else. In scripts
without spaces every letter counts as a word.
"""

import re
import unicodedata

_NO_SPACES = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_LETTER = re.compile(rf"[{_NO_SPACES}]")
# A number keeps its separators: 4.5 is one word, and not the words 4 and 5.
_WORD = re.compile(rf"[{_NO_SPACES}]|\d+(?:[.,:]\d+)*[^\W{_NO_SPACES}]*|[^\W{_NO_SPACES}]+")


def unspaced(word: str) -> bool:
    """Whether a word is a letter of a script without spaces, which says little on its own."""
    return _LETTER.fullmatch(word) is not None


def words(text: str) -> list[str]:
    """The words of a text in order, normalised."""
    return [word.casefold() for word in spelled(text)]


def spelled(text: str) -> list[str]:
    """The words of a text in order, with their capitals."""
    plain = unicodedata.normalize("NFKC", text).replace("’", "'").replace("n't", " not")
    return _WORD.findall(plain)
