"""Incremental near-duplicate clustering: each new document is linked to its nearest earlier one, or founds a cluster.

What belongs here: finding candidates, judging them, and the state that remembers. Hashing is features.py, the tables
over hashes are index.py, the lake's schema is tables.py; stories (same event, other words) are no near-duplicates.

How a document is judged:

1. It is hashed to word 1- to 3-grams, which are counted: `frequency` is today's document frequency of each.
2. Candidates are earlier documents that share at least `MIN_SHARED` *rare* features (frequency <= `RARE`). A legal
   footer that a fifth of all documents carry is never rare: it proposes nobody, and its cost does not grow.
3. The best `CANDIDATES` are compared on all features by cosine, weighted by idf = ln((documents + 1) / frequency).
4. The nearest one is linked that has `THRESHOLD`, and against which neither *another beginning*, *one shared block*,
   *other figures* nor *another issuer* speaks (see `_Comparison` and `_judge`).

Cluster quality here means development data of edited newswire; `python -m benchmarks.clusters` measures it.

References: Broder 1997 (shingles); Cohen and Kaplan 2007 (bottom-k, coordinated samples); Theobald et al. 2008 (rare
features against boilerplate).
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ledgerline.clusters.features import FIGURE_BIT, LEVEL_SHIFT, MAX_FEATURES, MAX_LEVEL, U32, Features, extract
from ledgerline.clusters.index import FeatureIndex, GrowingArray
from ledgerline.engines import Engine, OneProcess
from ledgerline.errors import LedgerlineError

Relation = Literal["copy", "revision", "near_duplicate"]

RARE = 40  # a feature of more documents than this proposes no candidates: it is boilerplate or plain language
POSTED = 128  # features of a document that later ones can find it by: a sample, the same one in similar documents
MIN_SHARED = 2  # one shared rare feature is a shared name; two are worth a comparison
CANDIDATES = 8
# BCubed F1 is within .003 of its best from .37 to .43.
THRESHOLD = 0.40
COPY = 0.99  # white space, or one word in some hundred; two persons' certifications of one report have .95 to .98
MIN_TOKENS = 5  # fewer words prove nothing: every such document is its own cluster
# Other figures: two of five must be shared; one more is granted to both sides, so that a single figure decides nothing.
# Edited and corrected copies share half or more, fillings of one template hardly any; F1 is flat from .3 to .5.
FIGURES_AGREE = 0.40
# Another beginning: the same text begins alike, but for a dateline: .04 is the 99th percentile of edited copies ...
OTHER_BEGINNING = 0.15
EXCERPT = 0.90  # ... unless one document is an excerpt of the other: all but covered by it.
# One shared block: at least this share of the new document stands in one stretch without a shared phrase ...
FOREIGN_STRETCH = 0.30
# ... and not even this share of either document stands in the other (a truncated or continued document is).
COVERED = 0.50
SHARED_SHOWN = 5

_FORMAT = "ledgerline-near-duplicates"
_VERSION = 1
_FOUNDER = -1
_RELATIONS: tuple[Relation, ...] = ("copy", "revision", "near_duplicate")
_REBUILD_BLOCK = 1 << 14  # documents


@dataclass(frozen=True, slots=True)
class ClusterDocument:
    """A document as it arrives. `issuer` says whose it is, `form` what it is; both may be empty, which means unknown.

    `issuer` is compared as a whole: the caller joins all parties of the filing in a fixed order, so that two Form 4s of
    one issuer's directors are of two parties. `form` is the type of the document (10-K, 10-K/A, EX-99.1).
    """

    document_id: str
    text: str
    issuer: str = ""
    form: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a document belongs. A founder has cluster_id == document_id, and None for link, similarity and relation.

    copy: the same words and figures. revision: the same issuer and family of form (10-K and 10-K/A, or the 10-Qs of
    two quarters). near_duplicate: any other. Who removes duplicates keeps revisions, which say something else; who
    splits data by cluster, so that nothing leaks, need not look at the relation.
    """

    document_id: str
    cluster_id: str
    linked_to: str | None = None
    similarity: float | None = None
    relation: Relation | None = None
    shared_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What the judgement of one candidate rests on. Weights are squared idf, on the sample that both documents keep."""

    similarity: float
    shared: NDArray[np.bool_]  # over the new document's features
    figures: tuple[int, int, int]  # shared, of the new document, of the earlier one
    all_figures: bool  # the same figures in the whole of both texts
    covered: float  # the larger share of either document's weight that is shared
    beginning: float  # the share of the new document's weight before its first shared phrase
    stretch: float  # the same in its longest stretch without a shared phrase

    def other_beginning(self) -> bool:
        """Two texts that share a footer, also when it is still new and counts as rare; an excerpt is covered."""
        return self.beginning > OTHER_BEGINNING and self.covered < EXCERPT

    def one_shared_block(self) -> bool:
        """Two texts that share a part, and each say something else in another part."""
        return self.stretch > FOREIGN_STRETCH and self.covered < COVERED

    def other_figures(self) -> bool:
        """The same template filled for another company or period."""
        shared, new, old = self.figures
        return (shared + 1) < FIGURES_AGREE * (min(new, old) + 1)

    def is_copy(self) -> bool:
        return self.similarity >= COPY and self.all_figures


@dataclass(frozen=True, slots=True)
class _Nearest:
    document: int
    similarity: float
    relation: Relation
    shared: NDArray[np.bool_]  # over the new document's features


class NearDuplicates:
    """The clusters so far. Memory is bounded by 1.5 kB for the features of a document and about 1 kB of tables."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._ids: list[str] = []
        self._features = GrowingArray(np.zeros(0, dtype=np.uint32))
        self._ends = GrowingArray(np.zeros(0, dtype=np.int64))
        self._figures = GrowingArray(np.zeros(0, dtype=np.uint64))
        self._levels = GrowingArray(np.zeros(0, dtype=np.uint8))
        self._issuers = GrowingArray(np.zeros(0, dtype=np.uint64))
        self._forms = GrowingArray(np.zeros(0, dtype=np.uint64))
        self._founders = GrowingArray(np.zeros(0, dtype=np.int32))
        self._linked = GrowingArray(np.zeros(0, dtype=np.int32))
        self._similarities = GrowingArray(np.zeros(0, dtype=np.float64))
        self._relations = GrowingArray(np.zeros(0, dtype=np.int8))
        self._shared: dict[int, tuple[str, ...]] = {}
        self._index = FeatureIndex()

    def __len__(self) -> int:
        return len(self._ids)

    def assign(self, documents: Sequence[ClusterDocument], engine: Engine | None = None) -> list[Link]:
        """Link each document, in order of arrival, and remember it; a document_id seen before gets its old answer.

        Texts are hashed on `engine` (in this process unless given); linking needs all documents before and is done here,
        so that the answers and the state are the same to the byte.
        """
        new: dict[str, str] = {}
        for one in documents:
            if one.document_id not in self._numbers:
                new.setdefault(one.document_id, one.text)
        features = (engine or OneProcess()).map(extract, list(new.values()))
        links = []
        for document in documents:
            number = self._numbers.get(document.document_id)
            links.append(self._link(self._add(document, next(features)) if number is None else number))
        return links

    def _add(self, document: ClusterDocument, features: Features) -> int:
        number = len(self._ids)
        if not self._index.holds(number + 1):
            self._rebuild_index()
        self._index.count(features.ids)
        issuer, form = _fingerprint(document.issuer), _fingerprint(form_family(document.form))
        nearest: _Nearest | None = None
        if features.tokens.hashes.size >= MIN_TOKENS:
            weights = self._weights(features.ids, number + 1)
            nearest = self._nearest(features, weights, issuer, form)
            if nearest is not None:
                self._shared[number] = _rarest_phrases(features, weights, nearest.shared)
        self._remember(document.document_id, number, features, issuer, form, nearest)
        return number

    def _candidates(self, ids: U32) -> NDArray[np.int32]:
        rare = ids[self._index.frequencies(ids) <= RARE]
        found, shared = np.unique(self._index.recent(rare), return_counts=True)
        found, shared = found[shared >= MIN_SHARED], shared[shared >= MIN_SHARED]
        return found[np.lexsort((-found, -shared))[:CANDIDATES]]

    def _weights(self, ids: U32, documents: int) -> NDArray[np.float64]:
        """Squared idf; 0 where a bucket counts more than there are documents, because features share it."""
        idf = np.log((documents + 1) / np.maximum(self._index.frequencies(ids), 1))
        return np.square(np.maximum(idf, 0.0))

    def _nearest(self, features: Features, weights: NDArray[np.float64], issuer: int, form: int) -> _Nearest | None:
        candidates = self._candidates(features.ids)
        if not candidates.size:
            return None
        lowest = np.maximum(self._levels.values[candidates], features.level).astype(np.uint32) << LEVEL_SHIFT
        similarities = self._cosines(features, weights, candidates, lowest)
        for place in np.lexsort((candidates, -similarities)):
            if similarities[place] < THRESHOLD:
                break
            old = self._features_of(int(candidates[place]))
            same_figures = int(self._figures.values[candidates[place]]) == features.figures
            comparison = _compare(features, weights, old, lowest[place], float(similarities[place]), same_figures)
            relation = self._judge(comparison, int(candidates[place]), issuer, form)
            if relation is not None:
                return _Nearest(int(candidates[place]), comparison.similarity, relation, comparison.shared)
        return None

    def _cosines(
        self, features: Features, weights: NDArray[np.float64], candidates: NDArray[np.int32], lowest: U32
    ) -> NDArray[np.float64]:
        """The cosine to every candidate, on the features from `lowest` up: the sample that both documents keep."""
        parts = [self._features_of(int(candidate)) for candidate in candidates]
        ids = np.concatenate(parts)
        owner = np.repeat(np.arange(candidates.size), [part.size for part in parts])
        old_weights = np.where(ids >= lowest[owner], self._weights(ids, len(self) + 1), 0.0)
        shared = np.bincount(owner, old_weights * _contained(ids, features.ids), minlength=candidates.size)
        old = np.bincount(owner, old_weights, minlength=candidates.size)
        from_here_up = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
        new = from_here_up[np.searchsorted(features.ids, lowest)]
        whole = np.sqrt(new * old)
        return np.divide(shared, whole, out=np.zeros_like(whole), where=whole > 0)

    def _judge(self, comparison: _Comparison, candidate: int, issuer: int, form: int) -> Relation | None:
        """The relation to a candidate, or None where it is not the same text. Unknown issuers and forms say nothing."""
        if comparison.other_beginning() or comparison.one_shared_block():
            return None
        if comparison.is_copy():
            return "copy"
        old_issuer = int(self._issuers.values[candidate])
        if issuer and old_issuer and issuer != old_issuer:
            return None  # two companies file the same text as a copy or not at all: the rest is their lawyers' template
        if issuer and issuer == old_issuer and form and form == int(self._forms.values[candidate]):
            return "revision"
        return None if comparison.other_figures() else "near_duplicate"

    def _remember(
        self,
        document_id: str,
        number: int,
        features: Features,
        issuer: int,
        form: int,
        nearest: _Nearest | None,
    ) -> None:
        linked = _FOUNDER if nearest is None else nearest.document
        self._numbers[document_id] = number
        self._ids.append(document_id)
        self._features.extend(features.ids)
        self._ends.extend(np.array([self._features.size], dtype=np.int64))
        self._figures.extend(np.array([features.figures], dtype=np.uint64))
        self._levels.extend(np.array([features.level], dtype=np.uint8))
        self._issuers.extend(np.array([issuer], dtype=np.uint64))
        self._forms.extend(np.array([form], dtype=np.uint64))
        self._founders.extend(np.array([number if nearest is None else self._founders.values[linked]], dtype=np.int32))
        self._linked.extend(np.array([linked], dtype=np.int32))
        self._similarities.extend(np.array([0.0 if nearest is None else nearest.similarity]))
        self._relations.extend(np.array([0 if nearest is None else _RELATIONS.index(nearest.relation)], dtype=np.int8))
        posted = _posted(features.ids)
        self._index.post(posted, np.full(posted.size, number, dtype=np.int32))

    def _link(self, number: int) -> Link:
        document_id, linked = self._ids[number], int(self._linked.values[number])
        if linked == _FOUNDER:
            return Link(document_id, document_id)
        return Link(
            document_id=document_id,
            cluster_id=self._ids[int(self._founders.values[number])],
            linked_to=self._ids[linked],
            similarity=float(self._similarities.values[number]),
            relation=_RELATIONS[int(self._relations.values[number])],
            shared_features=self._shared[number],
        )

    def _features_of(self, number: int) -> U32:
        begin = int(self._ends.values[number - 1]) if number else 0
        return self._features.values[begin : int(self._ends.values[number])]

    def _rebuild_index(self) -> None:
        """Tables for up to twice the documents, as they would be had they been that large from the start."""
        documents = len(self._ids)
        self._index = FeatureIndex(documents + 1)
        for begin in range(0, documents, _REBUILD_BLOCK):
            numbers = range(begin, min(begin + _REBUILD_BLOCK, documents))
            features = [self._features_of(number) for number in numbers]
            self._index.count(np.concatenate(features))
            posted = [_posted(ids) for ids in features]
            sizes = [ids.size for ids in posted]
            self._index.post(np.concatenate(posted), np.repeat(np.array(numbers, dtype=np.int32), sizes))

    def to_bytes(self) -> bytes:
        """The whole state, the same bytes for the same documents: numpy's `.npz`, with JSON where text is kept."""
        texts = {
            "header": {"format": _FORMAT, "version": _VERSION, "max_features": MAX_FEATURES},
            "document_ids": self._ids,
            "shared_features": {str(number): phrases for number, phrases in self._shared.items()},
        }
        arrays: dict[str, Any] = {name: getattr(self, "_" + name).values for name in _COLUMNS}
        for name, value in texts.items():
            arrays[name] = np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
        out = BytesIO()
        np.savez(out, **arrays)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, body: bytes) -> NearDuplicates:
        """What `to_bytes` gave; nothing is unpickled. Raises LedgerlineError for another format or version."""
        remedy = "delete it and materialize `clusters` again from the oldest partition"
        try:
            with np.load(BytesIO(body), allow_pickle=False) as archive:
                header = _unpacked(archive["header"])
                if (header["format"], header["version"], header["max_features"]) != (_FORMAT, _VERSION, MAX_FEATURES):
                    raise LedgerlineError(
                        f"The state of the clusters has format {header['format']} version {header['version']} with"
                        f" {header['max_features']} features, but this program reads {_FORMAT} version {_VERSION} with"
                        f" {MAX_FEATURES}: run the program that wrote it, or {remedy}."
                    )
                state = cls()
                state._ids = _unpacked(archive["document_ids"])
                state._shared = {
                    int(number): tuple(phrases) for number, phrases in _unpacked(archive["shared_features"]).items()
                }
                for name, dtype in _COLUMNS.items():
                    setattr(state, "_" + name, GrowingArray(archive[name].astype(dtype, copy=False)))
        except (BadZipFile, OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise LedgerlineError(f"The state of the clusters cannot be read ({error}): {remedy}.") from error
        state._check(remedy)
        state._numbers = {document_id: number for number, document_id in enumerate(state._ids)}
        state._rebuild_index()
        return state

    def _check(self, remedy: str) -> None:
        """Arrays of one length whose references stay inside: what comes later may then index without looking."""
        documents, ends = len(self._ids), self._ends.values
        lengths = {getattr(self, "_" + name).size for name in _COLUMNS if name != "features"}
        if lengths != {documents}:
            raise LedgerlineError(f"The state of the clusters has columns of lengths {sorted(lengths)}: {remedy}.")
        bounds = np.concatenate([np.zeros(1, dtype=np.int64), ends, [self._features.size]])
        earlier = np.arange(documents)
        inside = (self._linked.values >= _FOUNDER) & (self._linked.values < earlier)
        inside &= (self._founders.values >= 0) & (self._founders.values <= earlier)
        inside &= (self._relations.values >= 0) & (self._relations.values < len(_RELATIONS))
        if bool((np.diff(bounds) < 0).any()) or not inside.all() or bounds[-2] != bounds[-1]:
            raise LedgerlineError(f"The state of the clusters refers outside of itself: {remedy}.")

    def save(self, path: Path) -> None:
        """Write the state; a reader sees the old or the new file, never a part."""
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(self.to_bytes())
                out.flush()
                os.fsync(out.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: Path) -> NearDuplicates:
        """Read what `save` wrote. Raises FileNotFoundError, or LedgerlineError as `from_bytes` does."""
        return cls.from_bytes(path.read_bytes())


_COLUMNS = {
    "features": np.uint32,
    "ends": np.int64,
    "figures": np.uint64,
    "levels": np.uint8,
    "issuers": np.uint64,
    "forms": np.uint64,
    "founders": np.int32,
    "linked": np.int32,
    "similarities": np.float64,
    "relations": np.int8,
}


def form_family(form: str) -> str:
    """The form without the mark of an amendment: 10-K/A -> 10-K (EDGAR), [기재정정]x -> x (DART)."""
    return re.sub(r"^(\[[^\]]*\])+", "", form.strip()).upper().removesuffix("/A").strip()


def _fingerprint(text: str) -> int:
    """64 bits that tell names apart; 0 for the empty text, which means unknown."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") if text else 0


def _unpacked(array: NDArray[np.uint8]) -> Any:
    return json.loads(array.tobytes())


def _posted(ids: U32) -> U32:
    """The features a document can be found by: those from the lowest level up at which `POSTED` suffice."""
    level = 0
    while ids.size > POSTED and level < MAX_LEVEL:
        level += 1
        ids = ids[np.searchsorted(ids, np.uint32(level << LEVEL_SHIFT)) :]
    return ids


def _contained(ids: U32, others: U32) -> NDArray[np.bool_]:
    """Which of `ids` are among `others`; both ascending."""
    if not others.size:
        return np.zeros(ids.size, dtype=bool)
    places = np.minimum(np.searchsorted(others, ids), others.size - 1)
    return others[places] == ids


def _compare(
    features: Features, weights: NDArray[np.float64], old: U32, lowest: np.uint32, similarity: float, all_figures: bool
) -> _Comparison:
    """What speaks for and against a candidate with the features `old`, on the features from `lowest` up."""
    old = old[np.searchsorted(old, lowest) :]
    begin = int(np.searchsorted(features.ids, lowest))
    ids, weights = features.ids[begin:], weights[begin:]
    shared = _contained(ids, old)
    figures = (ids & FIGURE_BIT) != 0
    whole = np.zeros(features.ids.size, dtype=bool)
    whole[begin:] = shared
    beginning, stretch = _foreign(features.first[begin:], features.grams[begin:], weights, shared)
    # similarity = shared / sqrt(new * old), hence the covered share of the old document without its weights
    of_new = float(weights[shared].sum() / weights.sum())
    return _Comparison(
        similarity=similarity,
        shared=whole,
        figures=(int((shared & figures).sum()), int(figures.sum()), int(((old & FIGURE_BIT) != 0).sum())),
        all_figures=all_figures,
        covered=max(of_new, similarity * similarity / of_new),
        beginning=beginning,
        stretch=stretch,
    )


def _foreign(
    first: NDArray[np.int64], grams: NDArray[np.uint8], weights: NDArray[np.float64], shared: NDArray[np.bool_]
) -> tuple[float, float]:
    """The share of weight that stands before the first shared phrase (2 words or more), and in the longest stretch
    without one."""
    order = np.argsort(first, kind="stable")
    stretch = np.cumsum((shared & (grams >= 2))[order])
    foreign = np.bincount(stretch, weights=np.where(shared, 0.0, weights)[order]) / weights.sum()
    return float(foreign[0]) if stretch[0] == 0 else 0.0, float(foreign.max())


def _rarest_phrases(features: Features, weights: NDArray[np.float64], shared: NDArray[np.bool_]) -> tuple[str, ...]:
    """Up to five shared phrases, the rarest first and of these the longest, none of which overlaps another."""
    taken: list[tuple[int, int]] = []
    phrases: list[str] = []
    indices = np.flatnonzero(shared)
    rank = np.lexsort((features.first[indices], -features.grams[indices].astype(int), -weights[indices]))
    for index in indices[rank]:
        begin = int(features.first[index])
        end = begin + int(features.grams[index])
        if all(end <= other_begin or begin >= other_end for other_begin, other_end in taken):
            taken.append((begin, end))
            phrases.append(features.phrase(int(index)))
        if len(phrases) == SHARED_SHOWN:
            break
    return tuple(phrases)
