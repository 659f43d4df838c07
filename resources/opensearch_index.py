"""The candidate index on OpenSearch, a domain or a serverless collection: what `resources.candidate_index` does in process.

Here: storing, promoting and searching dated names. Words and n-grams are made by the code that the twin uses too and
stand in the index as ready tokens, so that both find the same names, and score them the same. Names on the server:

    <prefix>-<version>-<attempt>     an index: one attempt to load a version; the attempt begins with its UTC time
    <prefix>-<version>               alias of the attempt that was loaded whole; an index without one is a load that was killed
    <prefix>                         alias of the promoted version, swapped atomically
"""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any

from dagster import ConfigurableResource
from pydantic import PrivateAttr

from ledgerline.doctor import PROBE
from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.mapping.records import Channel, Hit, NameEntry
from ledgerline.names import normalise as spelling
from resources.candidate_index import (
    CACHED_SURFACES,
    FIELDS,
    KEY,
    NAMES_PER_COMPANY,
    in_order,
    one_per_company,
    strictness,
    version_of,
)

BULK_NAMES = 2_000  # in one request, about 1 MB
SEARCH_SURFACES = 200  # in one request: at most 600 searches, about 2 MB of hits
ENTRIES = 1_000  # in one request
NAMES_PER_KEY = 200  # of one exact key; the most shared one has 12
LONGEST_KEY = 8_000  # characters; Lucene's longest term has 32,766 bytes
MOST_TOKENS = 1_000  # of one surface; OpenSearch refuses more than 1,024
# Lucene left the constant factor k1 + 1 out of BM25, tantivy has it: https://issues.apache.org/jira/browse/LUCENE-8563
TO_BM25 = 2.2
BUSY = (429, 503)
PAUSES = (0.5, 1, 2, 4, 8, 16)  # seconds before what the server had no room for is sent again
VISIBLE_SECONDS = 120  # serverless cannot be asked to refresh; it shows new documents after some 10 to 60 s
SAMPLE = 20  # names that are read back before a version counts as loaded
SERVERLESS = "aoss"

_MAPPINGS: dict[str, Any] = {
    "dynamic": "strict",
    "properties": {
        **{field: {"type": "keyword", "index": False, "doc_values": False} for field in FIELDS},
        "number": {"type": "integer"},  # the place in the order of the entries: ties are broken as in the twin
        KEY: {"type": "keyword", "doc_values": False},
        # "freqs": no positions are needed; both fields hold ready-made tokens separated by blanks.
        "words": {"type": "text", "analyzer": "whitespace", "index_options": "freqs"},
        "grams": {"type": "text", "analyzer": "whitespace", "index_options": "freqs"},
    },
}
_MORPHEMES = {"type": "text", "analyzer": "nori", "index_options": "freqs"}  # only of names in Hangul
# Of a domain; a serverless collection decides these itself. One shard, so that scores count over all names.
_SETTINGS = {"number_of_shards": 1, "auto_expand_replicas": "0-1", "refresh_interval": "-1"}


@dataclasses.dataclass
class _Answers:
    """What an index answered; `entries` is asked next for those that `search` found. One of its own for every index, so
    that threads that still read the index before a swap mix nothing into the answers of the one after it."""

    index: str
    entries: dict[str, NameEntry] = dataclasses.field(default_factory=dict)
    hits: dict[tuple[str, int], list[Hit]] = dataclasses.field(default_factory=dict)


class OpenSearchCandidateIndex(ConfigurableResource):
    """Implements `ledgerline.mapping.ports.CandidateIndex`. Constructing it does no I/O.

    `service` signs requests for a domain ("es") or a serverless collection ("aoss") with the credentials that boto3
    finds, or does not sign ("none"). `nori` also compares Korean names by their morphemes, which the twin cannot: the
    channel bm25 then finds more of them. Everything here raises LedgerlineError that names the server and the remedy.
    """

    url: str
    prefix: str
    service: str = "none"
    region: str = "us-east-1"
    timeout_seconds: float = 30.0
    nori: bool = False
    kept_versions: int = 2  # loaded ones beside the current one, which `promote` can go back to

    _client: Any = PrivateAttr(default=None)
    _cache: _Answers | None = PrivateAttr(default=None)

    def build(self, entries: Iterable[NameEntry]) -> str:
        """Load a new version and return its name; equal entries (in any order) give an equal name, loaded only once.

        The number of names and a sample of them are verified before the version counts as loaded. What killed loads
        left is removed. Of two loads at once the first to end wins; the other is told so, unless it was the same version.
        Raises LedgerlineError for no entries at all, or a name_id that comes twice.
        """
        ordered = in_order(entries)
        version = version_of(ordered) + ("-nori" if self.nori else "")
        if version in self._loaded():
            return version
        index = f"{self.prefix}-{version}-{datetime.now(timezone.utc):%Y%m%d%H%M%S%f}{uuid.uuid4().hex[:6]}"
        try:
            with self._plainly():
                self._create(index, version)
                self._load(index, ordered)
                self._verify(index, version, ordered)
                self._swap(f"{self.prefix}-{version}", index)
        except BaseException as error:
            self._remove_quietly(index)
            if isinstance(error, LedgerlineError) and self._loaded_elsewhere(version):
                return version
            raise
        self._remove_leftovers()
        return version

    def promote(self, version: str) -> None:
        """Make a built version the current one for every reader. Raises LedgerlineError where it was never built."""
        loaded = self._loaded()
        if version not in loaded:
            raise LedgerlineError(f"Candidate index version {version!r} is not on {self._server}; build it first.")
        with self._plainly():
            self._swap(self.prefix, loaded[version])
            others = sorted((index for index in loaded.values() if index != loaded[version]), key=_attempt)
            for index in others[: max(0, len(others) - self.kept_versions)]:
                self._connected().indices.delete(index=index, params={"ignore_unavailable": "true"})

    def current(self) -> str | None:
        index = self._current_index()
        return index and self._version_in(index)

    def entries(self, name_ids: Sequence[str]) -> dict[str, NameEntry]:
        """The entries that exist in the current version, by id."""
        known = self._promoted()
        missing = [name_id for name_id in dict.fromkeys(name_ids) if name_id not in known.entries]
        with self._plainly():
            for start in range(0, len(missing), ENTRIES):
                known.entries.update(self._read(known.index, missing[start : start + ENTRIES]))
        return {name_id: known.entries[name_id] for name_id in name_ids if name_id in known.entries}

    def search(self, surfaces: Sequence[str], *, limit: int = 10) -> list[list[Hit]]:
        """For each surface, in order, its hits by channel exact, bm25, ngram, at most `limit` companies each.

        Scores are those of the twin: exact 4 down to 1, bm25 and ngram BM25. Raises LedgerlineError where no version was
        promoted.
        """
        known = self._promoted()
        found = known.hits
        missing = [surface for surface in dict.fromkeys(surfaces) if (surface, limit) not in found]
        if len(found) + len(missing) > CACHED_SURFACES:
            found = known.hits = {}  # another thread may still be reading the full one
            missing = list(dict.fromkeys(surfaces))
        with self._plainly():
            for start in range(0, len(missing), SEARCH_SURFACES):
                batch = missing[start : start + SEARCH_SURFACES]
                answers = self._ask(known.index, batch, limit, known.entries)
                found.update({(surface, limit): hits for surface, hits in zip(batch, answers, strict=True)})
        return [found[surface, limit] for surface in surfaces]

    def remove_branch(self) -> int:
        """Delete every index of this prefix, also the promoted one; how many."""
        indices = sorted(self._attempts())
        for index in indices:  # by name: a cluster may refuse patterns (action.destructive_requires_name)
            with self._plainly():
                self._connected().indices.delete(index=index, params={"ignore_unavailable": "true"})
        return len(indices)

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. Its index has a name that no version has, and the mapping that all have."""
        index = f"{self.prefix}-doctor-{uuid.uuid4().hex}"
        with self._plainly():
            yield "reach"
            self._connected().indices.exists_alias(name=self.prefix)
            yield "write"
            self._create(index, "doctor")
            try:
                self._load(index, [PROBE])
                yield "search"
                self._verify(index, "doctor", [PROBE])
            finally:
                self._remove_quietly(index)
            yield "delete"
            if self._connected().indices.exists(index=index):
                self._connected().indices.delete(index=index)

    # ------------------------------------------------------------------------------------------------------- versions

    def _loaded(self) -> dict[str, str]:
        """version -> its index, of those that were loaded whole."""
        return {
            self._version_in(index): index
            for index, aliases in self._attempts().items()
            if f"{self.prefix}-{self._version_in(index)}" in aliases
        }

    def _attempts(self) -> dict[str, set[str]]:
        """Every index of this prefix with its aliases."""
        with self._plainly():
            found = self._connected().indices.get(index=f"{self.prefix}-names-*")
        return {index: set(described["aliases"]) for index, described in found.items()}

    def _version_in(self, index: str) -> str:
        return index.removeprefix(f"{self.prefix}-").rpartition("-")[0]

    def _current_index(self) -> str | None:
        from opensearchpy.exceptions import NotFoundError

        with self._plainly():
            try:
                return str(next(iter(self._connected().indices.get_alias(name=self.prefix))))
            except NotFoundError:
                return None

    def _promoted(self) -> _Answers:
        index = self._current_index()
        if index is None:
            raise LedgerlineError(f"No candidate index is promoted on {self._server}; materialize `candidate_index`.")
        known = self._cache
        if known is None or known.index != index:
            known = self._cache = _Answers(index)
        return known

    def _swap(self, alias: str, index: str) -> None:
        """One change of the cluster's state: whoever asks sees the old index or the new one, never none or both."""
        remove = {"index": f"{self.prefix}-names-*", "alias": alias, "must_exist": False}
        actions = [{"remove": remove}, {"add": {"index": index, "alias": alias}}]
        self._connected().indices.update_aliases(body={"actions": actions})

    def _remove_leftovers(self) -> None:
        for index, aliases in self._attempts().items():
            if not aliases:
                with self._plainly():
                    self._connected().indices.delete(index=index, params={"ignore_unavailable": "true"})

    def _remove_quietly(self, index: str) -> None:
        from opensearchpy.exceptions import OpenSearchException

        # What stopped the load is the error to show; the next load removes the index.
        with suppress(OpenSearchException):
            self._connected().indices.delete(index=index, params={"ignore_unavailable": "true", "request_timeout": 5})

    def _loaded_elsewhere(self, version: str) -> bool:
        try:
            return version in self._loaded()
        except LedgerlineError:
            return False

    # ---------------------------------------------------------------------------------------------------------- a load

    def _create(self, index: str, version: str) -> None:
        body: dict[str, Any] = {"mappings": {**_MAPPINGS, "_meta": {"version": version}}}
        if self.nori:
            body["mappings"]["properties"] = _MAPPINGS["properties"] | {"morphemes": _MORPHEMES}
        if self.service != SERVERLESS:
            body["settings"] = {"index": _SETTINGS}
        self._connected().indices.create(index=index, body=body)

    def _load(self, index: str, entries: Sequence[NameEntry]) -> None:
        for start in range(0, len(entries), BULK_NAMES):
            batch = list(enumerate(entries[start : start + BULK_NAMES], start))
            for answer in self._patiently(
                [_bulk_lines(number, entry, self.nori) for number, entry in batch], self._bulk(index)
            ):
                # 409: it was stored by a request whose answer was lost.
                if answer["status"] >= 300 and answer["status"] != 409:
                    raise self._failure(answer["status"], answer["error"])

    def _bulk(self, index: str) -> Callable[[list[str]], list[dict[str, Any]]]:
        def send(documents: list[str]) -> list[dict[str, Any]]:
            answer = self._connected().bulk(index=index, body="".join(documents))
            return [item["create"] for item in answer["items"]]

        return send

    def _verify(self, index: str, version: str, entries: Sequence[NameEntry]) -> None:
        """Raises LedgerlineError unless the index holds every name, and a sample of them is read and found."""
        client = self._connected()
        if self.service != SERVERLESS:
            client.indices.refresh(index=index)
        end = time.monotonic() + VISIBLE_SECONDS
        while (count := client.count(index=index)["count"]) != len(entries):
            if self.service != SERVERLESS or time.monotonic() > end:
                raise LedgerlineError(
                    f"{self._server} holds {count} of {len(entries)} names that were loaded into {index}: another load "
                    "removed it, or the server lost them; materialize `candidate_index` again."
                )
            time.sleep(2)
        # An index that another load removed is made anew by the next bulk request, with whatever mapping fits.
        meta = client.indices.get_mapping(index=index)[index]["mappings"].get("_meta", {})
        sample = [*entries[:: max(1, len(entries) // SAMPLE)], entries[-1]]
        as_loaded = meta.get("version") == version and self._read(index, [e.name_id for e in sample]) == {
            entry.name_id: entry for entry in sample
        }
        if not as_loaded or not self._all_found(index, sample):
            raise LedgerlineError(
                f"{self._server} does not give names back as they were loaded into {index}: another load replaced it, or "
                "an index template matches it; see to these, then materialize `candidate_index` again."
            )

    def _all_found(self, index: str, entries: Sequence[NameEntry]) -> bool:
        named = [entry for entry in entries if _key(entry.name)]
        found = self._ask(index, [entry.name for entry in named], NAMES_PER_KEY, {})
        return all(
            any(hit.channel == "exact" and hit.company_id == entry.company_id for hit in hits)
            for entry, hits in zip(named, found, strict=True)
        )

    # --------------------------------------------------------------------------------------------------------- reading

    def _read(self, index: str, name_ids: Sequence[str]) -> dict[str, NameEntry]:
        documents = self._connected().mget(index=index, body={"ids": [_document_id(name_id) for name_id in name_ids]})
        found = zip(name_ids, documents["docs"], strict=True)
        return {name_id: _entry(one.get("_source", {})) for name_id, one in found if one.get("found")}

    def _ask(self, index: str, surfaces: Sequence[str], limit: int, known: dict[str, NameEntry]) -> list[list[Hit]]:
        """The hits of each surface; the entries of this index that they name are kept in `known`, by name_id."""
        asked = [
            (at, channel, query)
            for at, one in enumerate(surfaces)
            for channel, query in _queries(one, limit, self.nori)
        ]
        answers = self._patiently([query for _, _, query in asked], self._msearch(index))
        hits: list[list[Hit]] = [[] for _ in surfaces]
        for (at, channel, _), answer in zip(asked, answers, strict=True):
            if "error" in answer:
                raise self._failure(answer["status"], answer["error"])
            if answer["timed_out"] or answer["_shards"]["failed"]:
                raise LedgerlineError(f"{self._server} answered for a part of {index} only; look at its health.")
            scored = []
            for one in answer["hits"]["hits"]:
                source = one["_source"]
                entry = known.get(source["name_id"])
                if entry is None:
                    entry = known[source["name_id"]] = _entry(source)
                score = strictness(surfaces[at], entry.name) if channel == "exact" else one["_score"] * TO_BM25
                scored.append(Hit(entry.company_id, entry.name_id, entry.name, channel, score))
            hits[at] += one_per_company(sorted(scored, key=lambda hit: -hit.score), limit)
        return hits

    def _msearch(self, index: str) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
        def send(queries: list[dict[str, Any]]) -> list[dict[str, Any]]:
            body = "".join(f"{{}}\n{json.dumps(query)}\n" for query in queries)
            return list(self._connected().msearch(index=index, body=body)["responses"])

        return send

    # ------------------------------------------------------------------------------------------------------ the server

    @property
    def _server(self) -> str:
        return f"OpenSearch at {self.url}"

    def _connected(self) -> Any:
        if self._client is None:
            try:
                import opensearchpy
            except ImportError as error:
                raise ConfigurationError(
                    f"{self._server} is reached by opensearch-py, which is not installed: pip install 'ledgerline[aws]'."
                ) from error

            self._client = opensearchpy.OpenSearch(
                hosts=[self.url],
                http_auth=self._signer(),
                verify_certs=True,
                connection_class=opensearchpy.Urllib3HttpConnection,
                timeout=self.timeout_seconds,
            )
        return self._client

    def _signer(self) -> Any:
        if self.service == "none":
            return None
        import boto3
        from opensearchpy import Urllib3AWSV4SignerAuth

        credentials = boto3.Session().get_credentials()
        if credentials is None:
            raise ConfigurationError(
                f"{self._server} wants signed requests, and boto3 finds no AWS credentials: give the process a role."
            )
        return Urllib3AWSV4SignerAuth(credentials, self.region, self.service)

    def _patiently(
        self, requests: list[Any], send: Callable[[list[Any]], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """The answer to each request, in order. Those that the server had no room for are sent again, they alone."""
        from opensearchpy.exceptions import ConnectionError, TransportError

        answers: dict[int, dict[str, Any]] = {}
        waiting = list(range(len(requests)))
        if not requests:
            return []
        for pause in (0.0, *PAUSES):
            time.sleep(pause)
            try:
                got = send([requests[number] for number in waiting])
            except ConnectionError:
                raise
            except TransportError as error:
                got = [{"status": error.status_code, "error": _error_of(error)}] * len(waiting)
            answers |= zip(waiting, got, strict=True)
            waiting = [number for number in waiting if _is_busy(answers[number])]
            if not waiting:
                return [answers[number] for number in range(len(requests))]
        raise self._failure(answers[waiting[0]]["status"], answers[waiting[0]]["error"])

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """What opensearch-py raises, as one sentence with the remedy."""
        from opensearchpy import exceptions

        try:
            yield
        except exceptions.SSLError as error:
            raise ConfigurationError(
                f"{self._server} does not prove who it is ({error.error}): check the name in OPENSEARCH_URL, and that its "
                "authority is in SSL_CERT_FILE if it is not a public one."
            ) from error
        except exceptions.ConnectionTimeout as error:
            raise LedgerlineError(
                f"{self._server} did not answer within {self.timeout_seconds:g} s: look at its load, then run again."
            ) from error
        except exceptions.ConnectionError as error:
            raise LedgerlineError(
                f"{self._server} cannot be reached ({error.error}): check OPENSEARCH_URL and that it runs, then run again."
            ) from error
        except exceptions.TransportError as error:
            raise self._failure(error.status_code, _error_of(error)) from error

    def _failure(self, status: object, error: dict[str, Any]) -> LedgerlineError:
        kind, reason = error.get("type", ""), f"{status}: {error.get('reason', '')}"
        if kind == "cluster_block_exception":
            return LedgerlineError(
                f"{self._server} is read-only ({reason}): free or add disk and lift the block, then run again."
            )
        if status in BUSY:
            return LedgerlineError(
                f"{self._server} is too busy and refused {len(PAUSES) + 1} times ({reason}): run again when it is idle, or "
                "make it larger."
            )
        if status in (401, 403):
            return ConfigurationError(
                f"{self._server} refused the request ({reason}): check OPENSEARCH_SERVICE, AWS_DEFAULT_REGION, and that "
                f"the role may use indices {self.prefix}-*."
            )
        if status == 404:
            return LedgerlineError(f"{self._server} lost an index ({reason}): materialize `candidate_index` again.")
        if status == 400:
            return ConfigurationError(
                f"{self._server} does not take names as they are ({reason}): remove index templates that match "
                f"{self.prefix}-*, then materialize `candidate_index` again."
            )
        return LedgerlineError(f"{self._server} failed ({reason}): look at its log, then run again.")


def _attempt(index: str) -> str:
    return index.rpartition("-")[2]


def _document_id(name_id: str) -> str:
    """Of any length: OpenSearch's own may have 512 bytes."""
    return uuid.uuid5(uuid.NAMESPACE_OID, name_id).hex


def _key(text: str) -> str:
    return spelling.loosest(text)[:LONGEST_KEY]


def _bulk_lines(number: int, entry: NameEntry, nori: bool) -> str:
    document: dict[str, Any] = {field: getattr(entry, field) for field in FIELDS} | {
        "number": number,
        KEY: _key(entry.name),
        "words": spelling.core(entry.name),
        "grams": " ".join(spelling.char_ngrams(entry.name)),
    }
    if nori and spelling.has_hangul(entry.name):
        document["morphemes"] = document["words"]
    # "create" and not "index": what is sent twice is not counted twice in the statistics that BM25 rests on.
    action = json.dumps({"create": {"_id": _document_id(entry.name_id)}})
    return f"{action}\n{json.dumps(document, ensure_ascii=False)}\n"


def _entry(source: dict[str, Any]) -> NameEntry:
    return NameEntry(*(source.get(field, "") for field in FIELDS))  # none is missing in a version that was verified


def _queries(surface: str, limit: int, nori: bool) -> Iterator[tuple[Channel, dict[str, Any]]]:
    shared = {"_source": list(FIELDS), "track_total_hits": False}
    key = _key(surface)
    if key:
        yield "exact", {"query": {"term": {KEY: key}}, "size": NAMES_PER_KEY, "sort": ["number"], **shared}
    channels: tuple[tuple[Channel, str, list[str]], ...] = (
        ("bm25", "words", spelling.core(surface).split()),
        ("ngram", "grams", spelling.char_ngrams(surface)),
    )
    for channel, field, tokens in channels:
        if tokens:
            text = " ".join(list(dict.fromkeys(tokens))[:MOST_TOKENS])
            query: dict[str, Any] = {"match": {field: text}}
            if nori and channel == "bm25" and spelling.has_hangul(surface):
                query = {"dis_max": {"queries": [query, {"match": {"morphemes": text}}]}}
            yield channel, {"query": query, "size": limit * NAMES_PER_COMPANY, "sort": ["_score", "number"], **shared}


def _error_of(error: Any) -> dict[str, Any]:
    """{"type", "reason"} of an answer; some of OpenSearch's are text, and a proxy's may be anything."""
    said = error.info.get("error") if isinstance(error.info, dict) else None
    return said if isinstance(said, dict) else {"type": "", "reason": str(said or error.error)[:300]}


def _is_busy(answer: dict[str, Any]) -> bool:
    """A full disk answers 429 as well, and no pause mends it."""
    return answer["status"] in BUSY and answer["error"].get("type") != "cluster_block_exception"
