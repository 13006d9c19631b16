"""The chaos campaign: faults at random, and what has to hold after each of them.

`make chaos`, `make kills`.
"""
