"""Room: parsing and validity of filings, and onboarding them exactly once."""
