"""Training examples for the ranker, made from the facts alone: no source text, no set that is used for measuring.

A labelled mention is a surface in a neutral carrier sentence, a day, and the company that is right, or none.
Positives are names, former names, short names, aliases, initials, tickers, typos and careless spans of companies,
on days on which they meant the company. Negatives are lower-case words, subsidiaries, companies that are hidden
from the candidates (so that what is left is what an unknown firm looks like), invented names, phrases of the
market, and unlisted Korean firms.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from ledgerline.mapping import carriers
from ledgerline.mapping.candidates import candidate_sets
from ledgerline.mapping.features import FEATURE_SET, FEATURES, NameStats, feature_matrix
from ledgerline.mapping.ports import CandidateIndex, KnowledgeGraph
from ledgerline.mapping.records import Mention
from ledgerline.mapping.tables import LABELLED_CANDIDATES
from ledgerline.names.normalise import core, form_family, has_hangul, has_legal_form, normalise, stem

if TYPE_CHECKING:
    from ledgerline.names.facts import Facts

SEED = 7
MENTIONS = 6_000  # 8,000 and 10,000 measured no better, and every thousand takes a second to make
FIRST_DAY, LAST_DAY = date(2014, 1, 1), date(2026, 6, 1)  # the span over which dated facts are known, and a year before
LARGE_RANK = 1_500  # news names large companies far more often: half of the examples are about them
# A short name must be the company's own: few other companies begin with it, and they are far smaller.
MAX_SHARING, SIZE_LEAD = 4, 3
UNKNOWN_RANK = 20_000
LONG_NAME = 10  # letters from which a slip still leaves no doubt


@dataclass(frozen=True, slots=True)
class LabelledMention:
    """A mention whose answer is known. `hidden` companies must be taken out of its candidates before it is learned
    from."""

    mention: Mention
    truth: str | None
    kind: str
    group: str  # the company of the truth or of the trap: a split must keep it on one side
    hidden: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Name:
    company_id: str
    name: str
    kind: str
    first: date | None
    last: date | None


@dataclass(frozen=True, slots=True)
class _Draft:
    surface: str
    truth: str | None
    kind: str
    group: str
    as_of: date
    sentences: Sequence[str] = carriers.ENGLISH_SENTENCES
    hidden: frozenset[str] = frozenset()


def labelled_mentions(facts: Facts, seed: int = SEED, count: int = MENTIONS) -> list[LabelledMention]:
    """`count` examples in a fixed mix of kinds; the same facts and seed give the same list.

    Raises ValueError for facts without a listed company.
    """
    maker = _Maker(facts, random.Random(seed))  # noqa: S311 - examples, not secrets
    labelled = []
    for number in range(count):
        draft = maker.draft()
        left, _, right = maker.rng.choice(draft.sentences).partition("{}")
        language: Literal["ko", "en"] = "ko" if has_hangul(draft.surface) else "en"
        mention = Mention(f"labelled:{seed}:{number}", draft.surface, left, right, language, draft.as_of)
        labelled.append(LabelledMention(mention, draft.truth, draft.kind, draft.group, draft.hidden))
    return labelled


def labelled_candidate_rows(
    facts: Facts,
    *,
    index: CandidateIndex,
    graph: KnowledgeGraph,
    stats: NameStats,
    seed: int = SEED,
    count: int = MENTIONS,
) -> pa.Table:
    """What the ranker learns from, as LABELLED_CANDIDATES: equal facts, index and graph give equal rows."""
    return labelled_table(labelled_mentions(facts, seed, count), index=index, graph=graph, stats=stats)


def labelled_table(
    labelled: Sequence[LabelledMention], *, index: CandidateIndex, graph: KnowledgeGraph, stats: NameStats
) -> pa.Table:
    """The examples with their candidates and features, as LABELLED_CANDIDATES.

    A mention without any candidate keeps one row with a null company, so that what was never retrieved still counts.
    """
    sets = candidate_sets([example.mention for example in labelled], index=index, graph=graph)
    columns: dict[str, list] = {name: [] for name in LABELLED_CANDIDATES.names}
    for example, found in zip(labelled, sets, strict=True):
        candidates = [candidate for candidate in found if candidate.company_id not in example.hidden]
        features = feature_matrix(example.mention, candidates, stats)
        companies: list[str | None] = [candidate.company_id for candidate in candidates]
        if not companies:
            companies, features = [None], np.zeros((1, len(FEATURES)), dtype=np.float32)
        for position, company_id in enumerate(companies):
            columns["mention_id"].append(example.mention.mention_id)
            columns["surface"].append(example.mention.surface)
            columns["kind"].append(example.kind)
            columns["group"].append(example.group)
            columns["as_of"].append(example.mention.as_of.isoformat())
            columns["truth"].append(example.truth)
            columns["position"].append(position)
            columns["company_id"].append(company_id)
            columns["feature_set"].append(FEATURE_SET)
            columns["features"].append(features[position])
            columns["label"].append(int(company_id is not None and company_id == example.truth))
    return pa.table(columns, schema=LABELLED_CANDIDATES)


class _Maker:
    """Draws drafts of examples. Holds the facts in the shapes that drawing needs."""

    def __init__(self, facts: Facts, rng: random.Random) -> None:
        self.rng = rng
        companies = facts.companies.to_pylist()
        self.ranks = {c["company_id"]: c["size_rank"] or UNKNOWN_RANK for c in companies}
        listed = {c["company_id"] for c in companies if c["listed"]}
        if not listed:
            raise ValueError("The facts hold no listed company; materialize `listings` first.")
        self.us: list[str] = sorted(c["company_id"] for c in companies if c["listed"] and c["country"] == "US")
        self.kr: list[str] = sorted(c["company_id"] for c in companies if c["listed"] and c["country"] == "KR")
        self.large = [company_id for company_id in self.us if self.ranks[company_id] <= LARGE_RANK] or self.us
        self.unlisted = [(c["company_id"], c["name"]) for c in companies if not c["listed"] and len(c["name"]) > 2]
        self.names: dict[str, list[_Name]] = defaultdict(list)
        self.bearers: dict[str, set[str]] = defaultdict(set)  # core and stem of a name -> its companies
        self.starts: dict[str, set[str]] = defaultdict(set)  # first words -> companies whose names begin so
        for row in facts.names.to_pylist():
            if row["company_id"] in listed and row["kind"] not in ("person", "product"):
                self._add_name(row)
        self.tickers = self._tickers(facts)
        self.shared_names = self._shared_names()
        self.with_initials = self._with_initials()
        self.relatives = _relatives(facts)
        self.successors = {
            row["company_id"]: (row["successor_id"], date.fromisoformat(row["day"]))
            for row in facts.successors.to_pylist()
        }
        self.words = sorted(
            {word for start in self.starts for word in start.split() if word.isalpha() and len(word) > 2}
        )
        self.kinds: list[tuple[float, Callable[[], _Draft | None]]] = [
            (0.14, self._full_name),
            (0.12, self._short_name),
            (0.05, self._former_name),
            (0.04, self._time_decides),
            (0.05, self._careless_span),
            (0.015, self._truncated_span),
            (0.02, self._typo),
            (0.015, self._initials),
            (0.01, self._ticker),
            (0.02, self._bracketed),
            (0.20, self._hidden_company),
            (0.14, self._subsidiary),
            (0.03, self._foreign_branch),
            (0.03, self._near_name),
            (0.03, self._shared_words),
            (0.03, self._invented),
            (0.05, self._lower_case_word),
            (0.04, self._market_phrase),
            (0.015, self._random_acronym),
        ]
        if self.kr:
            self.kinds += [(0.05, self._korean_name), (0.01, self._hidden_korean), (0.03, self._korean_affiliate)]
        if self.unlisted:
            self.kinds += [(0.03, self._unlisted_firm)]

    def draft(self) -> _Draft:
        """The next example; a kind that finds nothing to say about the company it drew is drawn again."""
        weights = [weight for weight, _ in self.kinds]
        while True:
            made = self.rng.choices(self.kinds, weights)[0][1]()
            if made is not None and core(made.surface):
                return made

    def _add_name(self, row: dict) -> None:
        name = _Name(row["company_id"], row["name"], row["kind"], _day(row["valid_from"]), _day(row["valid_to"]))
        plain = core(name.name)
        if not plain:
            return
        self.names[name.company_id].append(name)
        self.bearers[plain].add(name.company_id)
        self.bearers[stem(name.name)].add(name.company_id)
        words = plain.split()
        for length in range(1, min(3, len(words)) + 1):
            self.starts[" ".join(words[:length])].add(name.company_id)

    def _tickers(self, facts: Facts) -> dict[str, list[tuple[str, date | None, date | None]]]:
        found: dict[str, list[tuple[str, date | None, date | None]]] = defaultdict(list)
        for row in facts.securities.to_pylist():
            found[row["company_id"]].append((row["ticker"], _day(row["valid_from"]), _day(row["valid_to"])))
        return found

    def _shared_names(self) -> list[list[_Name]]:
        """The names that more than one company bore, each with all its bearers."""
        found: dict[str, list[_Name]] = defaultdict(list)
        for company_id in self.us:
            for name in self.names.get(company_id, ()):
                found[core(name.name)].append(name)
        return [names for names in found.values() if len({name.company_id for name in names}) > 1]

    def _with_initials(self) -> list[tuple[_Name, str]]:
        found = []
        for company_id in self.large:
            tickers = {ticker for ticker, *_ in self.tickers[company_id]}
            for name in self.names.get(company_id, ()):
                for plain in (core(name.name), normalise(name.name)):
                    letters = "".join(word[0] for word in plain.split() if word not in ("and", "of")).upper()
                    if len(letters) >= 2 and letters in tickers:
                        found.append((name, letters))
                        break
        return found

    # What is drawn from: companies, names, days.

    def _company(self) -> str:
        return self.rng.choice(self.large if self.rng.random() < 0.5 else self.us)

    def _name(self, company_id: str, kinds: Iterable[str] = ("name", "alias")) -> _Name | None:
        names = [name for name in self.names.get(company_id, ()) if name.kind in kinds]
        return self.rng.choice(names) if names else None

    def _day_between(self, first: date | None, last: date | None) -> date:
        first, last = first or FIRST_DAY, last or LAST_DAY
        return first + timedelta(days=self.rng.randint(0, max((last - first).days, 0)))

    def _day_for(self, name: _Name) -> date:
        """A day on which the name meant its company: while it had it, and with some delay after."""
        first, last = name.first, name.last
        if last and self.rng.random() < 0.3:
            last = min(last + timedelta(days=365), LAST_DAY)
        return self._day_between(first, last)

    def _unambiguous(self, surface: str, name: _Name, day: date) -> bool:
        """Whether no other company that may be meant bore the surface as its whole name on about that day."""
        others = (self.bearers.get(core(surface), set()) | self.bearers.get(stem(surface), set())) - {name.company_id}
        slack = timedelta(days=700)
        for other in others:
            for known in self.names[other]:
                if core(surface) in (core(known.name), stem(known.name)):
                    begun = known.first is None or known.first - slack <= day
                    ended = known.last is not None and known.last + slack < day
                    if begun and not ended and self.ranks[other] < SIZE_LEAD * self.ranks[name.company_id]:
                        return False
        return True

    def _short(self, name: _Name) -> str | None:
        """The first words of a name where they alone point to the company: "Cisco" of "Cisco Systems, Inc."."""
        words = [word for word in _display(name.name).split() if core(word)]
        plain = core(name.name).split()
        for length in range(1, min(len(plain), 3)):
            start = " ".join(plain[:length])
            others = self.starts[start] - {name.company_id}
            nearest = min((self.ranks[other] for other in others), default=UNKNOWN_RANK * SIZE_LEAD)
            dominant = nearest >= SIZE_LEAD * self.ranks[name.company_id]
            if len(start) > 2 and len(others) <= MAX_SHARING and dominant:
                return " ".join(words[:length]).strip(",.")
        return None

    # Positives.

    def _full_name(self) -> _Draft | None:
        name = self._name(self._company())
        if name is None:
            return None
        return self._positive(name, self._written(name), "dated_name" if name.last else "current_name")

    def _written(self, name: _Name) -> str:
        """A name as texts write it: with its form, with another spelling of it, or without."""
        shown = _display(name.name)
        chance = self.rng.random()
        if chance < 0.45:
            return shown
        bare = _without_form(shown)
        if chance < 0.75:
            return bare
        if chance < 0.93:
            forms = carriers.US_FORMS if form_family(shown) in (0, 1) else carriers.UK_FORMS
            return _with_form(bare, self.rng.choice(forms))
        return bare.upper() if chance < 0.95 else _respaced(shown, self.rng)

    def _short_name(self) -> _Draft | None:
        name = self._name(self._company())
        short = self._short(name) if name else None
        if name is None or short is None:
            return None
        if self.rng.random() < 0.25:
            short = f"{short} {self.rng.choice(('Inc', 'Inc.', 'Corp', 'Corp.', 'Co'))}"
        return self._positive(name, short, "short_name")

    def _former_name(self) -> _Draft | None:
        """A name that the company no longer has, on any later day: texts go on using it."""
        ended = [(n, n.last) for n in self.names.get(self._company(), ()) if n.last is not None and n.last < LAST_DAY]
        if not ended:
            return None
        name, last = self.rng.choice(ended)
        day = self._day_between(last, LAST_DAY)
        surface = self._short(name) if self.rng.random() < 0.4 else None
        return self._positive(name, surface or self._written(name), "former_name", day)

    def _time_decides(self) -> _Draft | None:
        """A name that several companies bore, on a day on which only one of them was listed under it."""
        if not self.shared_names:
            return None
        bearers = self.rng.choice(self.shared_names)
        name = self.rng.choice(bearers)
        day = self._day_between(name.first, name.last)
        meant = {
            one.company_id for one in bearers if _holds(one.first, one.last, day) and self._listed(one.company_id, day)
        }
        if meant != {name.company_id}:
            return None
        return _Draft(self._written(name), name.company_id, "time_decides", name.company_id, day)

    def _listed(self, company_id: str, day: date) -> bool:
        return any(_holds(first, last, day) for _, first, last in self.tickers[company_id])

    def _careless_span(self) -> _Draft | None:
        """A name with what stands around it: headline words to the left, share text to the right."""
        name = self._name(self._company())
        if name is None:
            return None
        surface = self._written(name)
        if self.rng.random() < 0.15:
            return self._positive(name, f"{surface} {self.rng.choice(carriers.RIGHT_SHARE_TEXT)}", "careless_span")
        if self.rng.random() < 0.15:
            return self._positive(name, f"{self.rng.choice(carriers.LEFT_PLACES)} {surface}", "careless_span")
        words = [*self.rng.sample(carriers.LEFT_WORDS, self.rng.randint(0, 4)), self.rng.choice(carriers.LEFT_JOINTS)]
        return self._positive(name, " ".join([*filter(None, words), surface]), "careless_span")

    def _truncated_span(self) -> _Draft | None:
        """The last words of a name, where the first ones stand right before: "Procter & [Gamble Company]"."""
        name = self._name(self._company())
        words = _without_form(_display(name.name)).split() if name else []
        if name is None or len(words) < 2:
            return None
        cut = self.rng.randint(1, len(words) - 1)
        tail = " ".join(words[cut:])
        if len(core(tail)) < 4:
            return None
        surface = _with_form(tail, self.rng.choice(carriers.US_FORMS)) if self.rng.random() < 0.6 else tail
        head = " ".join(words[:cut]).replace("{", "").replace("}", "").replace("&", self.rng.choice(("&", "&amp;")))
        sentence = self.rng.choice(carriers.ENGLISH_SENTENCES).replace("{}", f"{head} {{}}")
        return self._positive(name, surface, "truncated_span", sentences=(sentence,))

    def _typo(self) -> _Draft | None:
        """A slip in a long name; in a short one a slip is as likely to be another firm's name, see `_near_name`."""
        name = self._name(self._company())
        if name is None or len(core(name.name)) < LONG_NAME:
            return None
        return self._positive(name, _misspell(self._written(name), self.rng), "typo")

    def _initials(self) -> _Draft | None:
        """Initials of a large company that are its ticker too: "IBM", "UPS"."""
        if not self.with_initials:
            return None
        name, letters = self.rng.choice(self.with_initials)
        return self._positive(name, letters, "initials")

    def _ticker(self) -> _Draft | None:
        """A ticker where the text shows it to be one: in brackets with its exchange, or as a cashtag."""
        company_id = self._company()
        if not self.tickers[company_id]:
            return None
        ticker, first, last = self.rng.choice(self.tickers[company_id])
        day = self._day_between(first, last)
        return _Draft(ticker, company_id, "ticker", company_id, day, carriers.TICKER_SENTENCES)

    def _bracketed(self) -> _Draft | None:
        """A name with its ticker in brackets behind it."""
        name = self._name(self._company())
        if name is None or not self.tickers[name.company_id]:
            return None
        ticker, first, last = self.rng.choice(self.tickers[name.company_id])
        exchange = self.rng.choice(("NYSE", "NASDAQ", "Nasdaq", "OTC"))
        sentence = self.rng.choice(carriers.BRACKET_SENTENCES).replace("{}", "{0}", 1)
        sentence = sentence.replace("{}", exchange, 1).replace("{}", ticker, 1).replace("{0}", "{}")
        surface = self._short(name) or self._written(name)
        day = self._day_between(max(filter(None, (first, name.first)), default=None), last)
        return _Draft(surface, name.company_id, "bracketed", name.company_id, day, (sentence,))

    def _positive(self, name: _Name, surface: str, kind: str, day: date | None = None, **more: Any) -> _Draft | None:
        day = day or self._day_for(name)
        if not self._unambiguous(surface, name, day):
            return None
        return _Draft(surface, self._successor(name.company_id, day), kind, name.company_id, day, **more)

    def _successor(self, company_id: str, day: date) -> str:
        """The company itself, or whoever had succeeded it by that day."""
        for _ in range(8):
            known = self.successors.get(company_id)
            if known is None or known[1] > day:
                break
            company_id = known[0]
        return company_id

    # Negatives.

    def _hidden_company(self) -> _Draft | None:
        """A company that the candidates may not hold: what is left is what an unknown firm looks like."""
        name = self._name(self.rng.choice(self.us))
        if name is None:
            return None
        chance = self.rng.random()
        surface = self._written(name)
        if chance < 0.35:
            words = _without_form(_display(name.name)).split()
            surface = " ".join(words[: self.rng.choice((1, 1, 2, len(words)))])
        elif chance < 0.5:
            surface = f"{_without_form(_display(name.name))} {self.rng.choice(carriers.FOREIGN_FORMS)}"
        return _Draft(
            surface, None, "hidden_company", name.company_id, self._day_for(name), hidden=self._hide(name, surface)
        )

    def _hide(self, name: _Name, surface: str) -> frozenset[str]:
        """The company, all that bear the same name, its relatives, and whoever the surface could be short for."""
        plain = core(surface)
        hidden = {name.company_id} | self.bearers.get(plain, set()) | self.bearers.get(stem(surface), set())
        hidden |= self.bearers.get(core(name.name), set()) | self.bearers.get(stem(name.name), set())
        hidden |= self.starts.get(plain, set())
        return frozenset(hidden | {relative for one in hidden for relative in self.relatives.get(one, ())})

    def _subsidiary(self) -> _Draft | None:
        """ "<Company> <Place> <Function> LLC": begins like a listed company, and is another one."""
        rng = self.rng
        company_id = self._company()
        name = self._name(company_id, ("name",))
        if name is None:
            return None
        extra = [rng.choice(carriers.FUNCTIONS)] if rng.random() < 0.6 else []
        extra += [rng.choice(carriers.PLACES)] if not extra or rng.random() < 0.45 else []
        extra += [rng.choice(carriers.FUNCTIONS)] if rng.random() < 0.25 else []
        if rng.random() < 0.15:
            extra[0] = _made_up_word(rng)
        rng.shuffle(extra)
        if rng.random() < 0.2:
            extra.append(rng.choice(carriers.NUMERALS))
        base = self._base(name).split()
        chance = rng.random()
        if chance < 0.12 and len(base) > 1:  # "Lincoln Electric UK Holdings Limited"
            words = [*base[:-1], *extra, base[-1]]
        elif chance < 0.20:  # "The Shanghai Lincoln Electric Co., Ltd."
            words = [*rng.choice((["The"], [])), rng.choice((rng.choice(carriers.PLACES), _made_up_word(rng))), *base]
        else:
            words = [*base, *extra]
        surface = _with_form(" ".join(words), rng.choice(carriers.SUBSIDIARY_FORMS))
        if rng.random() < 0.05:
            surface += f" ({rng.choice(carriers.PLACES)})"
        return self._unborne(surface, "subsidiary", company_id)

    def _unborne(self, surface: str, kind: str, group: str) -> _Draft | None:
        """A negative whose name no listed company bears."""
        if self.bearers.get(core(surface)) or self.bearers.get(stem(surface)):
            return None
        return _Draft(surface, None, kind, group, self._day_between(None, None))

    def _foreign_branch(self) -> _Draft | None:
        """An American company's own name with a foreign or a partnership's legal form: its branch, not itself."""
        name = self._name(self._company(), ("name",))
        if name is None or form_family(name.name) != 1:
            return None
        form = self.rng.choice(carriers.BRANCH_FORMS)
        surface = _with_form(_without_form(_display(name.name)), form)
        return _Draft(surface, None, "foreign_branch", name.company_id, self._day_between(None, None))

    def _near_name(self) -> _Draft | None:
        """A short name of another firm that is one or two letters away from a company's."""
        name = self._name(self._company())
        short = self._short(name) if name else None
        if name is None:
            return None
        bare = short or _without_form(_display(name.name))
        if not 4 <= len(core(bare)) < LONG_NAME:
            return None
        return self._unborne(_misspell(bare, self.rng, changes=True), "near_name", name.company_id)

    def _shared_words(self) -> _Draft | None:
        """The last words of a company's name behind another first word: "Westlife Financial" is not MetLife's."""
        rng = self.rng
        name = self._name(self._company())
        words = _without_form(_display(name.name)).split() if name else []
        if name is None or len(words) < 2:
            return None
        first = rng.choice((_made_up_word(rng), rng.choice(carriers.INVENTED_WORDS), rng.choice(self.words).title()))
        surface = " ".join([first, *words[1:]])
        if rng.random() < 0.5:
            surface = _with_form(surface, rng.choice(carriers.SUBSIDIARY_FORMS))
        return self._unborne(surface, "shared_words", name.company_id)

    def _base(self, name: _Name) -> str:
        """What a subsidiary takes from its parent: the name, its first word or two, its initials or its ticker."""
        bare = _without_form(_display(name.name)).split()
        chance = self.rng.random()
        if chance < 0.4:
            return " ".join(bare)
        if chance < 0.8:
            return " ".join(bare[: self.rng.randint(1, min(2, len(bare)))])
        if chance < 0.9 and len(bare) > 1:
            return "".join(word[0] for word in bare).upper()
        tickers = self.tickers[name.company_id]
        return self.rng.choice(tickers)[0] if tickers else bare[0]

    def _invented(self) -> _Draft | None:
        rng = self.rng
        words = [rng.choice(carriers.INVENTED_WORDS)]
        if rng.random() < 0.3:
            words[0] += rng.choice(carriers.INVENTED_WORDS).lower()
        if rng.random() < 0.2:
            words = [
                rng.choice(("Route", "The", "One", "Two", "Old", "Ft.", "St.", str(rng.randint(10, 9999)))),
                *words,
            ]
        words += rng.sample(carriers.FUNCTIONS, rng.randint(1, 2))
        if rng.random() < 0.3:
            words.append(rng.choice(carriers.NUMERALS))
        surface = _with_form(" ".join(words), rng.choice(carriers.SUBSIDIARY_FORMS))
        return self._unborne(surface, "invented", f"invented:{words[0]}")

    def _lower_case_word(self) -> _Draft | None:
        """A word of a company's name as the common word that it is."""
        rng = self.rng
        name = self._name(self._company()) if rng.random() < 0.5 else None
        word = core(name.name).split()[0] if name else rng.choice(self.words)
        if not (word.isascii() and word.isalpha() and len(word) > 2):
            return None
        return _Draft(
            word, None, "lower_case_word", f"word:{word}", self._day_between(None, None), carriers.LOWER_CASE_SENTENCES
        )

    def _market_phrase(self) -> _Draft | None:
        rng = self.rng
        chance = rng.random()
        if chance < 0.4:
            surface = f"{rng.choice(carriers.REGIONS)} {rng.choice(carriers.MARKET_NOUNS)}"
        elif chance < 0.55:
            surface = f"{rng.choice(carriers.SECTORS).lower()} {rng.choice(carriers.MARKET_NOUNS)}"
        elif chance < 0.75:
            surface = rng.choice(carriers.SECTORS + carriers.PLACES)
        elif chance < 0.85:
            surface = f"{rng.choice(carriers.REGIONS)} {rng.choice(carriers.MARKET_NOUNS).title()}"
        else:
            surface = rng.choice(carriers.INSTITUTIONS)
        return _Draft(surface, None, "market_phrase", f"phrase:{surface}", self._day_between(None, None))

    def _random_acronym(self) -> _Draft | None:
        """Capitals that nothing in the text shows to be a ticker, even where they are one somewhere."""
        letters = "".join(self.rng.choice("ABCDEFGHIKLMNOPRSTUW") for _ in range(self.rng.randint(3, 5)))
        return _Draft(letters, None, "random_acronym", f"acronym:{letters}", self._day_between(None, None))

    # Korean.

    def _korean_name(self) -> _Draft | None:
        name = self._name(self.rng.choice(self.kr), ("name", "legal", "english", "alias"))
        if name is None:
            return None
        day = self._day_for(name)
        if not self._unambiguous(name.name, name, day):
            return None
        sentences = carriers.KOREAN_SENTENCES if has_hangul(name.name) else carriers.ENGLISH_SENTENCES
        kind = "korean_english" if name.kind == "english" else "korean_name"
        return _Draft(name.name, name.company_id, kind, name.company_id, day, sentences)

    def _hidden_korean(self) -> _Draft | None:
        name = self._name(self.rng.choice(self.kr), ("name", "legal", "english"))
        if name is None:
            return None
        hidden, day = self._hide(name, name.name), self._day_for(name)
        sentences = carriers.KOREAN_SENTENCES if has_hangul(name.name) else carriers.ENGLISH_SENTENCES
        return _Draft(name.name, None, "hidden_korean", name.company_id, day, sentences, hidden)

    def _korean_affiliate(self) -> _Draft | None:
        """A listed firm's name with more behind it: another firm, whether or not anyone has listed it as unlisted."""
        name = self._name(self.rng.choice(self.kr), ("name", "legal"))
        if name is None or not has_hangul(name.name):
            return None
        surface = name.name + self.rng.choice(carriers.KOREAN_AFFILIATE_WORDS)
        if self.bearers.get(core(surface)):
            return None
        day = self._day_between(None, None)
        return _Draft(surface, None, "korean_affiliate", name.company_id, day, carriers.KOREAN_SENTENCES)

    def _unlisted_firm(self) -> _Draft | None:
        """A firm that DART knows to have no listing; half of the time the index does not know it either."""
        company_id, name = self.rng.choice(self.unlisted)
        if self.bearers.get(core(name)):
            return None
        hidden = frozenset({company_id}) if self.rng.random() < 0.5 else frozenset()
        day = self._day_between(None, None)
        return _Draft(name, None, "unlisted_firm", company_id, day, carriers.KOREAN_SENTENCES, hidden)


def _relatives(facts: Facts) -> dict[str, set[str]]:
    related: dict[str, set[str]] = defaultdict(set)
    for row in facts.successors.to_pylist():
        related[row["company_id"]].add(row["successor_id"])
        related[row["successor_id"]].add(row["company_id"])
    return related


def _holds(first: date | None, last: date | None, day: date) -> bool:
    return (first is None or first <= day) and (last is None or day <= last)


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _display(name: str) -> str:
    """A name as a text would print it: EDGAR's capitals as words, its state tag dropped."""
    shown = name.split(" /")[0].split("/")[0].strip() or name
    if shown.isupper() or shown.islower():
        shown = " ".join(
            word if len(word) <= 3 and not set(word.lower()) & set("aeiou") else _title(word) for word in shown.split()
        )
    return shown.replace(" Com ", ".com ") if shown.count(" Com ") == 1 else shown


def _title(word: str) -> str:
    return word[:1].upper() + word[1:].lower()


def _without_form(shown: str) -> str:
    words = shown.split()
    while len(words) > 1 and has_legal_form(" ".join(words)):
        words.pop()
    return " ".join(words).rstrip(",. ")


def _with_form(bare: str, form: str) -> str:
    return f"{bare}{form}" if form.startswith(",") else f"{bare} {form}"


def _respaced(shown: str, rng: random.Random) -> str:
    """A blank lost or gained: "UnitedHealthGroup Inc", "Net App Inc"."""
    first, _, rest = shown.partition(" ")
    humps = [at for at in range(1, len(first)) if first[at].isupper() and first[at - 1].islower()]
    if humps:
        return f"{first[: humps[0]]} {first[humps[0] :]} {rest}".strip()
    if len(_without_form(shown).split()) > 1 and rng.random() < 0.7:
        return first + rest
    at = len(first) // 2
    return f"{first[:at]} {first[at:].capitalize()} {rest}".strip() if len(first) > 5 else shown


def _misspell(text: str, rng: random.Random, *, changes: bool = False) -> str:
    """One or two slips of the keyboard, the first letter kept; with `changes` also other letters and another first."""
    letters = list(text)
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(0 if changes else 1, len(letters) - 1)
        slip = rng.random()
        if changes and slip < 0.5:
            letters[at] = rng.choice("aeiourstlnkmd") if at else rng.choice("BDFGHKLMNPRSTVW")
        elif slip < 0.35:
            letters[at], letters[at + 1] = letters[at + 1], letters[at]
        elif slip < 0.7 and len(letters) > 4:
            del letters[at]
        else:
            letters.insert(at, letters[at])
    return "".join(letters)


def _made_up_word(rng: random.Random) -> str:
    """A word that can be said and means nothing."""
    syllables = [
        rng.choice("bcdfghklmnprstvw") + rng.choice("aeiou") + rng.choice(("", "n", "r", "l", "s", ""))
        for _ in range(rng.randint(2, 3))
    ]
    return "".join(syllables).capitalize()
