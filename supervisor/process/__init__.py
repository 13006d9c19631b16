"""The supervisor as a process among others: its lock, its logs, its streams, who may look into it,
as whom its workers run.
"""
