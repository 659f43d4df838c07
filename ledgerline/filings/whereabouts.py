"""Where one filing is, and why: what the ledger knows of it, in sentences. Reads the ledger; asks no regulator.

What an id looks like is decided here too. How the answer is printed is in `cli` and `jobs`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from ledgerline.errors import ConfigurationError
from ledgerline.filings.monitor import spoken, stamp, why_waiting
from ledgerline.filings.ports import DayClaim, Fetched, LedgerRow, LedgerWithLease, Tick
from ledgerline.filings.records import Source
from ledgerline.filings.remedies import remedy
from ledgerline.filings.times import ZONES, end_of_day, parse_day

ACCESSION = re.compile(r"(\d{10})-?(\d{2})-?(\d{6})", re.ASCII)
RCEPT_NO = re.compile(r"\d{14}", re.ASCII)
WHAT_AN_ID_IS = (
    "EDGAR's accession number has 18 digits, 0000320193-25-000001 (with or without the dashes); "
    "DART's rcept_no has 14 and begins with its day, 20250314000020"
)
NAMES = {"edgar": "EDGAR", "dart": "DART"}
WITNESSES = {
    "feed": "EDGAR's feed",
    "index": "EDGAR's daily index",
    "submissions": "the list of its company",
    "list": "DART's list",
    "archive": "a file of the archive",
}


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The answer: one sentence, and what is known as (name, value) in the order in which a person reads it."""

    source: Source
    filing_id: str
    known: bool
    sentence: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger holds about a filing id: `row` is None where it never heard of it, `day` is then DART's day of the
    number (EDGAR's numbers name none). `read_next` is a sentence: when the source is read again."""

    source: Source
    filing_id: str
    row: LedgerRow | None
    day: date | None
    versions: Sequence[Fetched] = ()
    corrections: Sequence[LedgerRow] = ()
    claim: DayClaim | None = None
    ban: tuple[datetime, str] | None = None
    poll: Tick | None = None
    read_next: str = ""


def parse_filing_id(text: str) -> tuple[Source, str]:
    """The source and the id as the ledger writes it. Raises ConfigurationError that says what an id looks like."""
    given = text.strip()
    if accession := ACCESSION.fullmatch(given):
        return "edgar", "-".join(accession.groups())
    if RCEPT_NO.fullmatch(given) and parse_day(given[:8]):
        return "dart", given
    raise ConfigurationError(f"{given!r} is no id of a filing: {WHAT_AN_ID_IS}.")


def where_is(
    ledger: LedgerWithLease,
    text: str,
    *,
    now: datetime,
    read_next: dict[Source, str] | None = None,
    day: date | None = None,
) -> Whereabouts:
    """Where the filing with this id is. `day`: when it was filed, for an id that the ledger does not know.

    Raises ConfigurationError for what is no id.
    """
    source, filing_id = parse_filing_id(text)
    row = ledger.row(source, filing_id)
    if row is not None:
        day = row.ref.day
    elif source == "dart":
        day = parse_day(filing_id[:8])
    claims = ledger.completions(source, since=day) if day else []
    return describe(
        Known(
            source=source,
            filing_id=filing_id,
            row=row,
            day=day,
            versions=ledger.versions(source, filing_id) if row else (),
            corrections=ledger.corrections_of(source, filing_id) if row else (),
            claim=next((claim for claim in claims if claim.day == day), None),
            ban=ledger.banned_until(source, now),
            poll=next(iter(ledger.ticks(source)), None),
            read_next=(read_next or {}).get(source, ""),
        ),
        now=now,
    )


def describe(known: Known, *, now: datetime) -> Whereabouts:
    """The answer from what is known."""
    facts = [("source", NAMES[known.source])]
    if known.row is not None:
        sentence = _sentence(known.row, now=now, ban=known.ban)
        facts += _of_row(known.row, known.versions, known.corrections)
    else:
        sentence = _unknown(known, now=now)
    facts += _of_source(known)
    return Whereabouts(known.source, known.filing_id, known.row is not None, sentence, tuple(facts))


def in_both_zones(moment: datetime, source: Source) -> str:
    """2025-03-14 20:30:00 UTC (2025-03-14 16:30:00 EDT)."""
    return f"{stamp(moment)} ({moment.astimezone(ZONES[source]):%Y-%m-%d %H:%M:%S %Z})"


def _sentence(row: LedgerRow, *, now: datetime, ban: tuple[datetime, str] | None) -> str:
    one = f"{NAMES[row.ref.source]} filing {row.ref.filing_id}"
    if row.state == "published":
        return f"{one} is published: version {row.version} is in the lake table `filings`."
    if row.state == "refused":
        return f"{one} is refused as {row.reason}: {row.detail}. {remedy(row.reason)}"
    doing = {"discovered": "listed and not fetched", "fetched": "fetched and not checked", "parsed": "checked"}
    return f"{one} is {doing[row.state]}: {why_waiting(row, now=now, ban=ban)}."


def _unknown(known: Known, *, now: datetime) -> str:
    one = f"{NAMES[known.source]} filing {known.filing_id} is not known"
    read_next = f" {known.read_next}" if known.read_next else ""
    if known.day is None:
        return (
            f"{one}, and its number does not say its day: ask with the day on which it was filed (DAY=2025-03-14), too."
            f"{read_next}"
        )
    if known.claim is not None:
        return (
            f"{one}: {known.day} is complete, and {NAMES[known.source]} does not list it among the "
            f"{known.claim.filings} filings of that day."
        )
    over = now >= end_of_day(known.day, ZONES[known.source])
    state = "is not proved complete" if over else "is not over"
    return f"{one}: {known.day} {state}, so that it may still be found.{read_next}"


def _of_row(row: LedgerRow, versions: Sequence[Fetched], corrections: Sequence[LedgerRow]) -> list[tuple[str, str]]:
    ref = row.ref
    first, *others = [WITNESSES.get(one, one) for one in row.witnesses] or ["an earlier program"]
    facts = [
        ("day", ref.day.isoformat()),
        ("form", ref.form),
        ("title", ref.title.strip() if ref.title.strip() != ref.form else ""),
        ("period", row.period),
        ("companies", "; ".join(f"{one.name} ({one.id}, {one.role or 'role not said'})" for one in ref.parties)),
        ("named first by", first),
        ("named also by", ", ".join(others)),
    ]
    moments = (
        ("accepted", ref.accepted_at),
        ("first seen", row.first_seen_at),
        ("available", row.available_at),
        ("refusal in the lake" if row.state == "refused" else "published", row.published_at),
        ("compared again", row.checked_at),
    )
    facts += [(name, in_both_zones(moment, ref.source)) for name, moment in moments if moment is not None]
    if row.state == "published" and versions and row.published_at:
        took = (row.published_at - versions[0].available_at).total_seconds()
        facts.append(("from available to published", spoken(took)))
    if row.attempts:
        facts.append(("attempts", str(row.attempts)))
    if row.next_attempt_at is not None:
        facts.append(("next attempt", f"not before {in_both_zones(row.next_attempt_at, ref.source)}"))
    facts += [
        (
            f"version {number}",
            f"{one.size:,} bytes, sha256 {one.sha256}, available {stamp(one.available_at)}, {one.uri}",
        )
        for number, one in enumerate(versions, start=1)
    ]
    facts += [
        ("parser version", row.parser_version),
        ("corrects", row.corrects),
        ("corrected by", ", ".join(f"{one.ref.filing_id} ({one.ref.form} of {one.ref.day})" for one in corrections)),
    ]
    return [(name, value) for name, value in facts if value]


def _of_source(known: Known) -> list[tuple[str, str]]:
    facts = []
    if known.claim is not None:
        proof = f"proved {stamp(known.claim.proved_at)}: its list of {known.claim.filings} filings is matched"
        facts.append((f"{known.claim.day} complete", proof))
    elif known.day is not None:
        facts.append((f"{known.day} complete", "not proved"))
    if known.ban is not None:
        facts.append(("banned", f"until {in_both_zones(known.ban[0], known.source)}: {known.ban[1]}"))
    if known.poll is not None:
        ended = known.poll.failure or ("connected to the one before" if known.poll.connected else "left a gap")
        facts.append(("last poll", f"{in_both_zones(known.poll.started_at, known.source)}, {ended}"))
    if known.read_next and known.row is not None and known.row.state not in ("published", "refused"):
        facts.append(("read next", known.read_next))
    return facts
