"""Cuts a text into words and character n-grams and hashes them into rows.

No vocabulary is learned, so a text written after training still says something: its words may be new,
their n-grams rarely are. The hash (CRC-32 of UTF-8) is the same in every process and on every machine.
"""

import re
import unicodedata
import zlib
from functools import lru_cache
from itertools import islice

CHARACTERS_PER_TOKEN = 64
LONGEST_WORD = 64
WORD_START, WORD_END = "<", ">"

_ASCII_WORD = re.compile(r"[a-z0-9]+")


class _Separators(dict[int, str | int | None]):
    """Replacement of each character before a text is cut at spaces; filled as characters turn up.

    Letters, marks and numbers stay (marks: without them the scripts of India fall into pieces),
    invisible format characters vanish, all others part words. `str.isalnum` would lose the marks.
    """

    def __missing__(self, code: int) -> str | int | None:
        category = unicodedata.category(chr(code))
        result: str | int | None = " "
        if category[0] in "LMN":
            result = code
        elif category == "Cf":
            result = None
        # Kept, as `translate` asks again in every text; Unicode bounds how many there can be.
        self[code] = result
        return result


_SEPARATORS = _Separators()


def split_words(text: str) -> list[str]:
    """Returns the words of a text, lower case and in Unicode's compatibility form (NFKC).

    Example:
        >>> split_words("Ｔoy Story (1995): ½-price, Café!")
        ['toy', 'story', '1995', '1', '2', 'price', 'café']
    """
    # For such texts the same words as below, without a look at Unicode's tables.
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return unicodedata.normalize("NFKC", text).lower().translate(_SEPARATORS).split()


# Bounded in entries and, by LONGEST_WORD, in the size of each: requests cannot make it grow.
@lru_cache(maxsize=32_768)
def word_rows(word: str, sizes: tuple[int, ...], n_rows: int) -> tuple[int, ...]:
    """Returns the hashed row of a word and of its character n-grams, the word's own first.

    The word is taken between boundary marks, so that `<un` at its head and `un` inside differ, and a
    word is not an n-gram of a longer one.

    Args:
        word: One word, at most `LONGEST_WORD` characters of it count.
        sizes: Sizes of n-grams; one as long as the marked word or longer adds nothing.
        n_rows: Rows are in 0 … n_rows - 1.
    """
    marked = f"{WORD_START}{word[:LONGEST_WORD]}{WORD_END}"
    pieces = [marked]
    for size in sizes:
        pieces += [marked[i : i + size] for i in range(len(marked) - size + 1)]
    # Not `hash`, which differs from process to process.
    return tuple(dict.fromkeys(zlib.crc32(piece.encode()) % n_rows for piece in pieces))


def text_rows(text: str, sizes: tuple[int, ...], n_rows: int, max_tokens: int) -> list[int]:
    """Returns the distinct hashed rows of a text, at most `max_tokens`, each in 0 … n_rows - 1.

    The order in which room is given: the words as they come, then the n-grams of the first word, of the
    second, and so on. A very long text is cut before anything else (`CHARACTERS_PER_TOKEN` for each
    token that is kept), so that the work for one text is bounded.
    """
    # Normalising a long run of combining marks takes time that grows with its square: cut first.
    words = dict.fromkeys(split_words(text[: CHARACTERS_PER_TOKEN * max_tokens]))
    pieces = [word_rows(word, sizes, n_rows) for word in islice(words, max_tokens)]
    # Words before n-grams: where room is short, the whole words count.
    rows = dict.fromkeys(piece[0] for piece in pieces)
    for piece in pieces:
        if len(rows) >= max_tokens:
            break
        rows.update(dict.fromkeys(piece))
    return list(islice(rows, max_tokens))
