"""Worker processes, seen from Python: brought up, watched, called back, ended.

What runs in them is JavaScript, in ../worker.
"""
