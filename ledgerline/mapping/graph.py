"""The edges of the knowledge graph: how facts become dated edges, on which days an edge is taken to hold, its proof.

Here: pure rules. Storing and querying edges is in `resources/knowledge_graph.py`; what a company is called is in
`ledgerline.names.facts`; which candidate is right is the ranker's business.

Nodes are strings: `company:<company_id>`, `name:<the name as it is written>`, `listing:<exchange>:<ticker>`,
`person:<name>`, `product:<name>`. A name node carries the literal name, so that a proof shows what really stands in the
facts; the key under which names are compared is `ledgerline.names.normalise.core`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from ledgerline.mapping.records import Edge

if TYPE_CHECKING:
    import pyarrow as pa

    from ledgerline.names.facts import Facts

NAMED, LISTED_AS, SUCCEEDED_BY, LED_BY, MAKES = "named", "listed_as", "succeeded_by", "led_by", "makes"
# Kinds of the facts' table `names` that are no names of the company itself.
_OTHER_KINDS = {"person": (LED_BY, "person"), "product": (MAKES, "product")}
# A day on which at least so many edges of one register begin was a look at the whole register (a snapshot). that
# were learned one by one do not share their day with this many others.
SNAPSHOT_EDGES = 25

Span = tuple[str, str]


def edges_of(facts: Facts) -> Iterator[Edge]:
    """Every edge that the facts hold: named / led_by / makes, then listed_as, then succeeded_by.

    Equal facts give equal edges in equal order. A company's listings keep the order of the facts: primary first. Rows
    without a name or a ticker are left out.
    """
    yield from _name_edges(facts.names)
    yield from _listing_edges(facts.securities)
    for predecessor, successor, day, source in sorted(_rows(facts.successors)):
        yield Edge(company_node(predecessor), SUCCEEDED_BY, company_node(successor), day, "", source)


def _name_edges(names: pa.Table) -> Iterator[Edge]:
    edges = set()
    for company_id, name, kind, _language, valid_from, valid_to, source in _rows(names):
        label, node = _OTHER_KINDS.get(kind, (NAMED, "name"))
        if name.strip():
            edges.add((company_node(company_id), label, f"{node}:{name.strip()}", valid_from, valid_to, source))
    for edge in sorted(edges):
        yield Edge(*edge)


def _listing_edges(securities: pa.Table) -> Iterator[Edge]:
    by_company = sorted(_rows(securities), key=lambda row: row[0])  # stable: the order inside a company stays
    for company_id, ticker, exchange, _share_class, valid_from, valid_to, source in by_company:
        if ticker:
            yield Edge(
                company_node(company_id), LISTED_AS, f"listing:{exchange}:{ticker}", valid_from, valid_to, source
            )


def _rows(table: pa.Table) -> list[tuple[str, ...]]:
    """The rows as tuples of strings, null as ""."""
    columns = [["" if value is None else value for value in column.to_pylist()] for column in table.columns]
    return list(zip(*columns, strict=True))


def company_node(company_id: str) -> str:
    return f"company:{company_id}"


def company_of(node: str) -> str:
    """The company_id of a company node: "company:cik:0000320193" -> "cik:0000320193"."""
    return node.removeprefix("company:")


def literal_of(edge: Edge) -> str:
    """What would stand in a text for this edge: the name, the person's or product's name, or the ticker."""
    if edge.label == LISTED_AS:
        return listing_of(edge)[1]
    return edge.to_id.partition(":")[2]


def listing_of(edge: Edge) -> tuple[str, str]:
    """(exchange, ticker) of a `listed_as` edge."""
    _, exchange, ticker = edge.to_id.split(":", 2)
    return exchange, ticker


def days_taken(edges: Sequence[Edge]) -> list[Span]:
    """For each edge the first and last ISO day on which it is taken to hold, "" where open.

    A register that was looked at on single days says when a name or ticker was *seen*, not when it began. Between two
    looks nobody knows, so an edge seen first (last) in such a look is taken to hold from the day after the look before
    (until the day before the look after), and without limit if there was none. Facts whose ends were already moved to
    the day before the next look stay as they are, for such a day is no look. For tickers these windows never reach
    into days on which the company is known under another ticker, or the ticker for another company; where the windows
    of two holders meet, the earlier one keeps the ticker through the day before the later one was first seen, or before
    the day on which the later company succeeded the earlier. Days that are no look at the whole register (fewer than
    SNAPSHOT_EDGES edges share them) are taken as they are. Days inside `valid_from`..`valid_to`, both inclusive, always
    hold.
    """
    looks = _looks(edges)
    taken = [_window(edge, looks.get(_register(edge), [])) for edge in edges]
    listed = [at for at, edge in enumerate(edges) if edge.label == LISTED_AS]
    succeeded = {
        (edge.from_id, edge.to_id): edge.valid_from for edge in edges if edge.label == SUCCEEDED_BY and edge.valid_from
    }
    for group in _groups(edges, listed):
        _part(edges, group, taken, succeeded)
    return taken


def _register(edge: Edge) -> tuple[str, str]:
    """Edges whose snapshots were taken together: one label of one kind of company id (cik, dart, krx)."""
    return edge.from_id.split(":", 2)[1], edge.label


def _looks(edges: Sequence[Edge]) -> dict[tuple[str, str], list[str]]:
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for edge in edges:
        if edge.valid_from:
            counts[_register(edge)][edge.valid_from] += 1
    return {
        register: sorted(day for day, count in days.items() if count >= SNAPSHOT_EDGES)
        for register, days in counts.items()
    }


def _window(edge: Edge, looks: list[str]) -> Span:
    first, last = edge.valid_from, edge.valid_to
    if first and (at := bisect_left(looks, first)) < len(looks) and looks[at] == first:
        first = _shifted(looks[at - 1], 1) if at else ""
    if last and (at := bisect_right(looks, last)) and looks[at - 1] == last:
        last = _shifted(looks[at], -1) if at < len(looks) else ""
    return first, last


def _groups(edges: Sequence[Edge], listed: Sequence[int]) -> Iterator[list[int]]:
    """Listings that compete for their days: those of one ticker in one register, and those of one company."""
    by_holder: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for at in listed:
        edge = edges[at]
        by_holder[edge.from_id,].append(at)
        by_holder[_register(edge)[0], listing_of(edge)[1]].append(at)
    for group in by_holder.values():
        if len(group) > 1:
            yield sorted(group, key=lambda at: edges[at].valid_from)


def _part(edges: Sequence[Edge], group: list[int], taken: list[Span], succeeded: dict[tuple[str, str], str]) -> None:
    starts = [edges[at].valid_from for at in group]
    for at in group:
        first, last = taken[at]
        following = bisect_right(starts, edges[at].valid_to) if edges[at].valid_to else len(group)
        if following < len(group):
            boundary = _boundary(edges[at], edges[group[following]], succeeded)
            last = min(last or "9999", max(_shifted(boundary, -1), edges[at].valid_to))
        taken[at] = first, last
    latest = ""  # the last day that an earlier listing of the group takes
    for position, at in enumerate(group):
        first, last = taken[at]
        if latest and edges[at].valid_from:
            first = max(first, min(_shifted(latest, 1) if latest != "9999" else "9999", edges[at].valid_from))
        taken[at] = first, last
        if position + 1 < len(group) and starts[position + 1] > starts[position]:
            same_start = group[bisect_left(starts, starts[position]) : position + 1]
            latest = max(latest, *(taken[other][1] or "9999" for other in same_start))


def _boundary(earlier: Edge, later: Edge, succeeded: dict[tuple[str, str], str]) -> str:
    day = succeeded.get((earlier.from_id, later.from_id), "")
    return day if earlier.valid_to < day <= later.valid_from else later.valid_from


@lru_cache(maxsize=4096)
def _shifted(day: str, days: int) -> str:
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()


def describe_path(path: Sequence[Edge]) -> str:
    """The proof as one line a person can read: each edge with its dates and source; "" for an empty path.

    Example: `cik:0001288776 was named "Google Inc" (2015-02-15 to 2015-10-01, edgar); cik:0001288776 was succeeded
    since 2015-10-02 by cik:0001652044 (edgar)`.
    """
    return "; ".join(_described(edge) for edge in path)


def _described(edge: Edge) -> str:
    company = company_of(edge.from_id)
    source = f", {edge.source}" if edge.source else ""
    if edge.label == SUCCEEDED_BY:
        since = f"since {edge.valid_from} " if edge.valid_from else ""
        note = f" ({edge.source})" if edge.source else ""
        return f"{company} was succeeded {since}by {company_of(edge.to_id)}{note}"
    days = f"({_dates(edge)}{source})"
    if edge.label == LISTED_AS:
        exchange, ticker = listing_of(edge)
        be = "was" if edge.valid_to else "is"
        return f"{company} {be} listed as {ticker}{f' on {exchange}' if exchange else ''} {days}"
    be = "was" if edge.valid_to else "is"
    verb = {NAMED: f"{be} named", LED_BY: f"{be} led by", MAKES: "makes"}.get(edge.label, edge.label)
    return f'{company} {verb} "{literal_of(edge)}" {days}'


def _dates(edge: Edge) -> str:
    if edge.valid_from and edge.valid_to:
        return f"{edge.valid_from} to {edge.valid_to}"
    if edge.valid_from:
        return f"since {edge.valid_from}"
    return f"until {edge.valid_to}" if edge.valid_to else "undated"
