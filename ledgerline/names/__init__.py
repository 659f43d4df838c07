"""Room: companies, listings and dated names."""
