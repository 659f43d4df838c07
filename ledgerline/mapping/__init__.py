"""Room: mentions, graph, candidates, features and grounding."""
