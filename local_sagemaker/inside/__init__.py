"""Programs that run in the place of a container, by file path and alone: they import nothing of this package."""
