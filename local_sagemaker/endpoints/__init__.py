"""Endpoints: artifacts unpacked once, one worker process per model version, routes that are switched, the proxy."""
