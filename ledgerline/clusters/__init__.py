"""Room: near-duplicates and stories."""
