"""What an alert says: one text for a failed run, with nothing in it that must stay secret. Pure; sending is a port."""

from __future__ import annotations

import re

LONGEST = 1200  # characters of an error that are quoted; the run has the rest
HIDDEN = "***"

# A key or a header by its name, a value by its look. Digests of 64 hex digits and run ids stay readable.
_SECRETS = (
    (
        re.compile(
            r"(?i)\b((?:crtfc_key|api[_-]?key|[\w-]*password|passwd|[\w-]*secret[\w-]*|[\w-]*token|[\w-]*access[_-]?key[\w-]*"
            r"|x-amz-signature|x-amz-credential)[\"']?\s*[=:]\s*[\"']?)(?!\s)[^\s\"'&,;)]+"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)\b(authorization[\"']?\s*[=:]\s*[\"']?).+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic) [\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"(?<=://)[^/\s@]+@"), f"{HIDDEN}@"),
    (re.compile(r"\bxox[a-z]-[\w-]+"), HIDDEN),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), HIDDEN),
    (re.compile(r"\b[0-9a-fA-F]{40}\b"), HIDDEN),  # a DART key
    (
        re.compile(
            r"(?<![\w/+])(?=[\w/+]*[a-z])(?=[\w/+]*[A-Z])(?=[\w/+]*[0-9])[A-Za-z0-9/+]{40}(?![\w/+=])"
        ),  # an AWS secret key
        HIDDEN,
    ),
)


def without_secrets(text: str) -> str:
    """The text with keys, tokens, passwords and credentials in URLs replaced by `***`."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def failure_text(*, job: str, partition: str | None, step: str | None, error: str, run_id: str) -> str:
    """What the owner of a failed asset reads: job, partition, step, the innermost error, run. Secrets are hidden."""
    said = without_secrets(error.strip()) or "no message was recorded"
    if len(said) > LONGEST:
        said = f"{said[:LONGEST]} ..."
    where = [f"job {job}"]
    if partition:
        where.append(f"partition {partition}")
    where.append(f"step {step}" if step else "outside of a step")
    return f"{', '.join(where)}: {said}\nrun {run_id}"
