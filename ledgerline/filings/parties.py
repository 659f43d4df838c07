"""How witnesses of the same filing are united: feed rows, index rows, headers. Pure; parsing them is in `feeds.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ledgerline.filings.records import FilingRef, Party


def unite_parties(known: tuple[Party, ...], given: tuple[Party, ...]) -> tuple[Party, ...]:
    """Both sets, each (id, role) once, in order of arrival. An index row has no role and yields to one that has."""
    united = {(party.id, party.role): party for party in reversed((*known, *given))}
    with_role = {party_id for party_id, role in united if role}
    order = dict.fromkeys((party.id, party.role) for party in (*known, *given))
    return tuple(united[key] for key in order if key[1] or key[0] not in with_role)


def unite_refs(refs: Iterable[FilingRef]) -> list[FilingRef]:
    """One ref per filing, in order of arrival, with the parties of all rows; the first row that says a thing wins."""
    united: dict[str, FilingRef] = {}
    for ref in refs:
        first = united.get(ref.filing_id)
        united[ref.filing_id] = (
            ref
            if first is None
            else replace(
                first,
                parties=unite_parties(first.parties, ref.parties),
                form=first.form or ref.form,
                accepted_at=first.accepted_at or ref.accepted_at,
                title=first.title or ref.title,
            )
        )
    return list(united.values())
