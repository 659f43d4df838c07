"""Room: config.yaml of a model project and its datasets."""
