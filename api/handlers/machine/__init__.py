"""The handlers about what wasup runs on: the host, what fits on it, and the worker processes."""
