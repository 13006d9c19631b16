"""Copies of a whole store: made, examined, restored."""
