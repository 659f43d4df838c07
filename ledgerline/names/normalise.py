"""Spelling rules of company names: the keys under which the index, the graph and the features compare them.

Pure string functions only. What a company is called, and when, is in `ledgerline.names.facts`; how alike two names are
is in `ledgerline.mapping.features`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Words that say what kind of body a firm is, not which one, by family; dropped from the end of a name only.
_FAMILIES = {
    1: "inc incorporated corp corporation co company",
    2: "ltd limited plc",
    3: "llc lp llp lllp",
    4: """gmbh bv sa ag ab as asa nv srl sarl sl spa oy oyj kk pte pty pvt bhd berhad cv kg kgaa sro se aps hf ooo
        ua sas pjsc sab spv ltda ulc""",
}
_FAMILY = {word: family for family, words in _FAMILIES.items() for word in words.split()}
STRICT_LEGAL_FORMS = frozenset(_FAMILY)
# These may be all that tells two firms apart, so that only `stem` drops them.
LEGAL_FORMS = STRICT_LEGAL_FORMS | {"cos", "companies", "holdings", "holding", "group", "groep", "trust", "intl"}
_LOOSE_ENDS = frozenset({"and", "de", "the", "com", "new", "of"})  # left over once a legal form is gone
# Fused legal forms after punctuation is gone: "S.A.", "L.L.C.", "S.A. de C.V.", "N.V.".
_DOTTED = re.compile(r"\b(?:[a-z]\.){2,}(?:[a-z]\b)?|\b(?:[a-z]\.)+[a-z]\b")
_SLASHED_FORM = re.compile(r"\b([anp])/([svb])\b")  # Danish A/S, Norwegian ANS: a legal form, not a state tag
_EDGAR_TAG = re.compile(r"\s*[/\\](?:[a-z]{2,4}|new|old|adv|fi|can|\s)+[/\\]?\s*$")  # "/DE/", "/NEW/", "CORP /DE"
# What exchanges append to a security's name; everything from here on describes the share and not the firm.
_SHARE_WORDS = re.compile(
    r"\b(?:class [a-c]\b|cl [a-c]\b|common stock|common shares?|ordinary shares?|ord shs|american depositary"
    r"|depositary shares?|sponsored ad[rs]|unsponsored ad[rs]|adrs?\b|adss?\b|preferred stock|warrants?\b"
    r"|units?\b each|rights?\b each|shs\b).*$"
)
_PUBLIC_LIMITED = re.compile(r"\bpublic (?:ltd|limited) (?:co|company)\b")
_KOREAN_FORM = re.compile(r"\(주\)|㈜|\(유\)|주식회사|유한회사|유한책임회사|보통주|우선주")
_NOT_WORD = re.compile(r"[^0-9a-z\u00c0-\u024f가-힣ㄱ-ㆎ一-鿿ぁ-ヿ]+")
_APOSTROPHES = re.compile(r"['’`´‘]")
_HANGUL = re.compile(r"[가-힣]")


@lru_cache(maxsize=200_000)
def normalise(text: str) -> str:
    """Lower-case words separated by one blank: no punctuation, accents or EDGAR state tag.

    "&" is "and", "U.S." is "us". Empty for a text without a letter or digit.
    """
    text = unicodedata.normalize("NFKC", text).lower().strip()
    text = _KOREAN_FORM.sub(" ", text)
    text = _SLASHED_FORM.sub(r"\1\2", text)
    text = _EDGAR_TAG.sub("", text) or text
    text = _DOTTED.sub(lambda match: match.group().replace(".", "") + " ", text)
    text = _APOSTROPHES.sub("", text).replace("&", " and ")
    text = _PUBLIC_LIMITED.sub("plc", text)
    if not text.isascii() and not _HANGUL.search(text):
        text = "".join(ch for ch in unicodedata.normalize("NFKD", text) if not unicodedata.combining(ch))
    return " ".join(_NOT_WORD.sub(" ", text).split())


@lru_cache(maxsize=200_000)
def core(text: str) -> str:
    """The normalised name without what every firm has: a leading "the", share descriptions, legal forms, ".com".

    At least one word always stays: `core("The Inc")` is "inc". "Group" and "Holdings" stay; see `stem`.
    """
    return _without_ending(text, STRICT_LEGAL_FORMS)


@lru_cache(maxsize=200_000)
def stem(text: str) -> str:
    """As `core`, without "Group", "Holdings" and the like as well: "Expedia Group, Inc." leaves "expedia"."""
    return _without_ending(text, LEGAL_FORMS)


def _without_ending(text: str, endings: frozenset[str]) -> str:
    words = normalise(text)
    kept = _SHARE_WORDS.sub("", words).split() or words.split()
    if len(kept) > 1 and kept[0] == "the":
        kept = kept[1:]
    while len(kept) > 1 and (kept[-1] in endings or kept[-1] in _LOOSE_ENDS):
        kept = kept[:-1]
    return " ".join(kept)


def compact(text: str) -> str:
    """`core` without blanks: equal for "Face Book Inc" and "Facebook"."""
    return core(text).replace(" ", "")


def loosest(text: str) -> str:
    """`stem` without blanks: the key that all spellings of one name share, "Face Book Inc" and "Facebook" too."""
    return stem(text).replace(" ", "")


def has_legal_form(text: str) -> bool:
    """Whether the text ends in a legal form proper ("Inc", "LLC", "GmbH"; not "Group")."""
    words = normalise(text).split()
    return len(words) > 1 and words[-1] in STRICT_LEGAL_FORMS


def legal_form(text: str) -> str:
    """The last word where it is a legal form proper, else ""."""
    words = normalise(text).split()
    return words[-1] if len(words) > 1 and words[-1] in STRICT_LEGAL_FORMS else ""


def form_family(text: str) -> int:
    """The family of the legal form: 0 none, 1 Inc, Corp, Co, 2 Ltd, Plc, 3 partnerships (LLC, LP), 4 all others."""
    return _FAMILY.get(legal_form(text), 0)


def has_hangul(text: str) -> bool:
    return bool(_HANGUL.search(text))


def char_ngrams(text: str) -> list[str]:
    """Distinct character n-grams of the core, in order: 3-grams of the padded words for Latin, 2-grams for Hangul
    (a syllable carries about two letters). Short words give themselves."""
    joined = core(text)
    if not joined:
        return []
    if has_hangul(joined):
        size, padded = 2, joined.replace(" ", "")
    else:
        size, padded = 3, f"_{joined.replace(' ', '_')}_"
    if len(padded) <= size:
        return [padded]
    return list(dict.fromkeys(padded[at : at + size] for at in range(len(padded) - size + 1)))
