"""The commands that only look: status, events, logs, explain, capacity."""
