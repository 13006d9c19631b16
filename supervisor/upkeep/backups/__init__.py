"""Backups by the clock: made, rehearsed, kept for as long as the operator says."""
