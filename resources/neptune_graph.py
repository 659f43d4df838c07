"""The knowledge graph on Amazon Neptune. Implements `ledgerline.mapping.ports.KnowledgeGraph`, as the twin on SQLite does.

Here: how versions of the graph lie in Neptune, how they are loaded, swapped and dropped, and how edges are read. How a
question is answered is in `ledgerline.mapping.graph_answers`; connections and errors are in `resources/neptune_client.py`.

All ids begin with the namespace, so that environments share a cluster. A version is its nodes, `<namespace>/<version>/<node>`,
which all bear the label `<namespace>/<version>`; its edges, with their dates; and `spelled` edges from the vertex of a key to
the names that are written so. The vertex `<namespace>/<version>` says how far the version is: `loading` (with the time of the
last sign of life), `whole` or `dropping`. The vertex `<namespace>/current` names the version that queries see. A version is
written once; only these two vertices ever change.
"""

# No `from __future__ import annotations` here: Dagster looks for ResourceDependency in the annotations themselves.
import csv
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from dagster import ConfigurableResource, ResourceDependency
from pydantic import Field, PrivateAttr

from ledgerline.doctor import probed_graph
from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.ports import ObjectStore
from resources.neptune_client import NeptuneClient, reason_of

if TYPE_CHECKING:
    from ledgerline.mapping.graph_answers import Bearer, Found
    from ledgerline.mapping.records import Edge, Listing

log = logging.getLogger(__name__)

# Part of every version's name: raise it when the layout in Neptune changes.
FORMAT = "neptune 1"
LOADING, WHOLE, DROPPING = "loading", "whole", "dropping"
SPELLED = "spelled"
OPEN_START = "0"  # sorts before every day; Neptune's loader leaves empty texts out, so that none is ever stored
# Ids in one read, and vertices in one drop: a request of Neptune is one transaction and ends within its time-out.
READ_IDS = 500
DROP_VERTICES = 500
# Elements in one request. AWS advises about 200 records; 40 edges take half as long again, and 500 twice as long.
ELEMENTS_A_REQUEST = 200
WRITERS = 2  # more meet at the same vertices: their conflicts cost more than they gain
ROUND = 32  # requests between two signs of life
# The loader reads files of S3, which takes half a minute to begin and is many times faster then.
LOADER_FROM = 100_000
LOADER_SECONDS = 4 * 3600.0
LOADER_WAITS = ("LOAD_NOT_STARTED", "LOAD_IN_QUEUE", "LOAD_IN_PROGRESS", "LOAD_COMMITTED_W_WRITE_CONFLICTS")
PROPERTIES = {
    "number": "Int",
    "valid_from": "String",
    "valid_to": "String",
    "source": "String",
    "taken_from": "String",
    "taken_to": "String",
}

T = TypeVar("T")


class _StoredEdge(NamedTuple):
    """An edge as it lies in Neptune: ids without the version's prefix; no property is an empty text."""

    id: str
    label: str
    out_node: str
    in_node: str
    properties: dict[str, str | int]


class NeptuneKnowledgeGraph(ConfigurableResource):
    """Versions of the graph in the `namespace` of a cluster at `wss://<host>:8182/gremlin`. Constructing does no I/O.

    With `loader_role_arn`, a role that the cluster may take and that may read the object store's bucket, large versions are
    loaded from there. `keep_versions` whole versions stay beside the current one, for a rollback; a load without a sign of
    life for `abandoned_seconds` was killed, and the next one removes it.
    """

    endpoint: str
    region: str
    namespace: str = "ledgerline"
    iam: bool = True
    loader_role_arn: str = ""
    object_store: ResourceDependency[ObjectStore]
    keep_versions: int = Field(default=5, ge=1)
    abandoned_seconds: float = 900.0
    query_seconds: float = 30.0
    load_seconds: float = 120.0
    poll_seconds: float = 5.0

    _client: Any = PrivateAttr(default=None)

    def build(self, edges: "Iterable[Edge]") -> str:
        """Load a version and return its name. Equal edges in equal order give an equal name, not loaded again.

        Whatever was killed goes on with the next call: the load of the same version, the removal of another. Raises
        LedgerlineError with the remedy where Neptune cannot be reached or does not hold what was sent.
        """
        from ledgerline.mapping.graph_answers import version_of

        given = list(edges)
        version = version_of(given, FORMAT)
        if self._state(version) != WHOLE:
            self._sweep(version)
            self._load(version, given)
        return version

    def promote(self, version: str) -> None:
        """Make a version the one that queries see, in one request. Raises LedgerlineError if it is not there whole."""
        from gremlin_python.process.traversal import Cardinality, T

        pointer = self._pointer()
        swapped = self._write(
            _g()
            .V(self._id(version))
            .has("state", WHOLE)
            .merge_v({T.id: pointer, T.label: pointer})
            .property(Cardinality.single, "version", version)
            .count()
        )
        if swapped != [1]:
            raise LedgerlineError(
                f"Knowledge graph version {version!r} is not in {self.namespace} of Neptune; materialize the asset"
                " 'knowledge_graph'."
            )

    def current(self) -> str | None:
        """The version that queries see, or None before the first `promote`."""
        found = self._read(_g().V(self._pointer()).values("version"))
        return str(found[0]) if found else None

    def named(self, surfaces: Sequence[str], *, as_of: date) -> "list[list[Bearer]]":
        """See `ledgerline.mapping.graph_answers.named`."""
        from ledgerline.mapping import graph_answers

        return graph_answers.named(self._version(), surfaces, as_of=as_of)

    def listings(self, company_ids: Sequence[str], *, as_of: date) -> "dict[str, list[tuple[Listing, Edge]]]":
        """See `ledgerline.mapping.graph_answers.listings`."""
        from ledgerline.mapping import graph_answers

        return graph_answers.listings(self._version(), company_ids, as_of=as_of)

    def by_ticker(self, ticker: str, *, as_of: date) -> "list[tuple[str, Edge]]":
        """See `ledgerline.mapping.graph_answers.by_ticker`."""
        from ledgerline.mapping import graph_answers

        return graph_answers.by_ticker(self._version(), ticker, as_of=as_of)

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. Builds a version in a namespace of its own."""
        probe = self.model_copy(update={"namespace": f"{self.namespace}-doctor-{uuid.uuid4().hex}"})
        try:
            yield from probed_graph(probe)
            yield "delete"
            probe.remove()
        except LedgerlineError:
            with suppress(LedgerlineError):  # what is wrong is the error to show
                probe.remove()
            raise
        finally:
            probe.close()

    def remove(self) -> None:
        """Drop the whole namespace, e.g. that of a branch deployment whose branch is gone."""
        self._write(_g().V(self._pointer()).side_effect(_step().drop()).count())  # first: the current version is kept
        for version in self._versions():
            self._drop(str(version["version"]))

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    # ------------------------------------------------------------------------------------- requests

    def _neptune(self) -> NeptuneClient:
        if self._client is None:
            self._client = NeptuneClient(self.endpoint, region=self.region, iam=self.iam)
        return self._client

    def _read(self, traversal: Any) -> list[Any]:
        return self._neptune().run(traversal, seconds=self.query_seconds)

    def _write(self, traversal: Any) -> list[Any]:
        return self._neptune().run(traversal, seconds=self.load_seconds)

    def _id(self, version: str) -> str:
        return f"{self.namespace}/{version}"

    def _pointer(self) -> str:
        return f"{self.namespace}/current"

    def _version(self) -> "_NeptuneVersion":
        version = self.current()
        if version is None:
            raise LedgerlineError(
                f"There is no knowledge graph in {self.namespace} of Neptune yet; materialize the asset 'knowledge_graph'"
                " first."
            )
        return _NeptuneVersion(f"{self._id(version)}/", self._read)

    # ------------------------------------------------------------------------------------- states of versions

    def _versions(self) -> list[dict[str, Any]]:
        """version, state, beat and, where the loader is used, load of every version, the oldest first."""
        found = self._read(
            _g().V().has_label(f"{self.namespace}/version").value_map("version", "state", "beat", "load")
        )
        return sorted(({key: value[0] for key, value in one.items()} for one in found), key=lambda one: one["beat"])

    def _state(self, version: str) -> str | None:
        found = self._read(_g().V(self._id(version)).values("state"))
        return str(found[0]) if found else None

    def _set(self, version: str, *, only: str, **properties: Any) -> bool:
        """Change properties of a version in one request, if it is in the state `only`; says whether it was."""
        from gremlin_python.process.traversal import Cardinality

        traversal = _g().V(self._id(version)).has("state", only)
        for name, value in properties.items():
            traversal = traversal.property(Cardinality.single, name, value)
        return bool(self._write(traversal.count()) == [1])

    def _begin(self, version: str) -> None:
        from gremlin_python.process.traversal import Merge, T

        about = {"version": version, "state": LOADING, "beat": time.time()}
        self._write(
            _g()
            .merge_v({T.id: self._id(version)})
            .option(Merge.on_create, {T.id: self._id(version), T.label: f"{self.namespace}/version", **about})
            .count()
        )
        self._beat(version)

    def _beat(self, version: str) -> None:
        """A sign of life, without which another process takes the load for one that was killed."""
        if not self._set(version, only=LOADING, beat=time.time()) and self._state(version) != WHOLE:
            raise LedgerlineError(
                f"Knowledge graph version {version} was removed from Neptune while it was loaded, for nothing was heard of"
                f" the load for {self.abandoned_seconds:g} s; materialize the asset 'knowledge_graph' again."
            )

    def _sweep(self, wanted: str) -> None:
        """Remove loads and removals that were killed, except of the version wanted, and whole versions beyond those kept."""
        versions = self._versions()
        current = self.current()
        old = time.time() - self.abandoned_seconds
        whole = [one["version"] for one in versions if one["state"] == WHOLE and one["version"] != current]
        for one in versions:
            version = one["version"]
            killed = one["state"] == LOADING and version != wanted and one["beat"] <= old
            if one["state"] == DROPPING or killed or version in whole[: -self.keep_versions]:
                self._cancel(one.get("load"))
                self._drop(version)

    def _drop(self, version: str) -> None:
        """Remove a version in bounded requests, its vertex of state last, unless another process promotes it meanwhile."""
        for state in (LOADING, WHOLE):
            self._set(version, only=state, state=DROPPING)
        if self._state(version) != DROPPING:
            return
        if self.current() == version:
            self._set(version, only=DROPPING, state=WHOLE)
            return
        nodes = _g().V().has_label(self._id(version)).limit(DROP_VERTICES).side_effect(_step().drop()).count()
        while self._write(nodes) != [0]:
            continue
        self._write(_g().V(self._id(version)).side_effect(_step().drop()).count())

    # ------------------------------------------------------------------------------------- loading

    def _load(self, version: str, edges: "Sequence[Edge]") -> None:
        self._begin(version)
        nodes, stored = _elements(edges)
        if self.loader_role_arn and len(nodes) + len(stored) > LOADER_FROM:
            self._load_from_s3(version, nodes, stored)
        else:
            self._merge(version, nodes, self._merged_vertices)
            self._merge(version, stored, self._merged_edges)
        label = self._id(version)
        held = (
            self._write(_g().V().has_label(label).count())[0],
            self._write(_g().V().has_label(label).out_e().count())[0],
        )
        if held != (len(nodes), len(stored)):
            self._set(version, only=LOADING, state=DROPPING)
            raise LedgerlineError(
                f"Neptune holds {held[0]} vertices and {held[1]} edges of knowledge graph version {version}, and {len(nodes)}"
                f" and {len(stored)} were sent; the next load removes them: materialize the asset 'knowledge_graph' again."
            )
        if not self._set(version, only=LOADING, state=WHOLE):
            self._beat(version)  # raises unless another process was faster with the same version

    def _merge(self, version: str, elements: Sequence[T], merged: Callable[[str, list[T]], Any]) -> None:
        """Write elements in requests of ELEMENTS_A_REQUEST, `WRITERS` at a time.

        The elements of a request are data of one short traversal: a step for each, which a server has to compile, takes four
        times as long.
        """
        size = ELEMENTS_A_REQUEST
        batches = (list(elements[start : start + size]) for start in range(0, len(elements), size))
        with ThreadPoolExecutor(WRITERS) as writers:
            while batch_round := list(islice(batches, ROUND)):
                list(writers.map(lambda batch: self._write(merged(version, batch)), batch_round))
                self._beat(version)

    def _merged_vertices(self, version: str, nodes: list[str]) -> Any:
        from gremlin_python.process.traversal import T

        label = self._id(version)
        return _g().inject(*({T.id: f"{label}/{node}", T.label: label} for node in nodes)).merge_v().count()

    def _merged_edges(self, version: str, edges: list[_StoredEdge]) -> Any:
        from gremlin_python.process.traversal import Direction, T

        prefix = f"{self._id(version)}/"
        whole = (
            {
                T.id: prefix + edge.id,
                T.label: edge.label,
                Direction.OUT: prefix + edge.out_node,
                Direction.IN: prefix + edge.in_node,
                **edge.properties,
            }
            for edge in edges
        )
        return _g().inject(*whole).merge_e().count()

    def _load_from_s3(self, version: str, nodes: Sequence[str], edges: Sequence[_StoredEdge]) -> None:
        """Put both files into the object store, let Neptune's loader read them and wait for it."""
        files = {
            name: self.object_store.uri("graph_loads", self._id(version), name)
            for name in ("vertices.csv", "edges.csv")
        }
        with tempfile.TemporaryDirectory(prefix="ledgerline-graph-") as folder:
            write_csv(Path(folder), f"{self._id(version)}/", self._id(version), nodes, edges)
            for name, uri in files.items():
                self.object_store.put_file(uri, Path(folder) / name)
        self._beat(version)
        try:
            self._run_loader(version, files["edges.csv"].rpartition("/")[0] + "/")
        finally:
            for uri in files.values():
                self.object_store.delete(uri)

    def _run_loader(self, version: str, source: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        remedy = "see that NEPTUNE_LOADER_ROLE_ARN is attached to the cluster and may read the bucket, then run again"
        try:
            started = (
                self._neptune()
                .data_api()
                .start_loader_job(
                    source=source,
                    format="csv",
                    s3BucketRegion=self.region,
                    iamRoleArn=self.loader_role_arn,
                    mode="NEW",
                    failOnError=True,
                    parallelism="MEDIUM",  # the instance answers queries meanwhile
                    updateSingleCardinalityProperties=True,  # what a killed load wrote is written again
                    queueRequest=True,
                )
            )
            load = str(started["payload"]["loadId"])
            self._set(version, only=LOADING, load=load)
            end = time.monotonic() + LOADER_SECONDS
            while (said := self._loader_status(load))["status"] in LOADER_WAITS:
                if time.monotonic() > end:
                    self._cancel(load)
                    raise LedgerlineError(
                        f"Neptune's loader did not end load {load} within {LOADER_SECONDS:g} s: {remedy}."
                    )
                self._beat(version)
                time.sleep(self.poll_seconds)
        except (BotoCoreError, ClientError) as error:
            raise LedgerlineError(f"Neptune's loader cannot be used ({reason_of(error)}): {remedy}.") from error
        if said["status"] != "LOAD_COMPLETED":
            raise LedgerlineError(
                f"Neptune's loader ended load {load} with {said['status']} {said['errors']}: {remedy}."
            )

    def _loader_status(self, load: str) -> dict[str, Any]:
        """status and the first errors of a load; see "Neptune Loader Get-Status" in its user guide."""
        payload = self._neptune().data_api().get_loader_job_status(loadId=load, errors=True, errorsPerPage=3)["payload"]
        logs = (payload.get("errors") or {}).get("errorLogs") or []
        return {
            "status": payload["overallStatus"]["status"],
            "errors": "; ".join(f"{one.get('errorCode')}: {one.get('errorMessage')}" for one in logs),
        }

    def _cancel(self, load: str | None) -> None:
        """Stop a load of the loader whose process was killed, so that it writes nothing more."""
        from botocore.exceptions import ClientError

        if load is None:
            return
        try:
            self._neptune().data_api().cancel_loader_job(loadId=load)
        except ClientError as error:  # it ended, or Neptune has forgotten it
            log.info("load %s of Neptune's loader is not cancelled: %s", load, reason_of(error))


class _NeptuneVersion:
    """One version, its ids all under `prefix`. Implements `ledgerline.mapping.graph_answers.GraphVersion`."""

    def __init__(self, prefix: str, read: Callable[[Any], list[Any]]) -> None:
        self._prefix, self._read = prefix, read

    def by_key(self, keys: Sequence[str], *, day: str) -> "Iterator[Found]":
        from gremlin_python.process.traversal import P, T

        from ledgerline.mapping.graph_answers import keys_of

        for vertices in self._vertices([_key_node(key) for key in keys]):
            edges = (
                vertices.as_("key")
                .out(SPELLED)
                .in_e()
                .has("taken_from", P.lte(day))  # `spelled` edges have none
                .not_(_step().has(T.label, "listed_as").has("taken_to", P.lt(day)))
            )
            for row in self._rows(edges, key=_step().select("key").id_()):
                key, edge = row["key"][len(self._prefix) + len(_key_node("")) :], self._edge(row)
                strength = keys_of(edge).get(key)
                if strength is not None:  # None: another edge to the same node is found under this key
                    yield key, strength, row["number"], edge

    def listed(self, nodes: Sequence[str], *, day: str) -> "Iterator[tuple[int, Edge]]":
        from gremlin_python.process.traversal import P

        for vertices in self._vertices(nodes):
            edges = vertices.out_e("listed_as").has("taken_from", P.lte(day)).has("taken_to", P.gte(day))
            yield from ((row["number"], self._edge(row)) for row in self._rows(edges))

    def succeeded(self, nodes: Sequence[str], *, day: str) -> "Iterator[tuple[int, Edge]]":
        from gremlin_python.process.traversal import P

        for vertices in self._vertices(nodes):
            edges = vertices.out_e("succeeded_by").not_(_step().has("valid_from", P.gt(day)))
            yield from ((row["number"], self._edge(row)) for row in self._rows(edges))

    def _vertices(self, nodes: Sequence[str]) -> Iterator[Any]:
        for start in range(0, len(nodes), READ_IDS):
            yield _g().V(*(self._prefix + node for node in nodes[start : start + READ_IDS]))

    def _rows(self, edges: Any, **also: Any) -> list[dict[str, Any]]:
        from gremlin_python.process.traversal import T

        of_edge = {
            "number": "number",
            "from": _step().out_v().id_(),
            "label": T.label,
            "to": _step().in_v().id_(),
            "about": _step().value_map("valid_from", "valid_to", "source"),
        }
        traversal = edges.project(*of_edge, *also)
        for value in (*of_edge.values(), *also.values()):
            traversal = traversal.by(value)
        return self._read(traversal)

    def _edge(self, row: dict[str, Any]) -> "Edge":
        from ledgerline.mapping.records import Edge

        cut, about = len(self._prefix), row["about"]
        days = (about.get("valid_from", ""), about.get("valid_to", ""))
        return Edge(row["from"][cut:], row["label"], row["to"][cut:], *days, about.get("source", ""))


def write_csv(folder: Path, prefix: str, label: str, nodes: Iterable[str], edges: Iterable[_StoredEdge]) -> None:
    """`vertices.csv` and `edges.csv` in the loader's Gremlin format (RFC 4180, system columns `~id ~label ~from ~to`)."""
    with (folder / "vertices.csv").open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["~id", "~label"])
        rows.writerows([prefix + node, label] for node in nodes)
    with (folder / "edges.csv").open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["~id", "~from", "~to", "~label", *(f"{name}:{kind}" for name, kind in PROPERTIES.items())])
        for edge in edges:
            ends = (prefix + edge.out_node, prefix + edge.in_node)
            rows.writerow(
                [prefix + edge.id, *ends, edge.label, *(edge.properties.get(name, "") for name in PROPERTIES)]
            )


def _elements(edges: "Sequence[Edge]") -> tuple[list[str], list[_StoredEdge]]:
    """Every vertex and edge of a version, in the order of the edges given."""
    from ledgerline.mapping.graph import days_taken
    from ledgerline.mapping.graph_answers import OPEN_END, keys_of

    nodes: dict[str, None] = {}
    spelled: dict[tuple[str, str], None] = {}
    stored = []
    for number, (edge, (first, last)) in enumerate(zip(edges, days_taken(edges), strict=True)):
        given = {"valid_from": edge.valid_from, "valid_to": edge.valid_to, "source": edge.source}
        properties: dict[str, str | int] = {
            "number": number,
            **{name: value for name, value in given.items() if value},
            "taken_from": first or OPEN_START,
            "taken_to": last or OPEN_END,
        }
        stored.append(_StoredEdge(f"edge:{number}", edge.label, edge.from_id, edge.to_id, properties))
        nodes |= dict.fromkeys((edge.from_id, edge.to_id))
        spelled |= dict.fromkeys((_key_node(key), edge.to_id) for key in keys_of(edge) if key)
    nodes |= dict.fromkeys(key for key, _ in spelled)
    for number, (key, node) in enumerate(spelled):
        stored.append(_StoredEdge(f"{SPELLED}:{number}", SPELLED, key, node, {}))
    return list(nodes), stored


def _key_node(key: str) -> str:
    return f"key:{key}"


def _g() -> Any:
    """A traversal source that is bound to no connection: what it makes is only a request."""
    try:
        from gremlin_python.process.graph_traversal import GraphTraversalSource
        from gremlin_python.process.traversal import TraversalStrategies
        from gremlin_python.structure.graph import Graph
    except ImportError as error:
        raise ConfigurationError(
            "NEPTUNE_ENDPOINT needs gremlinpython: pip install 'ledgerline[aws]', or leave NEPTUNE_ENDPOINT out."
        ) from error
    return GraphTraversalSource(Graph(), TraversalStrategies())


def _step() -> Any:
    """The beginning of a traversal inside another one."""
    from gremlin_python.process.graph_traversal import __

    return __
