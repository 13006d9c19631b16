"""The machine below: what it has, what it needs for so many sessions, and how it gets it (seed
000).

`readings` is the only sampler; `numbers` the only table of the guide's numbers.
"""
