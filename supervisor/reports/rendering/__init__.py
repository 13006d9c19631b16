"""A report for people: one document in a language, written as HTML, PDF or text.

All of it runs in a process of its own (`program.py`): its libraries are never loaded by the
supervisor.
"""
