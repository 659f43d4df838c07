"""`make ask`: which ticker a mention means, asked of the live endpoint, with the proof and the runners-up."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from cli.progress import Progress
from ledgerline.errors import ConfigurationError, LedgerlineError
from platform_assets.ticker_mappings import RANKER
from resources.environment import read_settings

if TYPE_CHECKING:
    from ledgerline.mapping.grounding import Mapped
    from ledgerline.mapping.records import Candidate

WHY_NONE = {
    "no_candidate": "no company has a name like it",
    "below_threshold": "the ranker holds none of the companies likely enough",
    "not_grounded": "nothing in the text or in the graph proves the company that the ranker prefers",
    "not_listed_as_of": "the company had no ticker on that day",
}
RUNNERS_UP = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """One mention answered: `scores` are the ranker's, by candidate; `milliseconds` from the text to the grounded answer."""

    mapped: Mapped
    candidates: list[Candidate]
    scores: tuple[float, ...]
    model_digest: str
    milliseconds: float


def ask(mention: str, text: str, as_of: str) -> int:
    """Print the answer for a mention in a text on a day. Raises LedgerlineError for input that is not usable."""
    from resources import build_resources

    if not mention.strip():
        raise ConfigurationError('say which mention: make ask MENTION="Facebook" TEXT="..." AS_OF=2017-07-25')
    day = parse_day(as_of)
    asked = answer(build_resources(settings=read_settings()), mention, text or mention, day)
    show(Progress(), mention, day, asked)
    return 0


def parse_day(text: str) -> date:
    """An ISO day; today where none is given. Raises ConfigurationError for anything else."""
    if not text:
        return date.today()
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"AS_OF={text!r} is no day; write it as 2017-07-25.") from error


def answer(resources: Mapping[str, Any], surface: str, text: str, day: date) -> Asked:
    """Candidates, the live endpoint's answer and grounding for one mention.

    Raises ConfigurationError if the text does not hold the mention, LedgerlineError where nothing is live yet.
    """
    from ledgerline.mapping.candidates import candidate_sets
    from ledgerline.mapping.grounding import ground, question
    from ledgerline.mapping.mentions import CONTEXT, find_span
    from ledgerline.mapping.ranking import CONTENT_TYPE, rank
    from ledgerline.mapping.records import Mention
    from ledgerline.mapping.rows import load_stats
    from ledgerline.names.normalise import has_hangul
    from ledgerline.projects.config import endpoint_name

    span = find_span(text, surface)
    if span is None:
        raise ConfigurationError(f"the text does not hold the mention {surface!r}; give a TEXT in which it stands.")
    index, graph, platform = (
        resources[name] for name in ("candidate_index_store", "knowledge_graph_store", "sagemaker")
    )
    endpoint = endpoint_name(RANKER)
    state = platform.describe_endpoint(endpoint)
    if state is None:
        raise LedgerlineError(
            f"the endpoint {endpoint} is not live; run `make demo`, or approve a candidate of {RANKER}."
        )
    stats = load_stats(resources["object_store"], index)
    started = time.monotonic()
    mention = Mention(
        "ask:0",
        span.surface,
        text[max(0, span.start - CONTEXT) : span.start],
        text[span.end : span.end + CONTEXT],
        "ko" if has_hangul(span.surface) else "en",
        day,
    )
    candidates = candidate_sets([mention], index=index, graph=graph)[0]
    digests: list[str] = []

    def send(body: bytes) -> bytes:
        found = platform.invoke(endpoint, body, CONTENT_TYPE)
        digests.append(found.model_digest or state.model_digest or "")
        return found.body

    answers = rank([question(mention, candidates, stats)], send)
    mapped = ground([mention], [candidates], answers, graph)[0]
    return Asked(mapped, candidates, answers[0].scores, digests[0], 1000 * (time.monotonic() - started))


def show(progress: Progress, mention: str, day: date, asked: Asked) -> None:
    """Print ticker or none, the score, the proof and the runners-up."""
    from ledgerline.mapping.graph import describe_path

    mapped = asked.mapped
    if mapped.ticker:
        progress.say(
            f"{mention} as of {day} -> {mapped.ticker} ({mapped.exchange}), {mapped.company_id}, score {mapped.score:.3f}"
        )
    else:
        progress.say(
            f"{mention} as of {day} -> none: {WHY_NONE[str(mapped.none_reason)]} (best score {mapped.score:.3f})"
        )
    what = "proof" if mapped.ticker else "considered"
    for step in describe_path(mapped.path).split("; "):
        if step:
            progress.say(f"  {what}: {step}")
    ranked = sorted(zip(asked.scores, asked.candidates, strict=True), key=lambda pair: -pair[0])
    chosen = mapped.company_id
    others = [(score, one) for score, one in ranked if one.company_id != chosen][:RUNNERS_UP]
    for score, candidate in others:
        found_by = ", ".join(sorted(candidate.ranks))
        progress.say(
            f"  runner-up: {candidate.best_name} ({candidate.company_id}), score {score:.3f}, found by {found_by}"
        )
    progress.say(f"  model {asked.model_digest[:12]}, {asked.milliseconds:.0f} ms")
