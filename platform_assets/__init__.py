"""WHAT exists: thin assets, one module per domain noun; `definitions.py` puts everything together."""

import warnings

import dagster as dg

# `backfill_policy` is beta and used on purpose (a range of days is one run); saying so at every start helps nobody.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
