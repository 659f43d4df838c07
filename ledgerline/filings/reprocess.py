"""Taking filings up again: by id, by the reason of their refusal, by the parser that read them. What happens to them
then is onboarding as ever; who starts it is not here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import get_args

from ledgerline.errors import ConfigurationError
from ledgerline.filings.parse import PARSER_VERSION
from ledgerline.filings.ports import FilingLedger
from ledgerline.filings.records import Source
from ledgerline.filings.remedies import REMEDIES
from ledgerline.filings.whereabouts import parse_filing_id

BATCH = 1000  # filings of one transaction, so that others write in between
OUTDATED = "parsed by another version"


@dataclass(frozen=True, slots=True)
class Selection:
    """Either `filing_ids`, or all filings of `sources` and days (both ends included; None: all) that were refused for one
    of `reasons` or, with `outdated`, published by another version of the parser than the present one."""

    filing_ids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    outdated: bool = False
    sources: tuple[Source, ...] = get_args(Source)
    since: date | None = None
    until: date | None = None


@dataclass
class Reprocessed:
    """What was taken up (or, in a dry run, would be): (source, day) -> why -> filings; `left` ids, each with why not."""

    days: dict[tuple[Source, date], Counter[str]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    @property
    def filings(self) -> int:
        return sum(counts.total() for counts in self.days.values())


def checked(selection: Selection) -> Selection:
    """The selection with ids as the ledger writes them. Raises ConfigurationError for one that says too little, or that
    mixes ids with the rest, for an id that is none, and for an unknown reason."""
    by_rule = selection.reasons or selection.outdated
    if not selection.filing_ids and not by_rule:
        raise ConfigurationError("nothing is selected: give `filings`, or `reasons`, or `outdated_parser: true`.")
    if selection.filing_ids and (by_rule or selection.since or selection.until):
        raise ConfigurationError(
            "`filings` are taken up as they are named: leave out reasons, parser and days with them."
        )
    if unknown := [reason for reason in selection.reasons if reason not in REMEDIES]:
        raise ConfigurationError(
            f"{unknown[0]!r} is no reason of a refusal: give some of {', '.join(sorted(REMEDIES))}."
        )
    if selection.since and selection.until and selection.since > selection.until:
        raise ConfigurationError(
            f"no day is from {selection.since} to {selection.until}: exchange `since` and `until`."
        )
    ids = tuple(dict.fromkeys(parse_filing_id(one)[1] for one in selection.filing_ids))
    return Selection(ids, selection.reasons, selection.outdated, selection.sources, selection.since, selection.until)


def reprocess(
    ledger: FilingLedger,
    selection: Selection,
    *,
    dry_run: bool,
    fetch_again: bool = False,
    report: Callable[[str], object] = print,
) -> Reprocessed:
    """Take the selected filings up again, day by day; killed, the same call goes on. Raises what `checked` raises.

    They start from the body that is kept, or with `fetch_again` from asking the regulator. A filing that is at work
    already is left alone.
    """
    chosen = checked(selection)
    done = Reprocessed()
    would = "would be taken up" if dry_run else "taken up"
    for source, day, found in _by_id(ledger, chosen, done) if chosen.filing_ids else _by_rule(ledger, chosen):
        ids = list(found)
        for start in range(0, 0 if dry_run else len(ids), BATCH):
            ledger.reopened(source, ids[start : start + BATCH], fetch_again=fetch_again)
        counts = Counter(found.values())
        done.days[source, day] = counts
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
        report(f"{source} {day}: {len(ids)} filing(s) {would} ({why}); {done.filings} so far")
    return done


Found = tuple[Source, date, dict[str, str]]  # filing id -> why it is selected


def _by_rule(ledger: FilingLedger, selection: Selection) -> Iterator[Found]:
    another = PARSER_VERSION if selection.outdated else None
    for source in selection.sources:
        for day in ledger.days(source, since=selection.since, until=selection.until):
            found = ledger.closed(source, day, reasons=selection.reasons, parsed_by_another=another)
            if found:
                yield source, day, {one: reason or OUTDATED for one, reason in found.items()}


def _by_id(ledger: FilingLedger, selection: Selection, done: Reprocessed) -> Iterator[Found]:
    by_day: dict[tuple[Source, date], dict[str, str]] = {}
    for filing_id in selection.filing_ids:
        source, _ = parse_filing_id(filing_id)
        row = ledger.row(source, filing_id)
        if row is None:
            done.left[filing_id] = "not known"
        elif row.state not in ("published", "refused"):
            done.left[filing_id] = f"at work already: {row.state}"
        else:
            by_day.setdefault((source, row.ref.day), {})[filing_id] = row.reason or "published"
    for (source, day), found in sorted(by_day.items()):
        yield source, day, found


def days_of(done: Reprocessed) -> Sequence[dict[str, object]]:
    """A row per day and reason, to be shown."""
    return [
        {"source": source, "day": day.isoformat(), "why": why, "filings": count}
        for (source, day), counts in sorted(done.days.items())
        for why, count in sorted(counts.items())
    ]
