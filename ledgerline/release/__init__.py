"""Room: judging a model, approvals and release rules."""
