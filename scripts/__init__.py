"""One file per command of the project; `lab` starts the real parts for demo, benchmarks and
tests.
"""
