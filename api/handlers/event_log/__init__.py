"""The event log over HTTP: in pages, as a stream, and by message."""
