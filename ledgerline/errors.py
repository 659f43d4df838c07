"""Errors of the domain. Every message names the thing, and ends with the remedy. What a retry may mend is not here."""

from __future__ import annotations


class LedgerlineError(Exception):
    """Base of every error a person should read: `str(error)` is the whole sentence, with the remedy at its end."""


class ConfigurationError(LedgerlineError):
    """A setting, a secret or a file that a person wrote is missing or wrong."""


class Overtaken(LedgerlineError):
    """Somebody else wrote what was to be replaced; nothing was written. The work is to be done again on the newer state."""


class PermanentFailure(LedgerlineError):
    """What no retry can mend, e.g. a model that the gate refuses. Dagster must not retry a run that raised it."""
