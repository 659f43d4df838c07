"""From the text of a document to its hashed word n-grams. Pure functions; what is done with them is near_duplicates.py.

A feature is a 32-bit number, stable across processes, machines and Python versions:

    level (5 bits) | figure (1 bit) | hash (26 bits)

`level` is geometric: half of all features have level 0, a quarter level 1, and so on. A long document keeps only the
features from some level up, and since the level belongs to the feature, two documents keep the *same* ones: compared
from the higher of their two levels up, they are compared on a fair sample. The hash bits are independent of the level,
so that the features of long documents do not crowd together.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]

LEVEL_SHIFT = 27
FIGURE_BIT = np.uint32(1 << 26)
HASH_MASK = np.uint64((1 << 26) - 1)
MAX_LEVEL = 31
MAX_GRAM = 3
# 4 bytes each: at most 1.5 kB a document. Most news items keep all they have, a 10-K one in some hundred.
MAX_FEATURES = 384
LONGEST_PHRASE = 100  # characters of evidence: a run of encoded bytes is one "word", too

_OTHER, _LETTER, _DIGIT, _JOINER = 0, 1, 2, 3
_LETTER_RANGES = (  # written out, since Python versions differ in their Unicode tables
    (0x61, 0x7A),  # a-z; the text is in lower case
    (0xC0, 0x24F),  # Latin with diacritics
    (0x370, 0x3FF),  # Greek
    (0x400, 0x4FF),  # Cyrillic
    (0x1E00, 0x1EFF),  # Latin with further diacritics
    (0x3041, 0x30FF),  # kana
    (0x3400, 0x4DBF),  # CJK ideographs
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),  # Hangul syllables
)
_CHUNK = 1 << 20  # characters hashed at a time: bounds the memory that a very long text needs meanwhile


def _character_classes() -> NDArray[np.uint8]:
    classes = np.zeros(0x10000, dtype=np.uint8)
    for first, last in _LETTER_RANGES:
        classes[first : last + 1] = _LETTER
    classes[[0xD7, 0xF7]] = _OTHER  # the signs of multiplication and division are among the Latin letters
    classes[0x30:0x3A] = _DIGIT
    classes[[0x2C, 0x2E]] = _JOINER
    return classes


_CLASSES = _character_classes()
with np.errstate(over="ignore"):
    _POWERS = np.cumprod(np.full(256, 0x9E3779B97F4A7C15, dtype=np.uint64), dtype=np.uint64)
_GRAM_FACTORS = (np.uint64(0xD6E8FEB86659FD93), np.uint64(0xA0761D6478BD642F), np.uint64(0xE7037ED1A0B428DB))


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a text in order: `hashes` uint64 (n,), `figures` bool (n,), `starts`/`ends` offsets in `text`."""

    text: str  # composed (NFC), in lower case
    hashes: U64
    figures: NDArray[np.bool_]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Features:
    """The features a document keeps: `ids` uint32 (k,), ascending and unique, all of at least `level`.

    `first` and `grams` (k,) say at which token the feature first stands and of how many tokens it is made. `figures` is
    a fingerprint of all figures of the whole text, in any order: a long text keeps few of them as features.
    """

    tokens: Tokens
    ids: U32
    level: int
    first: NDArray[np.int64]
    grams: NDArray[np.uint8]
    figures: int

    def phrase(self, index: int) -> str:
        """The words of feature `index` without what stands between them, cut where they are no words."""
        places = range(int(self.first[index]), int(self.first[index]) + int(self.grams[index]))
        words = [self.tokens.text[self.tokens.starts[place] : self.tokens.ends[place]] for place in places]
        return " ".join(words)[:LONGEST_PHRASE]


def mix(values: U64) -> U64:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): every bit of the result depends on every bit given."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def tokenize(text: str) -> Tokens:
    """Tokens are runs of letters and digits, Hangul included; '.' and ',' belong to a token between two digits."""
    text = text if text.isascii() else unicodedata.normalize("NFC", text)
    text = text.lower()
    parts = []
    begin = 0
    while begin < len(text):
        end = _chunk_end(text, begin)
        parts.append(_tokenize_chunk(text[begin:end], begin))
        begin = end
    if not parts:
        parts = [_tokenize_chunk("", 0)]
    hashes, figures, starts, ends = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Tokens(text, hashes, figures, starts, ends)


def _chunk_end(text: str, begin: int) -> int:
    """Where a chunk may end: after white space, so that no token is cut (unless one fills the whole chunk)."""
    end = begin + _CHUNK
    if end >= len(text):
        return len(text)
    space = max(text.rfind(" ", begin, end), text.rfind("\n", begin, end))
    return space + 1 if space >= begin else end


def _tokenize_chunk(text: str, offset: int) -> tuple[U64, NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    if text.isascii():
        points = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    else:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        points = np.minimum(points, np.uint32(0xFFFF))  # beyond the basic plane nothing is a letter here
    classes = _CLASSES[points]
    inside = (classes == _LETTER) | (classes == _DIGIT)
    digit = classes == _DIGIT
    inside[1:-1] |= (classes[1:-1] == _JOINER) & digit[:-2] & digit[2:]
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False))
    starts, ends = edges[0::2], edges[1::2]
    if not starts.size:
        empty = np.zeros(0, dtype=np.int64)
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=bool), empty, empty
    lengths = ends - starts
    firsts = np.cumsum(lengths) - lengths
    place = np.arange(int(lengths.sum())) - np.repeat(firsts, lengths)
    terms = (points[inside].astype(np.uint64) + np.uint64(1)) * _POWERS[place & 255]
    hashes = mix(np.add.reduceat(terms, firsts))
    return hashes, digit[starts], starts + offset, ends + offset


def extract(text: str, limit: int = MAX_FEATURES) -> Features:
    """The 1- to 3-grams of a text, each once; of a long text those from the lowest level at which `limit` suffice."""
    tokens = tokenize(text)
    count = tokens.hashes.size
    grams = [tokens.hashes * _GRAM_FACTORS[0]]
    for size in range(2, MAX_GRAM + 1):
        if count >= size:
            # a factor for every place: the same words in another order are another feature
            grams.append(grams[-1][:-1] + tokens.hashes[size - 1 :] * _GRAM_FACTORS[size - 1])
    values = mix(np.concatenate(grams))
    level = _level_for(values, limit)
    kept = np.flatnonzero(values <= _largest(level))
    sizes = np.array([part.size for part in grams])
    ends = np.cumsum(sizes)
    size_of = np.searchsorted(ends, kept, side="right")  # 0 for single words
    first = kept - (ends - sizes)[size_of]
    figures = (size_of == 0) & tokens.figures[first]
    ids = _feature_ids(values[kept], figures)
    ids, chosen = np.unique(ids, return_index=True)
    all_figures = int(mix(tokens.hashes[tokens.figures]).sum(dtype=np.uint64))
    return Features(tokens, ids, level, first[chosen], (size_of[chosen] + 1).astype(np.uint8), all_figures)


def _largest(level: int) -> np.uint64:
    return np.uint64((1 << (64 - level)) - 1)


def _level_for(values: U64, limit: int) -> int:
    """The lowest level at which at most `limit` distinct features remain."""
    # A very long text is not sorted whole: at this level about 16 times too many remain, unless words repeat a lot.
    level = max(0, (values.size // (16 * limit)).bit_length() - 1)
    distinct = np.unique(values[values <= _largest(level)])
    if level and distinct.size <= limit:
        level, distinct = 0, np.unique(values)
    while distinct.size > limit and level < MAX_LEVEL:
        level += 1
        distinct = distinct[: int(np.searchsorted(distinct, _largest(level), side="right"))]
    return level


def _feature_ids(values: U64, figures: NDArray[np.bool_]) -> U32:
    top = (values >> np.uint64(32)).astype(np.uint32)
    # leading zeros of 32 bits: frexp gives the number of significant bits, exactly for what a double holds
    level = (32 - np.frexp(top.astype(np.float64))[1]).astype(np.uint32)
    level = np.minimum(level, np.uint32(MAX_LEVEL))
    ids = (level << np.uint32(LEVEL_SHIFT)) | (values & HASH_MASK).astype(np.uint32)
    return np.where(figures, ids | FIGURE_BIT, ids).astype(np.uint32)
