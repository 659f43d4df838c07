"""The candidate index on tantivy, in process: the embedded twin of the OpenSearch index. One folder holds one version.

Here: storing, promoting and searching dated names. Not here: which names there are
(`ledgerline.mapping.candidates`), and what is made of the hits. Layout below `root`:

    versions/<version>/entries.parquet     the names, in the order of their document numbers, with their exact key
    versions/<version>/tantivy/            fields `words` and `grams`, both BM25
    current                                the name of the promoted version, replaced atomically
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource
from pydantic import PrivateAttr

from ledgerline.doctor import PROBE
from ledgerline.errors import LedgerlineError
from ledgerline.mapping.records import Channel, Hit, NameEntry
from ledgerline.names import normalise as spelling

FIELDS = ("name_id", "company_id", "name", "kind", "language", "valid_from", "valid_to", "source")
KEY = "loosest"  # the exact key: equal for every spelling of a name; a hit scores by how strictly the two are equal
FORMAT = "3"  # part of the version: another way of indexing the same names is another version
NAMES_PER_COMPANY = 3  # over-fetch, so that `limit` companies remain after the best name of each was kept
CACHED_SURFACES = 100_000  # about 300 MB of hits; names repeat within days, so that starting anew costs little
WRITER_BYTES = 128_000_000


class TantivyCandidateIndex(ConfigurableResource):
    """Implements `ledgerline.mapping.ports.CandidateIndex`. Constructing it does no I/O."""

    root: str
    _open: dict[str, _OpenVersion] = PrivateAttr(default_factory=dict)

    def build(self, entries: Iterable[NameEntry]) -> str:
        """Load a new version and return its name; equal entries (in any order) give an equal name, loaded only once.

        Raises LedgerlineError for no entries at all, or a name_id that comes twice.
        """
        ordered = in_order(entries)
        version = version_of(ordered)
        target = self._versions / version
        if target.is_dir():
            return version
        self._versions.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".building-", dir=self._versions))
        try:
            _write_version(aside, ordered)
            aside.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process built the same version first
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return version

    def promote(self, version: str) -> None:
        """Make a built version the current one for every reader. Raises LedgerlineError where it was never built."""
        if not (self._versions / version).is_dir():
            raise LedgerlineError(f"Candidate index version {version!r} is not in {self._versions}; build it first.")
        alias = Path(self.root) / "current"
        aside = alias.with_name(f".current-{os.getpid()}")
        aside.write_text(version + "\n")
        aside.replace(alias)

    def current(self) -> str | None:
        try:
            return (Path(self.root) / "current").read_text().strip() or None
        except FileNotFoundError:
            return None

    def entries(self, name_ids: Sequence[str]) -> dict[str, NameEntry]:
        """The entries that exist in the current version, by id."""
        return self._current_version().entries(name_ids)

    def search(self, surfaces: Sequence[str], *, limit: int = 10) -> list[list[Hit]]:
        """For each surface, in order, its hits by channel exact, bm25, ngram, at most `limit` companies each.

        Scores: exact 4 for equal normalised names down to 1 for names equal without blanks; bm25 and ngram are BM25.
        Raises LedgerlineError where no version was promoted.
        """
        version = self._current_version()
        return [version.search(surface, limit) for surface in surfaces]

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. Builds an index beside the others."""
        beside = Path(self.root) / f".doctor-{uuid.uuid4().hex}"
        probe = TantivyCandidateIndex(root=str(beside))
        try:
            yield "write"
            probe.promote(probe.build([PROBE]))
            yield "search"
            if not probe.search([PROBE.name])[0]:
                raise LedgerlineError(f"an index in {self.root} does not find what is in it: reinstall tantivy.")
            yield "delete"
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    @property
    def _versions(self) -> Path:
        return Path(self.root) / "versions"

    def _current_version(self) -> _OpenVersion:
        name = self.current()
        if name is None:
            raise LedgerlineError(f"No candidate index is promoted in {self.root}; materialize `candidate_index`.")
        version = self._open.get(name)
        if version is None:
            version = _OpenVersion(self._versions / name)
            self._open = {name: version}  # another thread may still be reading the previous one
        return version


def in_order(entries: Iterable[NameEntry]) -> list[NameEntry]:
    """By name_id. Raises LedgerlineError for no entries at all, or a name_id that comes twice."""
    ordered = sorted(entries, key=lambda entry: entry.name_id)
    if not ordered:
        raise LedgerlineError("The candidate index was given no names; materialize `listings` first.")
    for before, after in itertools.pairwise(ordered):
        if before.name_id == after.name_id:
            raise LedgerlineError(f"Two names share the id {after.name_id!r}; give every entry an id of its own.")
    return ordered


def version_of(entries: Sequence[NameEntry]) -> str:
    """Equal for equal entries in order, in whatever implementation they are indexed."""
    digest = hashlib.sha256(FORMAT.encode())
    for entry in entries:
        digest.update(json.dumps([getattr(entry, field) for field in FIELDS], ensure_ascii=False).encode() + b"\n")
    return f"names-{digest.hexdigest()[:16]}"


def _schema() -> Any:
    import tantivy

    builder = tantivy.SchemaBuilder()
    # "freq": no positions are needed; both fields hold ready-made tokens separated by blanks.
    builder.add_text_field("words", tokenizer_name="whitespace", index_option="freq")
    builder.add_text_field("grams", tokenizer_name="whitespace", index_option="freq")
    return builder.build()


def _write_version(folder: Path, entries: Sequence[NameEntry]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import tantivy

    columns = {field: [getattr(entry, field) for entry in entries] for field in FIELDS}
    columns[KEY] = [spelling.loosest(entry.name) for entry in entries]
    pq.write_table(pa.table(columns), folder / "entries.parquet")
    index_folder = folder / "tantivy"
    index_folder.mkdir()
    index = tantivy.Index(_schema(), path=str(index_folder))
    # One thread and one commit, so that document numbers are the order of the entries.
    writer = index.writer(heap_size=WRITER_BYTES, num_threads=1)
    for entry in entries:
        document = tantivy.Document()
        document.add_text("words", spelling.core(entry.name))
        document.add_text("grams", " ".join(spelling.char_ngrams(entry.name)))
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()


class _OpenVersion:
    """One version, opened for reading. Keeps the hits of every surface it was asked for, since names repeat in text."""

    def __init__(self, folder: Path) -> None:
        import pyarrow.parquet as pq
        import tantivy

        if not folder.is_dir():
            raise LedgerlineError(f"Candidate index version {folder.name!r} is gone from {folder.parent}; rebuild it.")
        damaged = f"Candidate index {folder} is damaged; delete the folder and rebuild it."
        self._schema = _schema()
        try:
            self._table = pq.read_table(folder / "entries.parquet")
            self._searcher = tantivy.Index(self._schema, path=str(folder / "tantivy")).searcher()
        except (OSError, ValueError) as error:  # pyarrow's and tantivy's errors are ValueErrors
            raise LedgerlineError(damaged) from error
        if self._searcher.num_segments != 1 or self._searcher.num_docs != self._table.num_rows:
            raise LedgerlineError(damaged)
        self._companies = self._table["company_id"].to_pylist()
        self._names = self._table["name"].to_pylist()
        self._name_ids = self._table["name_id"].to_pylist()
        self._number_of = {name_id: number for number, name_id in enumerate(self._name_ids)}
        # Tuples of numbers, since the garbage collector need not look into them: lists slow all that runs afterwards.
        self._by_key: dict[str, tuple[int, ...]] = {}
        for number, key in enumerate(self._table[KEY].to_pylist()):
            if key:
                self._by_key[key] = (*self._by_key.get(key, ()), number)
        self._hits: dict[tuple[str, int], list[Hit]] = {}

    def entries(self, name_ids: Sequence[str]) -> dict[str, NameEntry]:
        import pyarrow as pa

        known = [self._number_of[name_id] for name_id in name_ids if name_id in self._number_of]
        numbers = pa.array(known, pa.int64())  # without a type, none at all would be no numbers
        rows = self._table.select(list(FIELDS)).take(numbers)
        columns = [rows[field].to_pylist() for field in FIELDS]
        return {values[0]: NameEntry(*values) for values in zip(*columns, strict=True)}

    def search(self, surface: str, limit: int) -> list[Hit]:
        cached = self._hits.get((surface, limit))
        if cached is None:
            cached = self._exact(surface, limit)
            cached += self._bm25("bm25", "words", spelling.core(surface).split(), limit)
            cached += self._bm25("ngram", "grams", spelling.char_ngrams(surface), limit)
            if len(self._hits) >= CACHED_SURFACES:
                self._hits.clear()
            self._hits[surface, limit] = cached
        return cached

    def _exact(self, surface: str, limit: int) -> list[Hit]:
        found = (
            self._hit(number, "exact", strictness(surface, self._names[number]))
            for number in self._by_key.get(spelling.loosest(surface), ())
        )
        return one_per_company(sorted(found, key=lambda hit: -hit.score), limit)

    def _bm25(self, channel: Channel, field: str, tokens: Sequence[str], limit: int) -> list[Hit]:
        import tantivy

        if not tokens:
            return []
        should = tantivy.Occur.Should
        terms = [
            (should, tantivy.Query.term_query(self._schema, field, token, "freq")) for token in dict.fromkeys(tokens)
        ]
        found = self._searcher.search(tantivy.Query.boolean_query(terms), limit=limit * NAMES_PER_COMPANY, count=False)
        return one_per_company((self._hit(address.doc, channel, float(score)) for score, address in found.hits), limit)

    def _hit(self, number: int, channel: Channel, score: float) -> Hit:
        return Hit(self._companies[number], self._name_ids[number], self._names[number], channel, score)


def one_per_company(hits: Iterable[Hit], limit: int) -> list[Hit]:
    """The first hit of each company, at most `limit`."""
    best: dict[str, Hit] = {}
    for hit in hits:
        best.setdefault(hit.company_id, hit)
    return list(best.values())[:limit]


def strictness(surface: str, name: str) -> float:
    for score, key in ((4.0, spelling.normalise), (3.0, spelling.core), (2.0, spelling.stem)):
        if key(surface) == key(name):
            return score
    return 1.0
